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

from harness.core.artifact import Quantization
from harness.core.errors import HarnessError, ModelError
from harness.explain import layers
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


@dataclass(frozen=True, slots=True)
class Alone:
    """One layer of an ONNX file, what it is fed, and what both sides make of it.

    Parameters
    ----------
    name : str
        Of its node.
    part : ModelProto
        One output.
    feeds : mapping of name to ndarray, shape (calls, …)
    first, second : ndarray, shape (calls, …)
        Real numbers of the reference and of the other, arranged as the reference's.
    step : Quantization, optional
        Of the part's output.
    axes : tuple of int
        How a call's output of the part is arranged as the reference's; empty where it is as it is.
    """

    name: str
    part: onnx.ModelProto
    feeds: Mapping[str, NDArray[Any]]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    step: Quantization | None = None
    axes: tuple[int, ...] = ()

    def real(self, outputs: NDArray[Any]) -> NDArray[np.float64]:
        """Real numbers of outputs of the part, shape (calls, …), arranged as the reference's."""
        real = outputs.astype(np.float64)
        if self.step is not None and outputs.dtype.kind in "iu":
            real = (real - self.step.zero_point) * self.step.scale
        if self.axes:
            real = real.transpose(0, *(axis + 1 for axis in self.axes))
        return real.reshape(len(real), *self.first.shape[1:])


def alone(scene: Scene, row: Layer) -> Alone:
    """Cut one layer out of the ONNX file of either side, and run the other side's with the same numbers.

    Raises
    ------
    HarnessError
        Neither side runs an ONNX file, or the other refuses the part.
    """
    tapped = scene.tapped
    if tapped is None or scene.files is None:
        raise ModelError("; ".join(scene.refused.values()) or "no layer can be compared")
    pair = next(pair for pair in tapped.pairs if pair.other is row.point)
    isolated = layers.feed(scene.runner, tapped, scene.other, scene.files[1], [pair])
    first, second = tapped.first(pair), tapped.second(pair, isolated)
    one, two = scene.files
    if isinstance(one, OnnxFile):
        # The reference's own values, as the file takes them.
        fed: Mapping[str, NDArray[Any]] = {
            each.reference.name: tapped.reference.tensors[each.reference.name]
            for each in tapped.pairs
            if each.reference.name in one.read
        }
        part, feeds = _part(one, pair.reference.name, fed, tapped.reference.tensors)
        return Alone(pair.reference.layer, part, feeds, first, second, pair.reference.step)
    if isinstance(two, OnnxFile):
        names = {each.other.name for each in tapped.pairs} & two.read
        fed = layers.Fed(tapped, names)
        part, feeds = _part(two, pair.other.name, fed, tapped.other.tensors)
        axes = tapped.axes[pair.other.name]
        return Alone(row.point.layer, part, feeds, first, second, pair.other.step, axes)
    raise ModelError(f"neither {scene.reference.label} nor {scene.other.label} runs an ONNX file")


def _part(
    file: OnnxFile, name: str, fed: Mapping[str, NDArray[Any]], tensors: Mapping[str, NDArray[Any]]
) -> tuple[onnx.ModelProto, dict[str, NDArray[Any]]]:
    part = file.part({key: tensors[key][0] for key in fed}, [name])
    named = {key + FED: key for key in fed}
    return part, {
        value.name: fed[named[value.name]] if value.name in named else tensors[value.name]
        for value in part.graph.input
    }


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
    one, two = (layers.error(exact, side[0]).relative for side in (layer.first, layer.second))
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
