"""Scales on which every runtime computes the same integers.

Two steps of an int8 model are rounded differently by honest kernels. Both are cured by the choice of scales,
which widens a range by a few thousandths, at most by a hundredth and a half:

- *Addition*: ONNX Runtime adds in float32, XNNPACK in fixed point with multipliers of 21 bits. Where the
  ratios of the operands' scales to the sum's are whole multiples of 2^-14, both are exact and can only differ
  where a sum ends in one half. The scales are chosen so that no pair of integers has such a sum.
- *The quantized input*: ONNX Runtime divides by the scale, XNNPACK multiplies by its reciprocal. They differ
  next to one half, which pixels hit in rows where the scale is a neat part of their range (an image of 0..255
  at half contrast). A scale a little off the neat one avoids that.

Two more are fixed by TFLite: the scales of Softmax, Sigmoid and Tanh, and the one scale of all that is
concatenated, which then needs no arithmetic anywhere.
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
_OFF_NEAT = 1 + 2.0**-13
_MANTISSA_BITS = 24
_MOST_FRACTION_BITS = 14
_LEAST_MULTIPLIER = 200  # one more or less is then at most 0.5 %
_WIDEST = 1.01
_TRIES = 500  # of which each takes 0.2 ms; most sums need a dozen
# Their output has the scale of their input.
_KEEPS_SCALE = frozenset({
    "AveragePool", "DepthToSpace", "Flatten", "MaxPool", "Reshape", "Resize", "Slice", "SpaceToDepth",
    "Split", "Squeeze", "Transpose", "Unsqueeze",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """Scale and zero point of an unsigned 8-bit tensor whose reals reach from ``low`` to ``high``."""

    scale: float
    zero_point: int
    low: float

    @classmethod
    def of_range(cls, low: float, high: float) -> Step:
        """Take the step that covers a range and zero."""
        low, high = min(low, 0.0), max(high, 0.0)
        return cls(1.0, 0, 0.0).rescaled((high - low) / _LEVELS, low)

    def rescaled(self, scale: float, low: float | None = None) -> Step:
        """Return the step of another scale for the same range."""
        low = self.low if low is None else low
        scale = float(np.float32(scale))
        if scale < np.finfo(np.float32).tiny:
            return Step(1.0, 0, 0.0)
        return Step(scale, int(np.clip(np.rint(-low / scale), 0, _LEVELS)), low)

    def override(self, dtype: str) -> list[dict[str, Any]]:
        """The step in the form of ONNX Runtime's ``TensorQuantOverrides``, for ``uint8`` or ``int8``."""
        zero_point = self.zero_point - (128 if dtype == "int8" else 0)
        return [{"scale": np.array(self.scale, np.float32), "zero_point": np.array(zero_point, dtype)}]


# TFLite's kernels have these steps and no others.
_FIXED = {
    "Softmax": Step(1 / 256, 0, 0.0),
    "Sigmoid": Step(1 / 256, 0, 0.0),
    "Tanh": Step(1 / 128, 128, -1.0),
}


def agreed_steps(model: onnx.ModelProto, ranges: Mapping[str, tuple[float, float]]) -> dict[str, Step]:
    """Choose the steps of inputs and of the tensors around additions.

    Parameters
    ----------
    model : onnx.ModelProto
        Canonical float model.
    ranges : mapping
        Tensor name to its calibrated (low, high).

    Returns
    -------
    dict
        Tensor name to step, for those tensors only whose step is not the usual one.
    """
    constants = initializers(model)
    makers = {name: node for node in model.graph.node for name in node.output}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    outputs = {value.name for value in model.graph.output}

    def root(name: str) -> str:
        """Return the tensor whose scale this one takes over."""
        while name in makers and makers[name].op_type in _KEEPS_SCALE:
            name = makers[name].input[0]
        return name

    def settled(name: str) -> str:
        """Return the tensor that is quantized in place of a sum that only an activation reads."""
        readers = users.get(name, [])
        if name not in outputs and len(readers) == 1 and readers[0].op_type in ("Relu", "Clip"):
            return str(readers[0].output[0])
        return name

    def usual(name: str) -> Step:
        data = constants.get(name)
        low, high = ranges[name] if data is None else (float(data.min()), float(data.max()))
        return Step.of_range(low, high)

    steps: dict[str, Step] = {}
    inputs = {value.name for value in model.graph.input} & set(ranges)
    for name in inputs:
        step = usual(name)
        steps[name] = step.rescaled(step.scale * _OFF_NEAT)
    for node in model.graph.node:
        if node.op_type in _FIXED:
            steps[node.output[0]] = _FIXED[node.op_type]
    for node in model.graph.node:
        joined = {root(name) for name in node.input} | {settled(node.output[0])}
        if node.op_type != "Concat" or not joined <= {*ranges, *constants}:
            continue
        if not joined & (set(steps) - inputs):
            spans = [usual(name) for name in joined]
            step = Step.of_range(min(s.low for s in spans), max(s.low + s.scale * _LEVELS for s in spans))
            steps |= dict.fromkeys(joined, step.rescaled(step.scale * _OFF_NEAT))
    for node in model.graph.node:
        if node.op_type not in ("Add", "Sub"):
            continue
        names = [root(name) for name in node.input]
        total = settled(node.output[0])
        known = all(name in ranges or name in constants for name in (*names, total))
        free = [name for name in names if name not in steps]
        if not known or names[0] == names[1] or not free or total in steps:
            continue
        other = free[-1]
        anchor = names[0] if other == names[1] else names[1]
        held = steps.get(anchor) or usual(anchor)
        signs = (1, 1) if node.op_type == "Add" else (1, -1) if anchor == names[0] else (-1, 1)
        found = _agree(held, usual(other), usual(total), signs)
        if found is not None:
            steps |= {anchor: held, other: found[0], total: found[1]}
    return steps


def _agree(anchor: Step, other: Step, total: Step, signs: tuple[int, int]) -> tuple[Step, Step] | None:
    """Widen an operand and the sum until kernels add exactly; None where the scales lie too far apart."""
    ratios = anchor.scale / total.scale, other.scale / total.scale
    largest = _LEVELS * (1 + sum(ratios))  # of any term of the float32 kernel
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
        if not _meets_one_half(anchor, signed[0], wide, signed[1], wide_total, bits):
            return wide, wide_total
    return None


def _totals(anchor: Step, total: Step, bits: int) -> Iterator[tuple[int, Step]]:
    """Yield steps of the sum, widening, to which the anchor's scale is exactly a multiple of 2^-bits."""
    first = int(anchor.scale / total.scale * 2.0**bits)
    for multiplier in range(first, int(first / _WIDEST), -1):
        step = total.rescaled(anchor.scale * 2.0**bits / multiplier)
        if np.float32(anchor.scale) / np.float32(step.scale) * 2.0**bits == multiplier:
            yield multiplier, step


def _operands(other: Step, total: Step, bits: int) -> Iterator[tuple[int, Step]]:
    """Yield steps of an operand, widening, that are exactly a multiple of 2^-bits of the sum's."""
    first = int(np.ceil(other.scale / total.scale * 2.0**bits))
    for multiplier in range(first, int(first * _WIDEST) + 1):
        step = other.rescaled(total.scale * multiplier / 2.0**bits)
        if np.float32(step.scale) / np.float32(total.scale) * 2.0**bits == multiplier:
            yield multiplier, step


def _meets_one_half(a: Step, a_multiplier: int, b: Step, b_multiplier: int, total: Step, bits: int) -> bool:
    """Whether any pair of integers has a sum that ends in one half and is not clamped."""
    levels = np.arange(_LEVELS + 1, dtype=np.int32)
    sums = np.add.outer((levels - a.zero_point) * a_multiplier, (levels - b.zero_point) * b_multiplier)
    whole = total.zero_point + (sums >> bits)
    half = (sums & ((1 << bits) - 1)) == 1 << (bits - 1)
    return bool(np.any(half & (whole >= 0) & (whole < _LEVELS)))
