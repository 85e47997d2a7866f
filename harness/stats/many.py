"""Which of many changes are significant: Holm's step-down procedure.

Among ten families of shifts that did not change, two sided 5 % calls one "worse" in every third comparison.
S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6
(1979): the smallest p of m is compared with alpha / m, the next with alpha / (m - 1), and so on to the first
that is larger. Whatever the dependence, the probability of any false positive is at most alpha.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from harness.stats.intervals import z_value

Floats = NDArray[np.float64]
ALPHA = 0.05


def holm(p: Floats, groups: NDArray[Any], *, alpha: float = ALPHA) -> NDArray[np.bool_]:
    """Return which rows are significant, each group corrected for its number of rows.

    Parameters
    ----------
    p : ndarray, shape (rows,)
        One-sided; NaN where a row is no candidate and is not counted.
    groups : ndarray, shape (rows,), int
    alpha : float
        For a whole group.

    Returns
    -------
    ndarray, shape (rows,)
        False where `p` is NaN.
    """
    significant = np.zeros(len(p), np.bool_)
    order = np.lexsort((p, groups))  # NaN last in each group
    for rows in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        candidates = rows[np.isfinite(p[rows])]
        passes = p[candidates] <= alpha / (len(candidates) - np.arange(len(candidates)))
        significant[candidates[: len(candidates) if passes.all() else int(np.argmin(passes))]] = True
    return significant


def one_sided_p(change: Floats, low: Floats, high: Floats) -> Floats:
    """One-sided p-value of a change, from its interval at one-sided 5 %: normal theory.

    Parameters
    ----------
    change, low, high : ndarray, shape (rows,)
        On a scale on which intervals are symmetric and no change is 0: logarithms of ratios.
    """
    towards = np.where(change > 0, change - low, high - change)
    with np.errstate(divide="ignore", invalid="ignore"):
        return upper_tail(z_value(ALPHA) * np.abs(change) / towards)


def upper_tail(z: Floats) -> Floats:
    """Probability that a standard normal variable lies above `z`."""
    tail: Floats = ndtr(-z)
    return tail
