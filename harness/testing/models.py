"""Models so small that one line of numpy computes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import Artifact, describe_file
from harness.core.preprocess import Feeds

WEIGHTS = (np.arange(12, dtype=np.float32).reshape(4, 3) - 5) / 4
BIAS = np.array([0.5, -1.0, 2.0], np.float32)

NO_PERMUTATION: Mapping[str, tuple[int, ...]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A float32 model with a dynamic batch, and its oracle.

    Parameters
    ----------
    name : str
    inputs : mapping of name to shape of one sample
    output : str
    output_shape : tuple of int
        Of one sample.
    nodes : tuple of (operator, inputs, output)
    weights : mapping of name to ndarray
    oracle : callable
        Feeds to the output, in numpy; shares no code with any runtime.
    """

    name: str
    inputs: Mapping[str, tuple[int, ...]]
    output: str
    output_shape: tuple[int, ...]
    nodes: tuple[tuple[str, tuple[str, ...], str], ...]
    weights: Mapping[str, NDArray[Any]]
    oracle: Callable[[Feeds], NDArray[Any]]

    def to_onnx(self) -> Any:  # noqa: ANN401 - onnx.ModelProto; onnx is optional
        """Build the ``onnx.ModelProto`` (opset 17)."""
        from onnx import TensorProto, helper, numpy_helper

        def value(name: str, shape: tuple[int, ...]) -> Any:  # noqa: ANN401 - onnx.ValueInfoProto
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])

        graph = helper.make_graph(
            [
                helper.make_node(kind, inputs, [output], name=f"node_of_{output}")
                for kind, inputs, output in self.nodes
            ],
            self.name,
            [value(name, shape) for name, shape in self.inputs.items()],
            [value(self.output, self.output_shape)],
            [numpy_helper.from_array(array, name) for name, array in self.weights.items()],
        )
        # The oldest IR version that knows the opset: old runtimes refuse newer ones.
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def feeds(self, samples: int, seed: int = 0) -> Feeds:
        """Normal numbers, float32."""
        random = np.random.default_rng(seed)
        return {
            name: random.standard_normal((samples, *shape), dtype=np.float32)
            for name, shape in self.inputs.items()
        }


AFFINE = KnownModel(
    "affine",
    {"x": (4,)},
    "y",
    (3,),
    (("MatMul", ("x", "w"), "product"), ("Add", ("product", "b"), "y")),
    {"w": WEIGHTS, "b": BIAS},
    lambda feeds: feeds["x"] @ WEIGHTS + BIAS,
)
RELU = KnownModel(
    "relu", {"x": (5,)}, "y", (5,), (("Relu", ("x",), "y"),), {}, lambda feeds: np.maximum(feeds["x"], 0)
)
#: Not symmetric: inputs that are swapped give another result.
TWO_INPUTS = KnownModel(
    "two_inputs",
    {"left": (3,), "right": (4,)},
    "y",
    (3,),
    (("MatMul", ("right", "w"), "product"), ("Add", ("left", "product"), "y")),
    {"w": WEIGHTS},
    lambda feeds: feeds["left"] + feeds["right"] @ WEIGHTS,
)
#: Computes nothing: a runtime is tempted to return the memory that it was given.
FLATTEN = KnownModel(
    "flatten",
    {"x": (2, 3)},
    "y",
    (6,),
    (("Flatten", ("x",), "y"),),
    {},
    lambda feeds: feeds["x"].reshape(len(feeds["x"]), 6).copy(),
)

KNOWN_MODELS = (AFFINE, RELU, TWO_INPUTS, FLATTEN)


def write_artifact(
    data: bytes,
    folder: Path,
    name: str,
    *,
    input_permutation: Mapping[str, tuple[int, ...]] = NO_PERMUTATION,
    output_permutation: Mapping[str, tuple[int, ...]] = NO_PERMUTATION,
) -> Artifact:
    """Write a float32 file and describe it; its suffix is its format."""
    path = folder / name
    path.write_bytes(data)
    return Artifact(
        "float32",
        path.suffix.removeprefix("."),
        (describe_file(path),),
        folder,
        input_permutation,
        output_permutation,
    )
