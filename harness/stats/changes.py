"""At which run the level of a series changed, from the intervals of its runs.

Every interval of a fixed list is searched for a split whose two sides differ. The narrowest intervals with
such a split count first, and each change is then placed where the two levels around it differ most. The
list is that of seeded binary segmentation (S. Kovács, P. Bühlmann, H. Li and A. Munk, Biometrika 110
(2023)), the choice narrowest-over-threshold (R. Baranowski, Y. Chen and P. Fryzlewicz, JRSS B 81 (2019)),
so that a bump of one run is found as well as a step that stays. Sides are compared by
``harness.stats.difference``.

The list does not depend on the data, so Bonferroni over all its splits in all series bounds the chance of
one false alarm anywhere by ``alpha`` (Holm's steps would gain nothing among thousands). The interval of a
time comes from few processes, and that of some runs is by chance far too narrow: the spread is pooled over
the searched runs, as in Student's test, unless that of the two sides is wider. Where the runs of a series
scatter more than their intervals say, the intervals are widened by that factor (R. T. Birge, Physical
Review 40 (1932); the scale factor of the Particle Data Group), taken from the median step between
neighbouring runs, which a few changes do not move.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.stats.difference import PROCESSES, Values, independent, noise_factor
from harness.stats.intervals import Interval

ALPHA = 0.05
#: Fewer runs say nothing of how much runs scatter.
ENOUGH_TO_SCATTER = 5
#: So many series are searched at once: bounds the memory, a few arrays of so many times twice the runs.
_BLOCK = 128

Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Series:
    """One quantity over runs, oldest first.

    Parameters
    ----------
    value, low, high : ndarray, shape (runs,)
        Bounds at one-sided 5 % each side, all finite.
    ratio : bool
        Compared by ratio; all numbers are above zero then.
    noisy : bool
        The bounds are over the processes of one run (see ``difference.PROCESSES``).
    between : float
        Standard deviation between runs, at least; on the scale of the comparison (of logarithms of ratios).
    """

    value: Values
    low: Values
    high: Values
    ratio: bool = False
    noisy: bool = False
    between: float = 0.0


@dataclass(frozen=True, slots=True)
class LevelChange:
    """From the run ``at`` on the level is another.

    Parameters
    ----------
    at : int
        Index of the first run of the new level.
    before, after : Interval
        The levels on both sides, up to the next change; ``n`` counts runs.
    change : Interval
        after / before, or after - before, at one-sided 5 % each side, not corrected for the search.
    """

    at: int
    before: Interval
    after: Interval
    change: Interval


@dataclass(frozen=True, slots=True)
class _Scaled:
    """A series on the scale of its comparison, with its bounds widened; ``df`` of one run's interval."""

    value: Values
    low: Values
    high: Values
    df: float

    @property
    def quantile(self) -> float:
        """How many standard errors the bounds are away."""
        return _quantile(self.df)


@dataclass(frozen=True, slots=True)
class _Split:
    """A split whose two sides differ, in an interval of the list."""

    length: int
    p: float
    start: int
    at: int


def find(series: Sequence[Series], alpha: float = ALPHA) -> list[tuple[LevelChange, ...]]:
    """Find the changes of many series.

    Parameters
    ----------
    series : sequence of Series
    alpha : float
        Chance that any change is reported, in any series, where none took place.

    Returns
    -------
    list of tuple of LevelChange
        Of each series, oldest first.
    """
    family = sum(_tests(len(one.value)) for one in series)
    if not family:
        return [()] * len(series)
    scaled = [_scale(one) for one in series]
    splits_of: list[list[_Split]] = [[] for _ in series]
    groups: dict[tuple[int, float], list[int]] = {}
    for index, one in enumerate(scaled):
        if len(one.value) > 1 and np.ptp(one.value):
            groups.setdefault((len(one.value), one.df), []).append(index)
    for (_, df), members in groups.items():
        for first in range(0, len(members), _BLOCK):
            block = members[first : first + _BLOCK]
            for row, split in _search([scaled[index] for index in block], df, alpha / family):
                splits_of[block[row]].append(split)
    return [
        _describe(one, on_scale, _placed(on_scale.value, _narrowest(splits)))
        for one, on_scale, splits in zip(series, scaled, splits_of, strict=True)
    ]


def seeded(runs: int) -> tuple[tuple[int, Indices], ...]:
    """List the intervals that are searched: length and starts, half as long from layer to layer, half over.

    Every pair of neighbours is among them.
    """
    layers: list[tuple[int, Indices]] = []
    layer, length = 1, runs
    while length > 2:
        count = 2**layer - 1
        starts = np.unique(np.linspace(0, runs - length, count).round().astype(np.intp))
        layers.append((length, starts))
        layer, length = layer + 1, math.ceil(runs / 2**layer)
    return (*layers, (2, np.arange(runs - 1, dtype=np.intp))) if runs >= 2 else ()


def _tests(runs: int) -> int:
    return sum(len(starts) * (length - 1) for length, starts in seeded(runs))


def _quantile(df: float) -> float:
    return float(stats.norm.ppf(0.95) if math.isinf(df) else stats.t.ppf(0.95, df))


def _scale(series: Series) -> _Scaled:
    parts = [np.asarray(part, np.float64) for part in (series.value, series.low, series.high)]
    value, low, high = [np.log(part) for part in parts] if series.ratio else parts
    widen = noise_factor() if series.noisy else 1.0
    df = PROCESSES - 1.0 if series.noisy else math.inf
    if len(value) >= ENOUGH_TO_SCATTER:
        step, _, upper = independent(
            [part[:-1] for part in (value, low, high)], [part[1:] for part in (value, low, high)],
            ratio=False, widen=widen,
        )  # fmt: skip
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = np.abs(step) / (upper - step) * _quantile(df)
        median = float(np.median(steps[np.isfinite(steps)])) if np.isfinite(steps).any() else 0.0
        two = 2 * df  # degrees of freedom of a difference of two alike
        widen *= max(1.0, median / float(stats.norm.ppf(0.75) if math.isinf(df) else stats.t.ppf(0.75, two)))
    least = series.between * _quantile(df)
    below, above = (np.hypot(widen * part, least) for part in (value - low, high - value))
    return _Scaled(value, value - below, value + above, df)


def _search(block: Sequence[_Scaled], df: float, level: float) -> Iterator[tuple[int, _Split]]:
    """Yield the best split of every interval that holds a difference at two-sided `level`."""
    value = np.stack([one.value for one in block])
    below, above = (np.stack([one.value - one.low for one in block]),
                    np.stack([one.high - one.value for one in block]))  # fmt: skip
    variance = (below**2 + above**2) / 2
    sums = [_cumulative(part) for part in (value, below**2, above**2, variance)]
    quantile = block[0].quantile
    for length, starts in seeded(value.shape[1]):
        left_runs = np.arange(1, length)
        right_runs = length - left_runs
        begin, middle, end = starts[:, None], starts[:, None] + left_runs, starts[:, None] + length
        left = [part[:, middle] - part[:, begin] for part in sums]
        right = [part[:, end] - part[:, middle] for part in sums]
        levels = [_level(side, runs) for side, runs in ((left, left_runs), (right, right_runs))]
        change, low, high = independent(*levels, ratio=False)
        distance = np.where(change > 0, change - low, high - change)
        if not math.isinf(df):
            pooled = (left[3] + right[3]) / length * (1 / left_runs + 1 / right_runs)
            distance = np.maximum(distance, np.sqrt(np.maximum(pooled, 0)))
        # The rounding error of cumulative sums is no change.
        change[np.abs(change) <= 1e-12 * np.abs(value).max()] = 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.abs(change) / distance * quantile
        tail = stats.norm if math.isinf(df) else stats.t(df * length)
        rows, intervals, splits = np.nonzero(np.nan_to_num(t, nan=0.0, posinf=np.inf) >= tail.isf(level / 2))
        p = 2 * tail.sf(t[rows, intervals, splits])
        size = np.abs(change) * np.sqrt(left_runs * right_runs)
        weight = size[rows, intervals, splits]
        best: dict[tuple[int, int], tuple[float, float, int]] = {}
        for row, interval, split, chance, gain in zip(
            *(part.tolist() for part in (rows, intervals, splits, p, weight)), strict=True
        ):
            candidate = (chance, -gain, split)
            best[row, interval] = min(best.get((row, interval), candidate), candidate)
        for (row, interval), (chance, _, split) in best.items():
            start = int(starts[interval])
            yield row, _Split(length, chance, start, start + split + 1)


def _cumulative(part: Values) -> Values:
    return np.concatenate([np.zeros((len(part), 1)), np.cumsum(part, axis=1)], axis=1)


def _level(sums: Sequence[Values], runs: NDArray[np.int_]) -> tuple[Values, Values, Values]:
    """Mean over runs and its bounds, by MOVER; negative rests of cumulative sums count as zero."""
    mean = sums[0] / runs
    low, high = (np.sqrt(np.maximum(part, 0)) / runs for part in sums[1:3])
    return mean, mean - low, mean + high


def _narrowest(splits: Sequence[_Split]) -> list[int]:
    """Take splits from the narrowest interval on; skip intervals that contain a change already."""
    taken: list[int] = []
    for split in sorted(splits, key=lambda split: (split.length, split.p, split.start)):
        if not any(split.start < at < split.start + split.length for at in taken):
            taken.append(split.at)
    return sorted(taken)


def _placed(value: Values, at: list[int]) -> list[int]:
    """Move each change to where the runs around it, up to its neighbours, split best (least squares)."""
    placed = list(at)
    for index in range(len(at)):
        start = placed[index - 1] if index else 0
        end = at[index + 1] if index + 1 < len(at) else len(value)
        runs = np.arange(1, end - start)
        sums = np.cumsum(value[start:end] - value[start:end].mean())
        size = np.abs(sums[:-1]) * np.sqrt((end - start) / (runs * (end - start - runs)))
        placed[index] = start + 1 + int(np.argmax(size))
    return placed


def _describe(series: Series, scaled: _Scaled, at: Sequence[int]) -> tuple[LevelChange, ...]:
    levels = []
    for start, end in pairwise([0, *at, len(scaled.value)]):
        value, low, high = (part[start:end] for part in (scaled.value, scaled.low, scaled.high))
        mean = float(value.mean())
        below, above = (math.hypot(*part) / (end - start) for part in (value - low, high - value))
        levels.append(Interval(mean, mean - below, mean + above, end - start))
    changes = []
    for place, (before, after) in zip(at, pairwise(levels), strict=True):
        sides = [[np.array([part]) for part in (side.value, side.low, side.high)] for side in (before, after)]
        value, low, high = independent(*sides, ratio=False)
        change = Interval(float(value[0]), float(low[0]), float(high[0]), before.n + after.n)
        parts = (before, after, change)
        changes.append(LevelChange(place, *(_back(part, ratio=series.ratio) for part in parts)))
    return tuple(changes)


def _back(scaled: Interval, *, ratio: bool) -> Interval:
    """Convert from the scale of the comparison to that of the series."""
    if not ratio:
        return scaled
    return Interval(math.exp(scaled.value), math.exp(scaled.low), math.exp(scaled.high), scaled.n)
