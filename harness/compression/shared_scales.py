"""Scales with which every runtime computes the same integers.

Correct kernels round two steps of an int8 model differently. Suitable scales avoid both; they widen a range
by a few per mille, at most by 1.5 %:

- *Addition*: ONNX Runtime adds in float32, XNNPACK in fixed point with multipliers of 21 bits. If the ratios
  of the operands' scales to the sum's scale are multiples of 2^-14, both are exact and differ only for a sum
  that ends in one half. The scales are chosen so that no pair of integers has such a sum.
- *The quantized input*: ONNX Runtime divides by the scale, XNNPACK multiplies by its reciprocal. They differ
  close to one half, which many pixels hit if the scale divides their range evenly (an image of 0..255 at half
  contrast). A slightly larger scale avoids this.

TFLite fixes two more: the scales of Softmax, Sigmoid and Tanh, and one common scale of all operands of a
Concat, which then needs no arithmetic.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from harness.compression.canonical import initializers

_LEVELS = 255  # of uint8
_INPUT_WIDENING = 1 + 2.0**-13
_MANTISSA_BITS = 24
_MOST_FRACTION_BITS = 14
_LEAST_MULTIPLIER = 200  # so that a step of one is at most 0.5 %
_WIDEST = 1.01
_TRIES = 500  # 0.2 ms each; most sums need a dozen
# Operators whose output has the scale of their input.
_KEEPS_SCALE = frozenset({
    "AveragePool", "DepthToSpace", "Flatten", "MaxPool", "Reshape", "Resize", "Slice", "SpaceToDepth",
    "Split", "Squeeze", "Transpose", "Unsqueeze",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """Scale and zero point of an unsigned tensor, by default of 8 bits, whose range begins at ``low``."""

    scale: float
    zero_point: int
    low: float

    @classmethod
    def of_range(cls, low: float, high: float, levels: int = _LEVELS) -> Step:
        """Return the step that covers a range and zero."""
        low, high = min(low, 0.0), max(high, 0.0)
        return cls(1.0, 0, 0.0).rescaled((high - low) / levels, low, levels)

    def rescaled(self, scale: float, low: float | None = None, levels: int = _LEVELS) -> Step:
        """Return the step with another scale for the same range."""
        low = self.low if low is None else low
        scale = float(np.float32(scale))
        if scale < np.finfo(np.float32).tiny:
            return Step(1.0, 0, 0.0)
        return Step(scale, int(np.clip(np.rint(-low / scale), 0, levels)), low)

    def override(self, dtype: str) -> list[dict[str, Any]]:
        """Return the step as ONNX Runtime's ``TensorQuantOverrides``, for ``uint8`` or ``int8``."""
        zero_point = self.zero_point - (128 if dtype == "int8" else 0)
        return [{"scale": np.array(self.scale, np.float32), "zero_point": np.array(zero_point, dtype)}]


# TFLite's kernels support only these steps.
_FIXED = {
    "Softmax": Step(1 / 256, 0, 0.0),
    "Sigmoid": Step(1 / 256, 0, 0.0),
    "Tanh": Step(1 / 128, 128, -1.0),
}


def shared_steps(model: onnx.ModelProto, ranges: Mapping[str, tuple[float, float]]) -> dict[str, Step]:
    """Choose the steps of inputs, of the tensors around additions, and of concatenated tensors.

    Parameters
    ----------
    model : onnx.ModelProto
        Canonical float model.
    ranges : mapping
        Tensor name to its calibrated (low, high).

    Returns
    -------
    dict
        Tensor name to step, only for tensors whose step is not the default of their range.
    """
    constants = initializers(model)
    producers = {name: node for node in model.graph.node for name in node.output}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    outputs = {value.name for value in model.graph.output}

    def root(name: str) -> str:
        """Return the tensor whose scale this one has."""
        while name in producers and producers[name].op_type in _KEEPS_SCALE:
            name = producers[name].input[0]
        return name

    def quantized_as(name: str) -> str:
        """Return the tensor that is quantized instead of a sum that only an activation reads."""
        readers = users.get(name, [])
        if name not in outputs and len(readers) == 1 and readers[0].op_type in ("Relu", "Clip"):
            return str(readers[0].output[0])
        return name

    def default_step(name: str) -> Step:
        data = constants.get(name)
        low, high = ranges[name] if data is None else (float(data.min()), float(data.max()))
        return Step.of_range(low, high)

    steps: dict[str, Step] = {}
    inputs = {value.name for value in model.graph.input} & set(ranges)
    for name in inputs:
        step = default_step(name)
        steps[name] = step.rescaled(step.scale * _INPUT_WIDENING)
    for node in model.graph.node:
        if node.op_type in _FIXED:
            steps[node.output[0]] = _FIXED[node.op_type]
    for node in model.graph.node:
        joined = {root(name) for name in node.input} | {quantized_as(node.output[0])}
        if node.op_type != "Concat" or not joined <= {*ranges, *constants}:
            continue
        if not joined & (set(steps) - inputs):
            spans = [default_step(name) for name in joined]
            step = Step.of_range(min(s.low for s in spans), max(s.low + s.scale * _LEVELS for s in spans))
            steps |= dict.fromkeys(joined, step.rescaled(step.scale * _INPUT_WIDENING))
    for node in model.graph.node:
        if node.op_type not in ("Add", "Sub"):
            continue
        names = [root(name) for name in node.input]
        total = quantized_as(node.output[0])
        have_range = all(name in ranges or name in constants for name in (*names, total))
        free = [name for name in names if name not in steps]
        if not have_range or names[0] == names[1] or not free or total in steps:
            continue
        other = free[-1]
        anchor = names[0] if other == names[1] else names[1]
        anchor_step = steps.get(anchor) or default_step(anchor)
        signs = (1, 1) if node.op_type == "Add" else (1, -1) if anchor == names[0] else (-1, 1)
        widened = _exact_steps(anchor_step, default_step(other), default_step(total), signs)
        if widened is not None:
            steps |= {anchor: anchor_step, other: widened[0], total: widened[1]}
    return steps


def clipping_activations(model: onnx.ModelProto, steps: Mapping[str, Step]) -> dict[str, str]:
    """Find the activations that integers do not replace.

    A quantizer leaves Relu and Clip out because the range of their result ends where they clip. The common
    step of a Concat may have a wider range: then what they clip would pass.

    Parameters
    ----------
    model : onnx.ModelProto
        Canonical float model.
    steps : mapping
        Of :func:`shared_steps`.

    Returns
    -------
    dict
        Result of the activation to what it reads: integers of the same step represent both.
    """
    constants = initializers(model)
    clipping: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type not in ("Relu", "Clip") or node.output[0] not in steps:
            continue
        step, (low, high) = steps[node.output[0]], _clips_at(node, constants)
        reaches = (_LEVELS - step.zero_point) * step.scale
        if -step.zero_point * step.scale < low - step.scale or reaches > high * _WIDEST**2 + step.scale:
            clipping[node.output[0]] = node.input[0]
    return clipping


def _clips_at(node: onnx.NodeProto, constants: Mapping[str, np.ndarray[Any, Any]]) -> tuple[float, float]:
    if node.op_type == "Relu":
        return 0.0, np.inf
    low, high = -np.inf, np.inf
    for name, place in zip(node.input[1:3], ("low", "high"), strict=False):
        if name in constants:
            bound = float(constants[name].reshape(-1)[0])
            low, high = (bound, high) if place == "low" else (low, bound)
    return low, high


def _exact_steps(anchor: Step, other: Step, total: Step, signs: tuple[int, int]) -> tuple[Step, Step] | None:
    """Widen an operand and the sum until kernels add exactly; None if the scales differ too much."""
    ratios = anchor.scale / total.scale, other.scale / total.scale
    largest = _LEVELS * (1 + sum(ratios))  # largest term of the float32 kernel
    bits = min(_MOST_FRACTION_BITS, _MANTISSA_BITS - int(np.ceil(np.log2(largest))))
    if min(ratios) * 2.0**bits < _LEAST_MULTIPLIER:
        return None
    tries = (
        (anchor_multiplier, multiplier, wide, wide_total)
        for anchor_multiplier, wide_total in _totals(anchor, total, bits)
        for multiplier, wide in _operands(other, wide_total, bits)
    )
    for anchor_multiplier, multiplier, wide, wide_total in itertools.islice(tries, _TRIES):
        signed = anchor_multiplier * signs[0], multiplier * signs[1]
        if not _ends_in_one_half(anchor, signed[0], wide, signed[1], wide_total, bits):
            return wide, wide_total
    return None


def _totals(anchor: Step, total: Step, bits: int) -> Iterator[tuple[int, Step]]:
    """Yield ever wider steps of the sum, of which the anchor's scale is exactly a multiple of 2^-bits."""
    first = int(anchor.scale / total.scale * 2.0**bits)
    for multiplier in range(first, int(first / _WIDEST), -1):
        step = total.rescaled(anchor.scale * 2.0**bits / multiplier)
        if np.float32(anchor.scale) / np.float32(step.scale) * 2.0**bits == multiplier:
            yield multiplier, step


def _operands(other: Step, total: Step, bits: int) -> Iterator[tuple[int, Step]]:
    """Yield ever wider steps of an operand that are exactly a multiple of 2^-bits of the sum's."""
    first = int(np.ceil(other.scale / total.scale * 2.0**bits))
    for multiplier in range(first, int(first * _WIDEST) + 1):
        step = other.rescaled(total.scale * multiplier / 2.0**bits)
        if np.float32(step.scale) / np.float32(total.scale) * 2.0**bits == multiplier:
            yield multiplier, step


def _ends_in_one_half(a: Step, a_multiplier: int, b: Step, b_multiplier: int, total: Step, bits: int) -> bool:
    """Whether any pair of integers has a sum that ends in one half and is not clamped."""
    levels = np.arange(_LEVELS + 1, dtype=np.int32)
    sums = np.add.outer((levels - a.zero_point) * a_multiplier, (levels - b.zero_point) * b_multiplier)
    integers = total.zero_point + (sums >> bits)
    half = (sums & ((1 << bits) - 1)) == 1 << (bits - 1)
    return bool(np.any(half & (integers >= 0) & (integers < _LEVELS)))
