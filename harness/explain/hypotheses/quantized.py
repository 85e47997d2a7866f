"""Causes that lie in how a quantized file was made: it is changed on this machine, and run again."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from harness.core.artifact import Artifact, Quantization
from harness.core.errors import HarnessError
from harness.explain.files import OnnxFile
from harness.explain.hypotheses import recipe
from harness.explain.layers import Pair, Tapped, match
from harness.explain.points import Graph
from harness.explain.requantize import BIASED, channel_axis, per_channel, set_range
from harness.explain.scene import SMALL, Finding, Remedy, Scene, State
from harness.explain.sides import Side

#: So many values outside of the range of an integer tensor are not chance.
CLIPPED = 1e-4
#: An integer tensor of which less than this part of the range is used is coarse.
USED = 1 / 6
#: Channels whose ranges differ by more than this need scales of their own.
UNLIKE = 8.0
#: What a layer loses by rounding its inputs, weights and result to 8 bits, in steps of its result.
STEPS = 4.0


class Real(Mapping[str, NDArray[np.float64]]):
    """Float values by the names of the reference's points; those of a large model do not lie in memory."""

    def __init__(self, tapped: Tapped) -> None:
        self._tapped, self._pairs = tapped, {pair.reference.name: pair for pair in tapped.pairs}

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        return self._tapped.first(self._pairs[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)


@dataclass(frozen=True, slots=True)
class Quantized:
    """A quantized model, the float one, and the float values on the worst samples.

    Parameters
    ----------
    graph : Graph
        Quantized.
    float32 : Graph, optional
        None where the reference runs no ONNX file.
    pairs : list of Pair
    real : Real
    """

    graph: Graph
    float32: Graph | None
    pairs: list[Pair]
    real: Real

    def constants(self, operators: Collection[str], place: int) -> Iterator[_Constant]:
        """Yield the quantized constants at one input of some operators, with those of the float model."""
        if self.float32 is None:
            return
        others = {node.name: node for node in self.float32.model.graph.node}
        for node in self.graph.model.graph.node:
            if node.op_type not in operators or node.name not in others:
                continue
            other = others[node.name]
            if min(len(node.input), len(other.input)) <= place:
                continue
            reader = self.graph.maker.get(node.input[place])
            if reader is None or reader.op_type != "DequantizeLinear":
                continue
            codes, scale = (self.graph.constant(name) for name in reader.input[:2])
            real = self.float32.constant(other.input[place])
            if codes is not None and scale is not None and real is not None and real.shape == codes.shape:
                yield _Constant(node, reader, codes, scale, real.astype(np.float64))


@dataclass(frozen=True, slots=True)
class _Constant:
    """A quantized constant: the node that takes it, its DequantizeLinear, its numbers, and the float ones."""

    node: onnx.NodeProto
    reader: onnx.NodeProto
    codes: NDArray[Any]
    scale: NDArray[Any]
    real: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is wrong.

    Parameters
    ----------
    weight : float
        How bad it is.
    layer, text : str
        What is wrong there.
    keep : tuple of str
        Layers with weights that would have to stay in float; the layer itself, where there are none.
    """

    weight: float
    layer: str
    text: str
    keep: tuple[str, ...] = ()


def options_of_range(*methods: str) -> Callable[[Place], Iterator[Mapping[str, Any]]]:
    """Other methods of calibration, then the layer in float."""

    def options(place: Place) -> Iterator[Mapping[str, Any]]:
        yield from ({"calibration": method} for method in methods)
        yield {"float_layers": list(place.keep or (place.layer,))}

    return options


def per_channel_scales(place: Place) -> Iterator[Mapping[str, Any]]:
    """A scale for each channel, then the layer in float."""
    yield {"per_channel": True}
    yield from in_float(place)


def in_float(place: Place) -> Iterator[Mapping[str, Any]]:
    """The layers in float."""
    yield {"float_layers": list(place.keep or (place.layer,))}


class OfQuantization(ABC):
    """Confirmed where a changed file is nearer to the float one."""

    name = ""
    absent = ""
    says = ""
    changed = ""
    remedy = ""
    #: What of the recipe of a variant takes it away.
    options: Callable[[Place], Iterator[Mapping[str, Any]]] = staticmethod(in_float)

    def test(self, scene: Scene) -> Finding:
        """Change the quantized file where the evidence is, and run it on this machine."""
        if scene.reference.artifact.precision or not scene.other.artifact.precision:
            return Finding(self.name, State.UNTESTED, "not a float file against an integer one")
        artifact = scene.onnx.get(scene.other.variant)
        if artifact is None or scene.tapped is None:
            why = "; ".join(scene.refused.values()) or "there is no ONNX file of the variant"
            return Finding(self.name, State.UNTESTED, why)
        graph = OnnxFile(artifact.path).graph
        pairs = match([pair.reference for pair in scene.tapped.pairs], graph.points())
        real = Real(scene.tapped)
        first = scene.files[0] if scene.files else None
        float32 = first.graph if isinstance(first, OnnxFile) else None
        changed = copy.deepcopy(graph.model)
        seen = sorted(self.mend(Quantized(graph, float32, pairs, real), changed), key=lambda one: -one.weight)
        if not seen:
            return Finding(self.name, State.REFUTED, self.absent)
        try:
            side = scene.runner.with_file(
                _on_host(scene, artifact), changed.SerializeToString(), artifact.path.name
            )
            plain = scene.runner.samples(_on_host(scene, artifact), scene.rows)
            trace = scene.runner.samples(side, scene.rows)
        except HarnessError as error:
            return Finding(self.name, State.UNTESTED, error.what)
        before, left = scene.distance(scene.first, plain), scene.distance(scene.first, trace)
        share = 1 - left / before if before else 0.0
        layer, text = seen[0].layer, seen[0].text
        more = f", and {len(seen) - 1} more" if len(seen) > 1 else ""
        evidence = f"{layer}: {text}{more}; changed, {max(0.0, 1 - share):.0%} of the difference is left"
        if share < recipe.ENOUGH:
            return Finding(self.name, State.REFUTED, evidence, max(0.0, share))
        finding = Finding(
            self.name, State.CONFIRMED, evidence, share, f"{self.says} in {layer}: {text}{more}", layer,
            Remedy(f"{self.changed}, in the file", self.remedy, scene.other.label),
        )  # fmt: skip
        return with_recipe(scene, finding, [*self.options(seen[0])])

    @abstractmethod
    def mend(self, quantized: Quantized, model: onnx.ModelProto) -> Iterator[Place]:
        """Change the model; yield each place."""


def with_recipe(scene: Scene, finding: Finding, options: Sequence[Mapping[str, Any]]) -> Finding:
    """The finding with a recipe that was run as its remedy, where one helps."""
    # A tenth: the change of the file kept all else as it was, another recipe does not.
    made = recipe.best(scene, scene.other, options, min(0.9, finding.share - 0.1))
    if made is None:
        return finding
    return replace(
        finding, share=made.share, remedy=made.remedy, after=(scene.reference, made.side),
        evidence=f"{finding.evidence}; made again with {made.text}, {max(0.0, 1 - made.share):.0%} is left",
    )  # fmt: skip


def _on_host(scene: Scene, artifact: Artifact) -> Side:
    return replace(scene.host, artifact=artifact, variant=scene.other.variant, label="this machine")


class _OfRange(OfQuantization):
    changed = "the range of the float values"

    def mend(self, quantized: Quantized, model: onnx.ModelProto) -> Iterator[Place]:
        """Give each tensor of the kind the range of the float values."""
        for one in quantized.pairs:
            step, node = one.other.step, quantized.graph.maker[one.other.name]
            zero = quantized.graph.constant(node.input[2]) if len(node.input) > 2 else None
            if step is None or zero is None or zero.dtype not in (np.uint8, np.int8):
                continue
            limits = np.iinfo(zero.dtype)
            low = (limits.min - step.zero_point) * step.scale
            high = (limits.max - step.zero_point) * step.scale
            values = quantized.real[one.reference.name]
            weight, text = self.fault(values, low, high, step)
            if weight:
                set_range(quantized.graph, model, node, values, limits)
                yield Place(weight, one.other.layer, text)

    @abstractmethod
    def fault(
        self, values: NDArray[np.float64], low: float, high: float, step: Quantization
    ) -> tuple[float, str]:
        """How bad it is, and in words; 0 where the range is right."""


class ClippedRange(_OfRange):
    """The calibrated range is narrower than the values."""

    name = "clipped range"
    absent = "the float values lie within the ranges of all integer tensors"
    says = "the calibrated range is too narrow"
    remedy = "calibrate with data like the real ones, or with minmax"
    options = staticmethod(options_of_range("minmax"))

    def fault(
        self, values: NDArray[np.float64], low: float, high: float, step: Quantization
    ) -> tuple[float, str]:
        """Energy that is cut off, relative to all."""
        if low >= 0:
            values = np.maximum(values, low)  # the range stands for the activation, too
        outside = (values < low - step.scale) | (values > high + step.scale)
        share = float(np.mean(outside))
        if share <= CLIPPED:
            return 0.0, ""
        cut = values - np.clip(values, low, high)
        lost = float(np.sum(cut**2) / max(np.sum(values**2), 1e-300))
        return lost, f"{share:.1%} of the values are outside of {low:.3g} to {high:.3g}"


class Coarse(_OfRange):
    """The calibrated range is much wider than the values: few steps are used."""

    name = "coarse range"
    absent = "the float values use the ranges of all integer tensors"
    says = "the range is too wide"
    remedy = "calibrate with percentile or entropy, or keep the layer in float"
    options = staticmethod(options_of_range("percentile", "entropy"))

    def fault(
        self, values: NDArray[np.float64], low: float, high: float, step: Quantization
    ) -> tuple[float, str]:
        """Width of the range over that of the values."""
        used = float(np.ptp(np.clip(np.append(values, 0.0), low, high)) / (high - low))
        if used >= USED:
            return 0.0, ""
        return 1 / max(used, 1e-12), f"the values use {used:.1%} of the range {low:.3g} to {high:.3g}"


class PerTensor(OfQuantization):
    """One scale for all channels of a weight whose channels differ."""

    name = "one scale for all channels"
    absent = "every weight has a scale a channel, or channels that are alike"
    says = "one scale for channels that differ"
    changed = "a scale for each channel"
    remedy = "quantize per channel"
    options = staticmethod(per_channel_scales)

    def mend(self, quantized: Quantized, model: onnx.ModelProto) -> Iterator[Place]:
        """Give each such weight a scale a channel, from the float weights."""
        for one in quantized.constants((*BIASED, "MatMul"), 1):
            if one.scale.size != 1 or one.codes.ndim < 2:
                continue
            axis = channel_axis(one.node)
            others = tuple(place for place in range(one.real.ndim) if place != axis)
            largest = np.abs(one.real).max(axis=others)
            ratio = float(largest.max() / max(np.median(largest), 1e-12))
            if ratio >= UNLIKE:
                per_channel(quantized.graph, model, one.node, one.real, axis)
                text = f"the largest channel is {ratio:.0f} times the middle one"
                yield Place(ratio, one.node.name, text)


class BiasOverflow(OfQuantization):
    """A bias that does not fit 32 bits, or is another one than the float model's."""

    name = "bias"
    absent = "every bias is the float model's"
    says = "the bias is not the float model's"
    changed = "the float model's bias"
    remedy = "a larger scale of the layer's input or weights, or the layer in float"

    def mend(self, quantized: Quantized, model: onnx.ModelProto) -> Iterator[Place]:
        """Put the float biases in."""
        nodes = {node.name: node for node in model.graph.node}
        for one in quantized.constants(BIASED, 2):
            gap = np.abs(one.codes.astype(np.float64) * one.scale - one.real)
            wrong = gap > np.maximum(one.scale.astype(np.float64), 1e-3 * np.abs(one.real).max())
            if not wrong.any():
                continue
            name = f"{one.node.name}:bias"
            model.graph.initializer.append(numpy_helper.from_array(one.real.astype(np.float32), name))
            nodes[one.node.name].input[2] = name
            is_at_end = (np.abs(one.codes.astype(np.int64)) >= 2**31 - 1).any()
            text = f"{int(wrong.sum())} of {wrong.size} numbers differ"
            text += ", which need more than 32 bits" if is_at_end else ""
            yield Place(float(gap.max()), one.node.name, text)


class Spread:
    """Nothing stands out: what 8 bits make, in which layers most."""

    name = "8 bits"

    def test(self, scene: Scene) -> Finding:
        """Rank the layers by what each adds by itself."""
        if scene.reference.artifact.precision or not scene.other.artifact.precision:
            return Finding(self.name, State.UNTESTED, "not a float file against an integer one")
        rows = [row for row in scene.table if row.isolated is not None]
        if not rows:
            return Finding(self.name, State.UNTESTED, "; ".join(scene.refused.values()) or "no layers")
        rows.sort(key=lambda row: -row.isolated.relative if row.isolated else 0.0)
        worst = ", ".join(
            f"{row.point.layer} {row.isolated.sqnr_db:.0f} dB" for row in rows[:3] if row.isolated
        )
        evidence = f"the layers that lose most: {worst}"
        if scene.gap <= SMALL:
            return Finding(self.name, State.EXPECTED, evidence)
        if any(row.isolated and (row.isolated.steps or 0.0) > STEPS for row in rows):
            return Finding(
                self.name, State.REFUTED, f"some layers lose more than {STEPS:g} steps; {evidence}"
            )
        finding = Finding(
            self.name, State.CONFIRMED, evidence, 1.0,
            f"8 bits are too few: no layer stands out, and all together lose {scene.gap:.0%}",
            rows[0].point.layer,
        )  # fmt: skip
        worst_layers = [list(dict.fromkeys(row.point.layer for row in rows[:count])) for count in (1, 2, 4)]
        changes: list[Mapping[str, Any]] = [
            {"calibration": "mse"},
            *({"float_layers": names} for names in worst_layers),
        ]
        return with_recipe(scene, finding, changes)
