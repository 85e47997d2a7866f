"""Trends of readings that one process after the other took during a long case.

A trend is Theil and Sen's slope (`harness.stats.theil_sen`) with its interval. Neighbouring readings are
alike (what else the machine does lasts), so that fewer are independent than there are: the interval is
widened by sqrt((1 + r) / (1 - r)), r the correlation of neighbouring residuals (K. H. Hamed and A. R. Rao,
"A modified Mann-Kendall trend test for autocorrelated data", Journal of Hydrology 204 (1998), for a
dependence of first order).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.stats import theil_sen
from harness.stats.intervals import Interval, clopper_pearson

Values = NDArray[np.float64]

#: Longer series are divided into so many blocks, of which the medians count.
MOST_POINTS = 200
#: Fewer readings show no trend.
LEAST_POINTS = 8
#: What an allocator may take once, by chance: so much, or so much of the process's memory.
ARENA_BYTE, ARENA_SHARE = 2_000_000, 0.01
#: Readings that are left out as a warm-up, as a share; and a growth has to be seen in every part of the rest,
#: of so many that overlap by half.
WARM_UP_SHARE, PARTS = 0.2, 3
#: Fewer in each half of the readings are no growth.
LEAST_COUNT = 2
#: Slices are put into so many groups of neighbours, in which stalls have to occur.
GROUPS, LEAST_STALLS = 5, 3
#: Slices whose mean is one value for a search of level changes, and the fewest such values.
SLICES_OF_LEVEL, LEAST_LEVELS = 5, 6


@dataclass(frozen=True, slots=True)
class LevelChange:
    """From the slice ``at`` on the level is another."""

    at: int
    before: float
    after: float


def finite(x: Values, y: Values) -> tuple[Values, Values]:
    """The points that have both numbers, at most `MOST_POINTS` medians of blocks of them."""
    there = np.isfinite(x) & np.isfinite(y)
    x, y = x[there], y[there]
    if x.size <= MOST_POINTS:
        return x, y
    medians = [[np.median(part) for part in np.array_split(values, MOST_POINTS)] for values in (x, y)]
    return np.array(medians[0]), np.array(medians[1])


def trend(series: Sequence[tuple[Values, Values]], *, alpha: float = 0.05) -> Interval:
    """Return the slope that the series share, each with a level of its own.

    Parameters
    ----------
    series : sequence of (x, y)
        One for each process, in order of x; NaN where a reading is missing.

    Returns
    -------
    Interval
        In y per x; NaN, from minus to plus infinity, with fewer than `LEAST_POINTS` points.
    """
    most = max(1, MOST_POINTS // max(1, len(series)))
    parts = [finite(x, y) for x, y in series]
    parts = [(x[:: -(-x.size // most)], y[:: -(-x.size // most)]) for x, y in parts if x.size]
    points = sum(x.size for x, _ in parts)
    if points < LEAST_POINTS:
        return Interval(math.nan, -math.inf, math.inf, points)
    slope = theil_sen.slope(parts, alpha=alpha)
    widen = _dependence(parts, slope.value)
    low, high = (
        slope.value - widen * (slope.value - slope.low),
        slope.value + widen * (slope.high - slope.value),
    )
    return Interval(slope.value, low, high, points)


def _dependence(parts: Sequence[tuple[Values, Values]], slope: float) -> float:
    products = squares = 0.0
    for x, y in parts:
        rest = y - slope * x
        rest = rest - np.median(rest)
        products, squares = products + float(rest[1:] @ rest[:-1]), squares + float(rest @ rest)
    r = min(0.95, max(0.0, products / squares)) if squares > 0 else 0.0
    return math.sqrt((1 + r) / (1 - r))


def growth(series: Sequence[tuple[Values, Values]], *, alpha: float = 0.05) -> tuple[Interval, float]:
    """Return by how much of itself a time grows over its series, and at least.

    Parameters
    ----------
    series : sequence of (x, y)
        y above zero.

    Returns
    -------
    Interval
        1 is twice as much at the end of the longest series; n counts points.
    float
        The lower bound; NaN without a trend.
    """
    logs = [(x, np.log(y)) for x, y in series]
    of_logs = trend(logs, alpha=alpha)
    span = max((float(np.ptp(x)) for x, _ in series if x.size), default=0.0)
    numbers = [math.expm1(min(700.0, span * part)) for part in (of_logs.value, of_logs.low, of_logs.high)]
    if not math.isfinite(of_logs.value):
        return of_logs, math.nan
    return Interval(numbers[0], numbers[1], numbers[2], of_logs.n), numbers[1]


def proved_byte(calls: Values, memory_byte: Values, by_calls_byte: Values) -> float:
    """Bytes that each call leaves behind at least: steadily, and beyond what an allocator takes once.

    Parameters
    ----------
    calls : ndarray, shape (n,)
        Before each reading, of one process.
    memory_byte : ndarray, shape (n,)
        Of the process.
    by_calls_byte : ndarray, shape (n,)
        By how much it grew during calls so far. Both have to grow: memory that a closed session gave back to
        the system, and the next calls take again, is no leak.

    Returns
    -------
    float
        Below zero where nothing is proved; NaN with too few readings.
    """
    first = math.ceil(WARM_UP_SHARE * calls.size)
    bounds = []
    for memory in (memory_byte, by_calls_byte):
        x, y = finite(calls[first:], memory[first:])
        if x.size < LEAST_POINTS or not np.ptp(x):
            return math.nan
        bounds.append(theil_sen.steady_slope(x, y, PARTS) - by_chance_byte(calls, memory_byte))
    return min(bounds)


def by_chance_byte(calls: Values, memory_byte: Values) -> float:
    """Bytes a call that an allocator may take once, by chance: what leaves less behind is not proved.

    Parameters
    ----------
    calls, memory_byte : ndarray, shape (n,)
        As for `proved_byte`; at least one reading of the memory.
    """
    arena_byte = max(ARENA_BYTE, ARENA_SHARE * float(memory_byte[np.isfinite(memory_byte)][-1]))
    counted = calls[math.ceil(WARM_UP_SHARE * calls.size) :]
    return arena_byte / max(1.0, float(np.ptp(counted)))


def proved_count(more: Values, units: Values) -> float:
    """How many more there are for each unit, in each half of the readings; 0 where one half has no growth.

    Parameters
    ----------
    more : ndarray, shape (n,)
        By which a count grew; NaN where it is not known.
    units : ndarray, shape (n,)
        Calls, or sessions, meanwhile.
    """
    there = np.isfinite(more)
    more, units = more[there], units[there]
    half = more.size // 2
    sums = [(float(more[part].sum()), float(units[part].sum())) for part in (slice(half), slice(half, None))]
    if any(count < LEAST_COUNT or not unit for count, unit in sums):
        return 0.0
    return min(count / unit for count, unit in sums)


def proved_stalls(unexplained: Values, calls: Values, *, alpha: float = 0.05) -> float:
    """Lower bound of the share of calls that stall, without the group of slices that has most of them.

    0 where they are few, or in less than half of the groups: a disturbed minute proves nothing.
    """
    groups = [
        (int(unexplained[part].sum()), int(calls[part].sum()))
        for part in np.array_split(np.arange(calls.size), GROUPS)
        if part.size
    ]
    others = sorted(groups)[:-1]
    proof = sum(count for count, _ in others)
    if proof < LEAST_STALLS or 2 * sum(count > 0 for count, _ in groups) < len(groups):
        return 0.0
    return clopper_pearson(proof, sum(size for _, size in others), alpha=alpha).low


def level_changes(values: Values) -> list[LevelChange]:
    """Find the slices at which the level of a time changed, one false alarm in twenty series at most."""
    whole = values.size // SLICES_OF_LEVEL
    if whole < LEAST_LEVELS or not np.isfinite(values).all():
        return []
    from harness.stats import changes  # imports scipy.stats, which takes long

    blocks = values[: whole * SLICES_OF_LEVEL].reshape(whole, SLICES_OF_LEVEL)
    # Student's quantile for five values, at one-sided 5 %.
    half = 2.132 * blocks.std(axis=1, ddof=1) / math.sqrt(SLICES_OF_LEVEL)
    mean = blocks.mean(axis=1)
    half = np.maximum(half, 1e-9 * np.abs(mean).max())
    steps = changes.find([changes.Series(mean, mean - half, mean + half)])[0]
    return [LevelChange(one.at * SLICES_OF_LEVEL, one.before.value, one.after.value) for one in steps]
