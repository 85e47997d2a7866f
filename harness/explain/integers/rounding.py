"""Ways in which runtimes round an exact result, each to steps without the zero point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import Quantization
from harness.explain.integers.exact import Exact

Integers = NDArray[np.int64]
#: An activation changes a result by more, in steps.
LIMITED = 0.01


def half_to_even(exact: Exact) -> Integers:
    """Round to the nearest; a half to the even one."""
    return np.rint(exact.steps).astype(np.int64)


def half_away(exact: Exact) -> Integers:
    """Round to the nearest; a half away from zero."""
    return (np.sign(exact.steps) * np.floor(np.abs(exact.steps) + 0.5)).astype(np.int64)


def half_away_of_codes(exact: Exact) -> Integers:
    """The same of the integer with its zero point."""
    codes = exact.steps + exact.zero_point
    rounded = np.sign(codes) * np.floor(np.abs(codes) + 0.5)
    return (rounded - exact.zero_point).astype(np.int64)


def half_up(exact: Exact) -> Integers:
    """Round to the nearest; a half to the larger one."""
    return np.floor(exact.steps + 0.5).astype(np.int64)


def down(exact: Exact) -> Integers:
    """Round to the next smaller one."""
    return np.floor(exact.steps).astype(np.int64)


def to_zero(exact: Exact) -> Integers:
    """Cut off what is behind the point."""
    return np.trunc(exact.steps).astype(np.int64)


def twice(exact: Exact) -> Integers | None:
    """Multiply by an integer of 32 bits and round, then divide by a power of 2 and round, a half away from 0.

    As gemmlowp, TensorFlow Lite's own kernels and TensorFlow Lite for Microcontrollers do it
    (``MultiplyByQuantizedMultiplier``). None where the layer does not multiply.
    """
    if exact.sums is None or exact.factor is None:
        return None
    sums = exact.sums.astype(np.int64)
    mantissa, shift = np.frexp(exact.factor)
    multiplier = np.rint(mantissa * 2.0**31).astype(np.int64)
    is_one = multiplier == 2**31
    multiplier, shift = np.where(is_one, 2**30, multiplier), shift.astype(np.int64) + is_one
    product = (sums << np.maximum(shift, 0)) * multiplier
    nudged = product + np.where(product >= 0, 2**30, 1 - 2**30)
    high = np.sign(nudged) * (np.abs(nudged) >> 31)  # C divides towards zero
    right = np.maximum(-shift, 0)
    mask = (np.int64(1) << right) - 1
    rounded = (high >> right) + ((high & mask) > (mask >> 1) + (high < 0))
    # An activation is a limit of the integers; scales of biases are rounded to float32.
    before = (exact.sums * exact.factor).reshape(exact.steps.shape)
    is_limited = np.abs(exact.steps - before) > LIMITED
    return np.where(is_limited, half_to_even(exact), rounded.reshape(exact.steps.shape))


@dataclass(frozen=True)
class Mode:
    """A way to round, in words that follow the name of a runtime."""

    text: str
    round: Callable[[Exact], Integers | None]


MODES = (
    Mode("rounds once, half to even", half_to_even),
    Mode("rounds twice, half away from zero", twice),
    Mode("rounds once, half away from zero", half_away),
    Mode("rounds once, half away from zero", half_away_of_codes),
    Mode("rounds once, half up", half_up),
    Mode("rounds down", down),
    Mode("cuts off towards zero", to_zero),
)


def limited(steps: Integers, step: Quantization, limits: np.iinfo[Any]) -> Integers:
    """Integers without the zero point, within the range of their type."""
    return np.clip(steps, limits.min - step.zero_point, limits.max - step.zero_point)
