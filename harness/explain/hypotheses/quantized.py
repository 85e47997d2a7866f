"""Causes that lie in how a quantized file was made: it is changed on this machine, and run again."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from harness.core.artifact import Artifact, Quantization
from harness.core.errors import HarnessError
from harness.explain.files import OnnxFile
from harness.explain.layers import Pair, match
from harness.explain.points import Graph, Point
from harness.explain.scene import Finding, Remedy, Scene, State
from harness.explain.sides import Side

#: A change that takes away so much of the difference is a cause: what 8 bits make in all layers stays.
ENOUGH = 0.3
#: So many values outside of the range of an integer tensor are not chance.
CLIPPED = 1e-4
#: An integer tensor of which less than this part of the range is used is coarse.
USED = 1 / 6
#: Channels whose ranges differ by more than this need scales of their own.
UNLIKE = 8.0
#: Operators with a bias.
BIASED = ("Conv", "Gemm", "ConvTranspose")
#: What a layer loses by rounding its inputs, weights and result to 8 bits, in steps of its result.
STEPS = 4.0
#: A difference of the outputs, relative to their size, that 8 bits usually make: 26 dB.
SMALL = 0.05


@dataclass(frozen=True, slots=True)
class _Pair:
    """The float model and the quantized one, and the float values on the worst samples."""

    graph: Graph
    pairs: list[Pair]
    real: dict[str, NDArray[np.float64]]


class _OfQuantization:
    """Confirmed where a changed file is nearer to the float one."""

    name = ""

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
        real = {pair.reference.name: scene.tapped.first(pair) for pair in scene.tapped.pairs}
        changed = copy.deepcopy(graph.model)
        seen = list(self.mend(scene, _Pair(graph, pairs, real), changed))
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
        layer, text = seen[0]
        more = f", and {len(seen) - 1} more" if len(seen) > 1 else ""
        evidence = f"{layer}: {text}{more}; changed, {max(0.0, 1 - share):.0%} of the difference is left"
        if share < ENOUGH:
            return Finding(self.name, State.REFUTED, evidence, max(0.0, share))
        return Finding(
            self.name, State.CONFIRMED, evidence, share, f"{self.says} in {layer}: {text}{more}", layer,
            Remedy(self.remedy, "[variant.NAME] recipe", scene.other.label),
        )  # fmt: skip

    absent = ""
    says = ""
    remedy = ""

    def mend(self, scene: Scene, pair: _Pair, model: onnx.ModelProto) -> Iterator[tuple[str, str]]:
        """Change the model; yield layer and text of each place, the worst first."""
        raise NotImplementedError


def _on_host(scene: Scene, artifact: Artifact) -> Side:
    return replace(scene.host, artifact=artifact, variant=scene.other.variant, label="this machine")


class _OfRange(_OfQuantization):
    def mend(self, scene: Scene, pair: _Pair, model: onnx.ModelProto) -> Iterator[tuple[str, str]]:
        """Give each tensor of the kind the range of the float values."""
        seen = []
        for one in pair.pairs:
            step, node = one.other.step, pair.graph.maker[one.other.name]
            if step is None or one.reference.name not in pair.real:
                continue
            zero = pair.graph.constant(node.input[2]) if len(node.input) > 2 else None
            if zero is None or zero.dtype not in (np.uint8, np.int8):
                continue
            limits = np.iinfo(zero.dtype)
            low, high = (
                (limits.min - step.zero_point) * step.scale,
                (limits.max - step.zero_point) * step.scale,
            )
            values = pair.real[one.reference.name]
            weight, text = self.fault(values, low, high, step, one.other)
            if weight:
                seen.append((weight, one.other, text))
                _set_range(pair.graph, model, node, values, limits)
        for _, point, text in sorted(seen, key=lambda entry: -entry[0]):
            yield point.layer, text

    def fault(
        self, values: NDArray[np.float64], low: float, high: float, step: Quantization, point: Point
    ) -> tuple[float, str]:
        """How bad it is, and in words; 0 where the range is right."""
        raise NotImplementedError


class ClippedRange(_OfRange):
    """The calibrated range is narrower than the values."""

    name = "clipped range"
    absent = "the float values lie within the ranges of all integer tensors"
    says = "the calibrated range is too narrow"
    remedy = "calibrate with data like the real ones, or with minmax"

    def fault(
        self, values: NDArray[np.float64], low: float, high: float, step: Quantization, point: Point
    ) -> tuple[float, str]:
        """Energy that is cut off, relative to all."""
        if point.operator in ("Clip", "Relu") or low >= 0 > values.min():
            values = np.maximum(values, low)  # the activation that the range stands for
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

    def fault(
        self, values: NDArray[np.float64], low: float, high: float, step: Quantization, point: Point
    ) -> tuple[float, str]:
        """Width of the range over that of the values."""
        used = float(np.ptp(np.clip(np.append(values, 0.0), low, high)) / (high - low))
        if used >= USED:
            return 0.0, ""
        return 1 / max(used, 1e-12), f"the values use {used:.1%} of the range {low:.3g} to {high:.3g}"


def _set_range(
    graph: Graph,
    model: onnx.ModelProto,
    node: onnx.NodeProto,
    values: NDArray[np.float64],
    limits: np.iinfo[Any],
) -> None:
    """Give a quantizer and the dequantizers after it the range of some values."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    scale = max(high - low, 1e-12) / (limits.max - limits.min)
    zero = int(np.clip(np.rint(limits.min - low / scale), limits.min, limits.max))
    dtype = np.uint8 if limits.min == 0 else np.int8
    for name in _after(graph, node):
        for reader in graph.readers[name]:
            _rescale_bias(graph, model, reader, name, scale)
    _constants(
        model,
        node.output[0],
        np.float32(scale),
        np.array(zero, dtype),
        {node.output[0], *_after(graph, node)},
    )


def _rescale_bias(
    graph: Graph, model: onnx.ModelProto, reader: onnx.NodeProto, name: str, scale: float
) -> None:
    """Integers of a bias count in steps of input times weight: runtimes take that for granted."""
    if reader.op_type not in BIASED or len(reader.input) < 3 or reader.input[0] != name:
        return
    weight, bias = (graph.maker.get(each) for each in reader.input[1:3])
    if weight is None or bias is None or {weight.op_type, bias.op_type} != {"DequantizeLinear"}:
        return
    codes, before, of_weight = (
        graph.constant(each) for each in (bias.input[0], bias.input[1], weight.input[1])
    )
    if codes is None or before is None or of_weight is None:
        return
    steps = np.maximum(np.float64(scale) * of_weight, 1e-300)
    changed = np.rint(codes.astype(np.float64) * before / steps).clip(-(2**31), 2**31 - 1).astype(np.int32)
    names = [f"{bias.output[0]}:{what}" for what in ("codes", "scale")]
    arrays = changed, np.broadcast_to(steps, before.shape).astype(np.float32)
    model.graph.initializer.extend(map(numpy_helper.from_array, arrays, names))
    for node in model.graph.node:
        if node.output[0] == bias.output[0]:
            node.input[:2] = names


def _after(graph: Graph, node: onnx.NodeProto) -> set[str]:
    """Names of the dequantizers of one quantizer."""
    return {
        reader.output[0] for reader in graph.readers[node.output[0]] if reader.op_type == "DequantizeLinear"
    }


def _constants(
    model: onnx.ModelProto, name: str, scale: np.float32, zero: NDArray[np.generic], outputs: set[str]
) -> None:
    names = f"{name}:scale", f"{name}:zero"
    arrays = np.array(scale), zero
    model.graph.initializer.extend(
        numpy_helper.from_array(array, each) for array, each in zip(arrays, names, strict=True)
    )
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.output[0] in outputs:
            node.input[1:] = names


class PerTensor(_OfQuantization):
    """One scale for all channels of a weight whose channels differ."""

    name = "one scale for all channels"
    absent = "every weight has a scale a channel, or channels that are alike"
    says = "one scale for channels that differ"
    remedy = "quantize per channel"

    def mend(self, scene: Scene, pair: _Pair, model: onnx.ModelProto) -> Iterator[tuple[str, str]]:
        """Give each such weight a scale a channel, from the float weights."""
        seen = []
        first = scene.files[0] if scene.files else None
        if not isinstance(first, OnnxFile):
            return
        for node in pair.graph.model.graph.node:
            if node.op_type not in ("Conv", "Gemm", "MatMul", "ConvTranspose") or len(node.input) < 2:
                continue
            reader = pair.graph.maker.get(node.input[1])
            if reader is None or reader.op_type != "DequantizeLinear":
                continue
            codes, scale = (pair.graph.constant(name) for name in reader.input[:2])
            real = _float_weight(first.graph, node, codes)
            if codes is None or scale is None or scale.size != 1 or real is None or codes.ndim < 2:
                continue
            axis = _channel_axis(node)
            others = tuple(place for place in range(real.ndim) if place != axis)
            largest = np.abs(real).max(axis=others)
            ratio = float(largest.max() / max(np.median(largest), 1e-12))
            if ratio < UNLIKE:
                continue
            seen.append((ratio, node.name, f"the largest channel is {ratio:.0f} times the middle one"))
            _per_channel(model, reader, real, largest, axis)
        for _, name, text in sorted(seen, key=lambda entry: -entry[0]):
            yield name, text


def _channel_axis(node: onnx.NodeProto) -> int:
    if node.op_type == "Conv":
        return 0
    transposed = next((attribute.i for attribute in node.attribute if attribute.name == "transB"), 0)
    return 0 if node.op_type == "Gemm" and transposed else 1


def _float_weight(
    graph: Graph, node: onnx.NodeProto, codes: NDArray[np.generic] | None
) -> NDArray[np.float64] | None:
    """The weight of the same node of the float model."""
    if codes is None:
        return None
    for other in graph.model.graph.node:
        if other.name == node.name and other.op_type == node.op_type and len(other.input) > 1:
            real = graph.constant(other.input[1])
            if real is not None and real.shape == codes.shape:
                return real.astype(np.float64)
    return None


def _per_channel(
    model: onnx.ModelProto,
    reader: onnx.NodeProto,
    real: NDArray[np.float64],
    largest: NDArray[np.float64],
    axis: int,
) -> None:
    scale = np.maximum(largest, 1e-12) / 127
    shape = [1] * real.ndim
    shape[axis] = -1
    codes = np.clip(np.rint(real / scale.reshape(shape)), -127, 127).astype(np.int8)
    for node in model.graph.node:
        if node.output[0] == reader.output[0]:
            names = [f"{reader.output[0]}:{what}" for what in ("codes", "scale", "zero")]
            arrays = codes, scale.astype(np.float32), np.zeros(len(scale), np.int8)
            model.graph.initializer.extend(map(numpy_helper.from_array, arrays, names))
            node.input[:] = names
            del node.attribute[:]
            node.attribute.append(onnx.helper.make_attribute("axis", axis))


class BiasOverflow(_OfQuantization):
    """A bias that does not fit 32 bits, or is another one than the float model's."""

    name = "bias"
    absent = "every bias is the float model's"
    says = "the bias is not the float model's"
    remedy = "a larger scale of the layer's input or weights, or the layer in float"

    def mend(self, scene: Scene, pair: _Pair, model: onnx.ModelProto) -> Iterator[tuple[str, str]]:
        """Put the float biases in."""
        first = scene.files[0] if scene.files else None
        if not isinstance(first, OnnxFile):
            return
        seen = []
        for node in pair.graph.model.graph.node:
            if node.op_type not in BIASED or len(node.input) < 3:
                continue
            reader = pair.graph.maker.get(node.input[2])
            other = next((o for o in first.graph.model.graph.node if o.name == node.name), None)
            if (
                reader is None
                or reader.op_type != "DequantizeLinear"
                or other is None
                or len(other.input) < 3
            ):
                continue
            codes, scale = (pair.graph.constant(name) for name in reader.input[:2])
            real = first.graph.constant(other.input[2])
            if codes is None or scale is None or real is None or real.shape != codes.shape:
                continue
            gap = np.abs(codes.astype(np.float64) * scale - real)
            wrong = gap > np.maximum(np.asarray(scale, np.float64), 1e-3 * np.abs(real).max())
            if not wrong.any():
                continue
            is_at_end = np.abs(codes.astype(np.int64)) >= 2**31 - 1
            text = f"{int(wrong.sum())} of {wrong.size} numbers differ" + (
                ", which need more than 32 bits" if is_at_end.any() else ""
            )
            seen.append((float(gap.max()), node.name, text))
            name = f"{node.name}:bias"
            model.graph.initializer.append(numpy_helper.from_array(real, name))
            for changed in model.graph.node:
                if changed.name == node.name:
                    changed.input[2] = name
        for _, name, text in sorted(seen, key=lambda entry: -entry[0]):
            yield name, text


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
        if any(
            row.isolated and row.isolated.steps is not None and row.isolated.steps > STEPS for row in rows
        ):
            return Finding(
                self.name, State.REFUTED, f"some layers lose more than {STEPS:g} steps; {evidence}"
            )
        return Finding(
            self.name, State.CONFIRMED, evidence, 1.0,
            f"8 bits are too few: no layer stands out, and all together lose {scene.gap:.0%}",
            rows[0].point.layer,
        )  # fmt: skip
