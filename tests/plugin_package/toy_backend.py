"""A third-party backend: runs ONNX models of four operators in numpy.

It imports only ``harness.core``, and the harness finds it by its entry point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np

from harness.core.artifact import Artifact, TensorSpec
from harness.core.contracts import Availability
from harness.core.errors import BackendError
from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from harness.core.seam import check_feeds, confirm, opening

OPERATORS: Mapping[str, Callable[..., Any]] = {
    "MatMul": np.matmul,
    "Add": np.add,
    "Relu": lambda x: np.maximum(x, 0),
    "Flatten": lambda x: x.reshape(len(x), -1),
}
EFFECTIVE = {"provider": "numpy", "precision": "f32", "threads": "1"}


class ToySession:
    """Runs the nodes one after the other."""

    def __init__(self, model: Any) -> None:
        import onnx.numpy_helper

        self.effective = EFFECTIVE
        self.inputs = tuple(_spec(value) for value in model.graph.input)
        self.outputs = tuple(_spec(value) for value in model.graph.output)
        self._weights = {
            tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer
        }
        self._nodes = [
            (OPERATORS[node.op_type], tuple(node.input), node.output[0]) for node in model.graph.node
        ]
        self._open = True

    def run(self, feeds: Feeds) -> Outputs:
        if not self._open:
            raise BackendError("the session is closed")
        check_feeds(feeds, self.inputs)
        values = {**self._weights, **feeds}
        with np.errstate(all="ignore"):
            for operator, inputs, output in self._nodes:
                values[output] = operator(*(values[name] for name in inputs))
        return {spec.name: np.array(values[spec.name]) for spec in self.outputs}

    def bind(self, feeds: Feeds) -> Callable[[], Outputs]:
        self.run(feeds)  # checks them
        copies = {name: array.copy() for name, array in feeds.items()}
        return lambda: self.run(copies)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._open = False


class ToyBackend:
    """Opens ONNX files."""

    name = "toy"
    formats: tuple[str, ...] = ("onnx",)

    def probe(self) -> Availability:
        return Availability(version=np.__version__, devices=("numpy",))

    def open(self, artifact: Artifact, options: Options) -> ToySession:
        with opening("the toy", "pip install onnx", artifact, self.formats):
            import onnx

            confirm(options, EFFECTIVE)
            if options.extra:
                raise BackendError(f"the toy has no option {', '.join(options.extra)}")
            model = onnx.load(artifact.path)
            onnx.checker.check_model(model)
            return ToySession(model)


def _spec(value: Any) -> TensorSpec:
    sizes = value.type.tensor_type.shape.dim
    shape = tuple(size.dim_value if size.HasField("dim_value") else None for size in sizes)
    return TensorSpec(value.name, shape, "float32")
