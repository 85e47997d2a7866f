"""A calibrated range that is too narrow, or too wide."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray

from harness.core.artifact import Quantization
from harness.explain.hypotheses.quantization.quantized import (
    OfQuantization,
    Place,
    Quantized,
    options_of_range,
)
from harness.explain.integers.requantize import set_range

#: So many values outside of the range of an integer tensor are not chance.
CLIPPED = 1e-4
#: An integer tensor of which less than this part of the range is used is coarse.
USED = 1 / 6


class _OfRange(OfQuantization):
    changed = "the range of the float values"

    def fix(self, quantized: Quantized, model: onnx.ModelProto) -> Iterator[Place]:
        """Give each tensor of the kind the range of the float values."""
        for one in quantized.pairs:
            step, node = one.other.step, quantized.graph.maker[one.other.name]
            zero = quantized.graph.zero_point(node)
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
