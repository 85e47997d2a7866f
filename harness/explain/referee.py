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
from harness.explain import files, layers, points
from harness.explain.files import OnnxFile
from harness.explain.layers import Layer
from harness.explain.points import FED

if TYPE_CHECKING:
    from harness.explain.scene import Scene

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


def judge(scene: Scene, row: Layer) -> Verdict:
    """Run one layer of the reference's ONNX file by the referee, and compare both sides with it.

    Raises
    ------
    HarnessError
        There is no ONNX file, or the reference implementation cannot run the layer.
    """
    tapped = scene.tapped
    if tapped is None or scene.files is None or not isinstance(scene.files[0], OnnxFile):
        raise ModelError(f"{scene.reference.label} does not run an ONNX file")
    file = scene.files[0]
    pair = next(pair for pair in tapped.pairs if pair.other is row.point)
    # The reference's own values, one sample, as the ONNX file takes them.
    fed = {
        one.reference.name: tapped.reference.tensors[one.reference.name][0]
        for one in tapped.pairs
        if one.reference.name in file.read
    }
    whole = points.exploded(file.model, fed, [pair.reference.name])
    part = files.part(whole, pair.reference.name)
    named = {name: tensor[0] for name, tensor in tapped.reference.tensors.items()}
    named |= {name + FED: array for name, array in fed.items()}
    feeds = {value.name: named[value.name] for value in part.graph.input}
    expected = run(part, feeds)
    first = tapped.first(pair)[0]
    isolated = layers.feed(scene.runner, tapped, scene.other, scene.files[1], [pair])
    second = tapped.second(pair, isolated)[0]
    step = pair.reference.step
    exact = expected.astype(np.float64).reshape(first.shape)
    if step is not None and expected.dtype.kind in "iu":
        exact = (exact - step.zero_point) * step.scale
    one, two = layers.error(exact, first).relative, layers.error(exact, second).relative
    text = f"the definition of ONNX in float64 differs from {scene.reference.label} by {one:.2g}, "
    text += f"from {scene.other.label} by {two:.2g}"
    wrong = "both"
    if one * NEARER <= two:
        wrong = "other"
    elif two * NEARER <= one:
        wrong = "reference"
    return Verdict(wrong, text, part, feeds, expected)


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
