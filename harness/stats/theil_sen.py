"""The slope of a series by Theil and Sen: a median of slopes, which a few outliers do not move.

Sources: H. Theil, "A rank-invariant method of linear and polynomial regression analysis", Proceedings of the
KNAW 53 (1950); P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 63 (1968),
eq. 2.6 for the interval; R. M. Hirsch, J. R. Slack and R. A. Smith, "Techniques of trend analysis for monthly
water quality data", Water Resources Research 18 (1982), for several series with one slope.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import UsageError
from harness.stats.intervals import Interval, z_value

Values = NDArray[np.float64]

#: Pairs grow with the square of the points: 500 points have 124,750.
MOST_POINTS = 500


def slope(series: Sequence[tuple[Values, Values]], *, alpha: float = 0.05) -> Interval:
    """Return the slope that several series of points share, each with a level of its own.

    The interval takes the points as independent. A series that changes in a few steps is not: use
    `steady_slope` where a single step must not count as a trend.

    Parameters
    ----------
    series : sequence of (x, y)
        One-dimensional arrays of equal length, at most `MOST_POINTS`; pairs with equal x are left out.

    Returns
    -------
    Interval
        In y per x; its n counts points. NaN, without bounds, where no two points differ in x.
    """
    z = z_value(alpha)
    slopes: list[Values] = []
    variance, points = 0.0, 0
    for x, y in series:
        if x.size != y.size or x.size > MOST_POINTS:
            raise UsageError(f"a series has {x.size} x and {y.size} y; at most {MOST_POINTS} points are used")
        one, other = np.triu_indices(x.size, 1)
        run, rise = x[other] - x[one], y[other] - y[one]
        slopes.append(rise[run != 0] / run[run != 0])
        variance += (_moment(np.array([x.size])) - _ties(x) - _ties(y)) / 18
        points += x.size
    joined = np.sort(np.concatenate(slopes)) if slopes else np.empty(0)
    if not joined.size:
        return Interval(math.nan, -math.inf, math.inf, points)
    half = z * math.sqrt(max(0.0, variance))
    low = max(0, round((joined.size - half) / 2) - 1)
    high = min(joined.size - 1, round((joined.size + half) / 2))
    value = float(np.median(joined))
    return Interval(value, min(value, float(joined[low])), max(value, float(joined[high])), points)


def steady_slope(x: Values, y: Values, parts: int, *, alpha: float = 0.05) -> float:
    """Return a slope that every part of a series reaches: a lower bound that a few steps do not raise.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        In order of x.
    parts : int
        The series is divided into so many parts of consecutive points, which overlap by half.

    Returns
    -------
    float
        The least of the lower bounds of the whole and of the slopes of the parts; NaN with fewer than two
        points in a part.
    """
    length = 2 * x.size // (parts + 1)
    if length < 2:
        return math.nan
    starts = np.linspace(0, x.size - length, parts).round().astype(int)
    pieces = [slope([(x[start : start + length], y[start : start + length])]).value for start in starts]
    return min(slope([(x, y)], alpha=alpha).low, *pieces)


def block_quantiles(values: NDArray[np.int64], blocks: int, share: float) -> tuple[Values, Values]:
    """Divide a long series into blocks; returns the middle of each, and a quantile of its values.

    Parameters
    ----------
    values : ndarray, shape (n,)
        At least one.
    blocks : int
        At most so many, and no more than there are values.
    share : float
        Of the values of a block that lie below the quantile.
    """
    pieces = np.array_split(values, max(1, min(blocks, values.size)))
    ends = np.cumsum([piece.size for piece in pieces])
    middles = ends - np.array([piece.size for piece in pieces]) / 2
    return middles, np.array([np.quantile(piece, share) for piece in pieces], np.float64)


def _moment(counts: NDArray[np.int64]) -> float:
    n = counts.astype(np.float64)
    return float((n * (n - 1) * (2 * n + 5)).sum())


def _ties(values: Values) -> float:
    """What equal values take from the variance of Kendall's statistic."""
    return _moment(np.unique(values, return_counts=True)[1])
