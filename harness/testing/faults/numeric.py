"""Faults of the numbers: each answer is changed, at each call alike."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

from harness.core.preprocess import Feeds, Outputs
from harness.testing.faults.arrays import Values, changed, is_chosen, rows, spread
from harness.testing.faults.fault import Call, Compute, Fault, Kind, Plant
from harness.testing.faults.files import OtherWeights

ADVICE = "a limit on how far the answers may lie from those of the reference"
#: A diagnosis says that the numbers are not those of the reference, or that answers are lost.
DIFFERS = ("differ", "differs", "other numbers", "not the numbers", "same numbers", "lost", "loss")


class Changed(Plant):
    """Changes each output by a function of its values and of the size."""

    def __init__(self, size: float, change: Callable[[Values, float], Values]) -> None:
        super().__init__(size)
        self._change = change

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run, and change."""
        return changed(call, compute(feeds), lambda y: self._change(y, self.size))


def by(change: Callable[[Values, float], Values]) -> Callable[[float], Plant]:
    """Make the constructor of a plant."""
    return lambda size: Changed(size, change)


def to_bfloat16(y: Values) -> Values:
    """Round to the nearest bfloat16."""
    bits = np.ascontiguousarray(y, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return np.where(np.isfinite(y), rounded.view(np.float32), y).astype(y.dtype)


def swap_top(y: Values, share: float) -> Values:
    """Exchange the two highest values of a share of the rows."""
    flat = rows(y)
    if flat.shape[1] < 2:
        flat[is_chosen(y, share)] *= -1
        return y
    for row in np.flatnonzero(is_chosen(y, share)):
        first, second = np.argsort(flat[row])[::-1][:2]
        flat[row, [first, second]] = flat[row, [second, first]]
    return y


def tie_top(y: Values, share: float) -> Values:
    """Give a share of the rows two equal highest values."""
    flat = rows(y)
    for row in np.flatnonzero(is_chosen(y, share)):
        order = np.argsort(flat[row])[::-1]
        flat[row, order[1:2]] = flat[row, order[0]]
    return y


def lower_one_class(y: Values, _: float) -> Values:
    """Set the scores of the last class below those of all others."""
    y[..., -1] = y.min(axis=-1) - spread(y) if y.shape[-1] > 1 else y[..., -1] - spread(y)
    return y


def zero_channel(y: Values, _: float) -> Values:
    """Set the first channel to zero."""
    y[..., 0] = 0
    return y


def saturate(y: Values, share: float) -> Values:
    """Clip each row at a share of its largest absolute value."""
    flat = rows(y)
    limit = share * np.abs(flat).max(axis=1, keepdims=True)
    flat[...] = np.clip(flat, -limit, limit)
    return y


def one_step_noise(y: Values, steps: float) -> Values:
    """Add -1, 0 or 1 steps of an int8 grid to each value; the same to the same row."""
    flat = rows(y)
    for row in flat:
        rng = np.random.default_rng(zlib.crc32(np.ascontiguousarray(row).tobytes()))
        row[...] += (rng.integers(-1, 2, row.size) * steps * spread(row) / 127).astype(row.dtype)
    return y


def one_step(y: Values, share: float) -> Values:
    """Add one step of an int8 grid to a share of the rows."""
    flat = rows(y)
    for place in np.flatnonzero(is_chosen(y, share)):
        flat[place] += np.asarray(spread(flat[place]) / 127, flat.dtype)
    return y


def rare_nan(y: Values, share: float) -> Values:
    """Set a share of the rows to NaN."""
    rows(y)[is_chosen(y, share)] = np.nan
    return y


FAULTS = (
    Fault(
        "other-weights", Kind.NUMERIC, "the session runs weights that are {size} times those of the file",
        OtherWeights, (*DIFFERS, "weights"), ADVICE, 1.05, "factor", quick=True,
    ),
    Fault(
        "offset", Kind.NUMERIC, "each output is shifted by {size}", by(lambda y, size: y + size),
        (*DIFFERS, "shift", "offset"), ADVICE, 0.02, quick=True,
    ),
    Fault(
        "scale", Kind.NUMERIC, "each output is multiplied by {size}", by(lambda y, size: y * size),
        (*DIFFERS, "scale"), ADVICE, 1.01, "factor",
    ),
    Fault(
        "float16", Kind.NUMERIC, "the outputs are rounded to float16",
        by(lambda y, _: y.astype(np.float16).astype(y.dtype)), (*DIFFERS, "float16", "f16", "half"),
        ADVICE, quick=True,
    ),
    Fault(
        "last-bit", Kind.NUMERIC, "each output is the next larger number of its type",
        by(lambda y, _: np.nextafter(y, np.inf, dtype=y.dtype)), DIFFERS, ADVICE,
        beside_runtime=True,
    ),
    Fault(
        "bfloat16", Kind.NUMERIC, "the outputs are rounded to bfloat16", by(lambda y, _: to_bfloat16(y)),
        (*DIFFERS, "bfloat16", "bf16"), ADVICE,
    ),
    Fault(
        "swapped-scores", Kind.NUMERIC,
        "a share of {size} of the samples has its two highest scores exchanged", by(swap_top), DIFFERS,
        ADVICE, 0.01, "share", quick=True,
    ),
    Fault(
        "class-never-answered", Kind.NUMERIC, "the last class is never the answer", by(lower_one_class),
        (*DIFFERS, "class"), "a limit on the accuracy lost by each class",
    ),
    Fault(
        "zero-channel", Kind.NUMERIC, "the first output channel is zero", by(zero_channel),
        (*DIFFERS, "class"), ADVICE,
    ),
    Fault(
        "permuted-classes", Kind.NUMERIC, "the classes are in another order",
        by(lambda y, _: np.roll(y, 1, axis=-1)), (*DIFFERS, "order"), "a limit on the accuracy",
    ),
    Fault(
        "saturated", Kind.NUMERIC, "the outputs are clipped at {size} of their largest value",
        by(saturate), (*DIFFERS, "clip", "saturat"), ADVICE, 0.5, "share",
    ),
    Fault(
        "noise-one-step", Kind.NUMERIC, "up to {size} step of an int8 grid is added to each output",
        by(one_step_noise), (*DIFFERS, "lsb"), ADVICE, 1.0, "step",
    ),
    Fault(
        "one-step-in-ten", Kind.NUMERIC, "a share of {size} of the samples is one step of an int8 grid off",
        by(one_step), (*DIFFERS, "lsb", "not the numbers"), ADVICE, 0.1, "share", beside_runtime=True,
    ),
    Fault(
        "nan", Kind.NUMERIC, "a share of {size} of the samples is answered with NaN",
        by(rare_nan), ("nan", "finite"), "a gate that allows no output that is not finite", 0.005, "share",
    ),
    Fault(
        "ties", Kind.NUMERIC, "a share of {size} of the samples has two equal highest scores", by(tie_top),
        (*DIFFERS, "tie"), ADVICE, 0.05, "share",
    ),
)  # fmt: skip
