"""A referee: the operators as ONNX defines them, in float64, on one layer and the numbers it was fed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from harness.core.errors import HarnessError, ModelError
from harness.explain.layers.errors import compare

if TYPE_CHECKING:
    from harness.explain.scene import Scene
from harness.explain.operators.alone import Alone

#: From this version on the reference implementation has all forms of DequantizeLinear.
OPSET = 19
#: A side that is so many times nearer to the referee than the other is right.
NEARER = 4.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which side is right.

    Parameters
    ----------
    wrong : str
        ``other``, ``reference``, ``both``, or empty where both are right but for rounding.
    text : str
    part : ModelProto
        The layer.
    feeds : mapping of name to ndarray
        What it was fed, of one sample.
    expected : ndarray
    """

    wrong: str
    text: str
    part: onnx.ModelProto
    feeds: Mapping[str, NDArray[Any]]
    expected: NDArray[Any]


def judge(scene: Scene, layer: Alone) -> Verdict:
    """Run the layer by the referee on one sample, and compare both sides with it.

    Raises
    ------
    HarnessError
        The reference implementation cannot run it.
    """
    feeds = {name: tensor[0] for name, tensor in layer.feeds.items()}
    expected = run(layer.part, feeds)
    exact = layer.real(expected[np.newaxis])[0]
    one, two = (compare(exact, side[0]).relative for side in (layer.first, layer.second))
    text = f"the definition of ONNX in float64 differs from {scene.reference.label} by {one:.2g}, "
    text += f"from {scene.other.label} by {two:.2g}"
    wrong = "both"
    if one * NEARER <= two:
        wrong = "other"
    elif two * NEARER <= one:
        wrong = "reference"
    return Verdict(wrong, text, layer.part, feeds, expected)


def run(model: onnx.ModelProto, feeds: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Run a model by ONNX's reference implementation, floats in float64.

    Raises
    ------
    ModelError
        It does not implement an operator.
    """
    from onnx import version_converter
    from onnx.reference import ReferenceEvaluator

    version = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), OPSET)
    try:
        if version < OPSET:
            model = version_converter.convert_version(model, OPSET)
        precise = in_float64(model)
        wide = {
            name: array.astype(np.float64) if array.dtype == np.float32 else array
            for name, array in feeds.items()
        }
        with np.errstate(all="ignore"):
            return np.asarray(ReferenceEvaluator(precise).run(None, wide)[0])
    except HarnessError:
        raise
    except Exception as error:  # a missing or wrong implementation raises whatever it likes
        raise ModelError(f"ONNX's reference implementation cannot run it: {error}") from error


def in_float64(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model whose float32 constants, inputs and outputs are float64."""
    changed = copy.deepcopy(model)
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node):
        return changed  # integers are exact, and scales have the type that they have
    for tensor in changed.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for value in (*changed.graph.input, *changed.graph.output, *changed.graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    return changed
