"""One layer, cut out of an ONNX file, with what it is fed and what both sides make of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from harness.core.artifact import Quantization
from harness.core.errors import ModelError
from harness.explain.files.edits import FED
from harness.explain.files.model_file import OnnxFile
from harness.explain.layers.fed import Fed, feed
from harness.explain.layers.table import Layer
from harness.explain.sides.steps import as_real

if TYPE_CHECKING:
    from harness.explain.scene import Scene


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
        real = as_real(outputs, self.step)
        if self.axes:
            real = real.transpose(0, *(axis + 1 for axis in self.axes))
        return real.reshape(len(real), *self.first.shape[1:])


def cut_out(scene: Scene, row: Layer) -> Alone:
    """Cut one layer out of the ONNX file of either side, and run the other side's with the same numbers.

    Raises
    ------
    HarnessError
        Neither side runs an ONNX file, or the other refuses the part.
    """
    tapped = scene.tapped
    if tapped is None or scene.files is None:
        raise ModelError(scene.why_no_layers())
    pair = next(pair for pair in tapped.pairs if pair.other is row.point)
    isolated = feed(scene.runner, tapped, scene.other, scene.files[1], [pair])
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
        fed = Fed(tapped, names)
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
