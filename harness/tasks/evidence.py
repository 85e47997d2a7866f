"""Bounds of a mean score, beside what does not look at the samples."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from harness.core.task import Task
from harness.stats import paired
from harness.stats.intervals import Interval


def by_gain(
    task: Task,
    scores: NDArray[np.float64],
    by_chance: NDArray[np.float64],
    *,
    alpha: float,
    wider: float = 1.0,
) -> tuple[Interval, float]:
    """Return the mean score with the bounds of its gain over chance, and chance.

    Of errors, the share of the error of the best constant answer that the model removes, and 0.

    Parameters
    ----------
    scores, by_chance : ndarray, shape (n,)
    alpha : float
        One-sided error of the bounds.
    wider : float
        Factor of the bounds where the scores of samples are not independent.
    """
    chance, n = float(by_chance.mean()), len(scores)
    if task.is_share:
        gain = paired.paired_mean_difference(by_chance, scores, alpha=alpha, reach=1.0)
        value = float(scores.mean())
        low = max(0.0, value - wider * (gain.value - gain.low))
        return Interval(value, low, min(1.0, value + wider * (gain.high - gain.value)), n), chance
    scale = -chance
    if not scale or not np.isfinite(scores).all():
        return Interval(-math.inf, -math.inf, -math.inf, n), 0.0
    return paired.paired_mean_difference(by_chance / scale, scores / scale, alpha=alpha), 0.0
