"""What a variant loses under shift, against what its reference loses under the same shift.

All numbers are paired: the samples are the same under every shift and for both sides, and intervals resample
samples, each with all of its cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from harness.stats.intervals import Interval
from harness.stats.resampling import bca, least_width, resampled_means
from harness.stats.worst import ALPHA, Worst, worst_of

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Errors:
    """The errors of each sample under one family of shifts, as the mean over its severities.

    Parameters
    ----------
    candidate, reference : ndarray, shape (n,)
        At least zero: 0 or 1 for a wrong class, an absolute error of a regression.
    """

    candidate: Floats
    reference: Floats


@dataclass(frozen=True, slots=True)
class CorruptionErrors:
    """CE of each family, None where the reference makes no error there, and mCE over the others."""

    families: tuple[Interval | None, ...]
    mean: Interval | None


def corruption_errors(
    families: Sequence[Errors], units: npt.NDArray[np.int64] | None = None, *, reach: float | None = 1.0
) -> CorruptionErrors:
    """Return the corruption error of each family, and their mean.

    ``CE = sum of errors of the candidate / sum of errors of the reference`` over severities and samples:
    D. Hendrycks and T. Dietterich, "Benchmarking neural network robustness to common corruptions and
    perturbations", ICLR 2019, section 4. There the reference is AlexNet, here the float model on the host.

    Parameters
    ----------
    families : sequence of Errors
        Of the same samples.
    units : ndarray, shape (n,), int64, optional
        Sequence of each sample; None: samples are independent.
    reach : float, optional
        The largest error of a sample, where there is one: intervals then allow for a kind of sample that none
        of n was.
    """
    columns = _by_unit(
        np.stack([side for one in families for side in (one.candidate, one.reference)], 1), units
    )
    n, count = len(columns), len(families[0].candidate)
    sums, draws = columns.mean(axis=0), resampled_means(columns)
    defined = [place for place in range(len(families)) if sums[2 * place + 1] > 0]
    made: list[Interval | None] = [None] * len(families)
    ratios, influences, floors = [], [], []
    for place in defined:
        error, base = 2 * place, 2 * place + 1
        value = float(sums[error] / sums[base])
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = draws[:, error] / draws[:, base]
        ratio = np.where(np.isnan(ratio), 1.0, ratio)  # neither side errs in such a resample
        influence = (columns[:, error] - value * columns[:, base]) / sums[base]
        floor = 0.0 if reach is None else reach * least_width(n) / (sums[base] * n / count)
        made[place] = _widened(value, bca(ratio, value, influence), floor, count)
        ratios.append(ratio)
        influences.append(influence)
        floors.append(floor)
    if not defined:
        return CorruptionErrors(tuple(made), None)
    values = [one.value for one in made if one is not None]
    mean = float(np.mean(values))
    bounds = bca(np.mean(ratios, axis=0), mean, np.mean(influences, axis=0))
    return CorruptionErrors(tuple(made), _widened(mean, bounds, float(np.mean(floors)), count))


def mean_intervals(
    columns: Floats, units: npt.NDArray[np.int64] | None = None, *, reach: float | None = None
) -> list[Interval]:
    """Return the mean of each column, with the interval of BCa over the same resamples.

    Parameters
    ----------
    columns : ndarray, shape (n, k)
    units : ndarray, shape (n,), int64, optional
        Sequence of each sample.
    reach : float, optional
        The largest absolute value that a sample can have.
    """
    count = len(columns)
    whole = columns.mean(axis=0)
    # To first order: W. G. Cochran, "Sampling techniques" (1977), section 6.3.
    around = _by_unit(columns - whole, units)
    draws = resampled_means(around) * len(around) / count
    floor = 0.0 if reach is None else reach * least_width(len(around))
    return [
        _widened(
            value, bca(draws[:, place] + value, value, around[:, place]), floor, count, lowest=-math.inf
        )
        for place, value in enumerate(map(float, whole))
    ]  # fmt: skip


def worst_mean(columns: Floats, units: npt.NDArray[np.int64] | None = None, *, reach: float) -> Worst:
    """Return the largest of the columns' means, with an interval for all together (`harness.stats.worst`).

    Parameters
    ----------
    columns : ndarray, shape (n, k)
        The loss of each sample under each family.
    units : ndarray, shape (n,), int64, optional
    reach : float
        The largest loss of a sample.
    """
    alone = mean_intervals(columns, units, reach=reach)
    around = _by_unit(columns - columns.mean(axis=0), units)
    n = len(around)
    spread = around.std(axis=0, ddof=1) * math.sqrt(n) / len(columns) if n > 1 else np.inf + columns[0]

    def interval(place: int, alpha: float) -> Interval:
        one = alone[place]
        if alpha == ALPHA:
            return one
        # The bootstrap has too few resamples for the small alpha of many means: Student's t.
        half = float(stdtrit(max(1, n - 1), 1 - alpha) * spread[place])
        return Interval(one.value, one.value - half, one.value + half, one.n)

    return worst_of(interval, columns.shape[1], lower_is_better=True)


def _by_unit(columns: Floats, units: npt.NDArray[np.int64] | None) -> Floats:
    """Sum the rows of each sequence."""
    if units is None:
        return columns
    _, index = np.unique(units[: len(columns)], return_inverse=True)
    return np.stack([np.bincount(index.reshape(-1), weights=column) for column in columns.T], axis=1)


def _widened(
    value: float, bounds: tuple[float, float], floor: float, n: int, *, lowest: float = 0.0
) -> Interval:
    low, high = bounds
    return Interval(value, max(lowest, min(low, value - floor)), max(high, value + floor), n)
