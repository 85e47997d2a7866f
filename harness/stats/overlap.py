"""Overlap of masks from one confusion matrix a sample: IoU, pixel accuracy, and bounds over samples.

A mean IoU is no mean over samples. Its interval is a bootstrap that draws whole samples: one product of drawn
counts and matrices evaluates all drawn sets. Losses draw the same samples on both sides.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.confusion import iou
from harness.stats.intervals import Interval, z_value

Floats = NDArray[np.float64]
#: Sets that are drawn.
RESAMPLES = 1_000
_SEED = 20240301  # fixed, so that a run that is judged twice gives the same bytes


def iou_of(label: int) -> Callable[[NDArray[Any]], Floats]:
    """Return the statistic `iou` of one class."""

    def of_class(confusion: NDArray[Any]) -> Floats:
        return iou(confusion)[..., label]

    return of_class


@dataclass(frozen=True, slots=True)
class Drawn:
    """Confusion matrices of the whole set, and of sets that were drawn from its samples.

    Parameters
    ----------
    samples : int
    totals : ndarray, shape (1 + resamples, classes, classes + 1), float64
        That of the whole set first.
    """

    samples: int
    totals: Floats


def drawn(matrices: NDArray[np.int64]) -> Drawn:
    """Draw sets of as many samples; the same ones for every set of matrices of that length."""
    n = len(matrices)
    rng = np.random.Generator(np.random.PCG64(_SEED))
    counts = np.ones((1 + RESAMPLES, n))
    for row in counts[1:]:
        row[:] = np.bincount(rng.integers(0, n, n), minlength=n)
    totals = counts @ matrices.reshape(n, -1).astype(np.float64)
    return Drawn(n, totals.reshape(-1, *matrices.shape[1:]))


def bound(
    statistic: Callable[[NDArray[Any]], Floats],
    sets: Drawn,
    reference: Drawn | None = None,
    *,
    alpha: float = 0.05,
) -> Interval:
    """Return a statistic of confusion matrices, or what it lost against a reference, with an interval.

    As in `harness.stats.intervals.clustered_mean`, the interval reaches at least ``z²/(n + z²)`` to either
    side: a bootstrap cannot draw what was not seen.

    Source: B. Efron and R. Tibshirani, "An introduction to the bootstrap" (1993), section 13.3, the
    percentile interval.

    Parameters
    ----------
    statistic : callable
        Matrices, shape (…, classes, classes + 1), to numbers in 0 to 1, shape (…,).
    reference : Drawn, optional
        Then the value is a loss: that of the reference minus that of `sets`.
    """
    values = statistic(sets.totals)
    lowest = 0.0
    if reference is not None:
        values, lowest = statistic(reference.totals) - values, -1.0
    value, others = float(values[0]), values[1:][~np.isnan(values[1:])]
    if math.isnan(value) or not others.size:
        return Interval(value, lowest, 1.0, sets.samples)
    z2 = z_value(alpha) ** 2
    least = z2 / (sets.samples + z2)
    low, high = (float(limit) for limit in np.quantile(others, [alpha, 1 - alpha]))
    return Interval(
        value, max(lowest, min(low, value - least)), min(1.0, max(high, value + least)), sets.samples
    )


def linear_values(matrices: NDArray[np.int64]) -> Floats:
    """Return one value a sample whose mean is `mean_iou` of all, to first order (see `harness.stats.linear`).

    The IoU of a class is a ratio of sums: values of W. Cochran, "Sampling techniques" (1977), section 6.3.
    """
    both = np.diagonal(matrices, axis1=-2, axis2=-1).astype(np.float64)
    union = matrices.sum(axis=-1) + matrices[..., :-1].sum(axis=-2) - both
    has = union.sum(axis=0) > 0
    both, union = both[:, has], union[:, has]
    share = both.sum(axis=0) / union.sum(axis=0)
    values: Floats = (share + (both - share * union) / union.mean(axis=0)).mean(axis=1)
    return values
