"""Which of many changes are significant: Holm's step-down procedure.

Among hundreds of rows that did not change, two-sided 5 % calls some "worse" in every comparison. S. Holm, "A
simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979), section 4
with weights: the smallest ``p / w`` is compared with ``alpha / Σ w``, the next with alpha over the sum of the
weights that are left, and so on to the first that is larger. Whatever the dependence, the probability of any
false positive is at most alpha.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtr, stdtrit

from harness.stats.intervals import z_value

Floats = NDArray[np.float64]
#: Of a whole comparison: of 100 comparisons of equal runs at most one calls any row worse.
ALPHA = 0.01
#: Level of one interval, on each side.
INTERVAL_ALPHA = 0.05


def holm(p: Floats, weights: Floats | None = None, *, alpha: float = ALPHA) -> NDArray[np.bool_]:
    """Return which rows are significant, corrected for all of them.

    Parameters
    ----------
    p : ndarray, shape (rows,)
        One-sided; NaN where a row is no candidate and is not counted.
    weights : ndarray, shape (rows,), optional
        Above zero, and fixed before the data are seen; equal by default.
    alpha : float
        For all rows together.

    Returns
    -------
    ndarray, shape (rows,)
        False where `p` is NaN.
    """
    significant = np.zeros(len(p), np.bool_)
    rows = np.flatnonzero(np.isfinite(p))
    weight = np.ones(len(rows)) if weights is None else weights[rows]
    order = np.argsort(p[rows] / weight, kind="stable")
    rows, weight = rows[order], weight[order]
    passes = p[rows] * np.cumsum(weight[::-1])[::-1] <= alpha * weight
    significant[rows[: len(rows) if passes.all() else int(np.argmin(passes))]] = True
    return significant


def one_sided_p(change: Floats, low: Floats, high: Floats, df: Floats, interval_df: float) -> Floats:
    """One-sided p-value of a change, from its interval at one-sided 5 %.

    Parameters
    ----------
    change, low, high : ndarray, shape (rows,)
        On a scale on which intervals are symmetric and no change is 0: logarithms of ratios.
    df : ndarray, shape (rows,)
        Degrees of freedom of the standard error; infinitely many for a normal distribution.
    interval_df : float
        Those by whose quantile the bounds are away, of rows with finite `df`.
    """
    towards = np.where(change > 0, change - low, high - change)
    student = np.isfinite(df)
    quantile = np.where(student, stdtrit(interval_df, 1 - INTERVAL_ALPHA), z_value(INTERVAL_ALPHA))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = quantile * np.abs(change) / towards
    return np.where(student, stdtr(np.where(student, df, 1.0), -t), ndtr(-t))
