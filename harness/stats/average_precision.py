"""Average precision from matches, for any weights of the images; and the paired bound on what mAP lost.

A bootstrap over images evaluates hundreds of resampled sets. Their matches are those of the whole set: only
the accumulation differs, and one pass over the true positives of all classes and thresholds makes it. Copies
of an image count at once; where detections have equal scores, a set of copies may be read in another order.
Source: the function ``accumulate`` of pycocotools 2.0.11.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.stats.box_matches import THRESHOLDS, Matches
from harness.stats.intervals import Interval, z_value

#: Recall at which the precision is read.
RECALLS = np.linspace(0.0, 1.0, 101)
#: Resampled sets.
RESAMPLES = 500  # the 5 % quantile of so many has a standard error of 1 % in probability
_SEED = 20240229  # fixed, so that a run that is judged twice gives the same bytes


@dataclass(frozen=True, slots=True)
class Bound:
    """What a quantity is, or lost, with a bootstrap interval over images.

    Parameters
    ----------
    overall, at_50 : Interval
        mAP over all thresholds, and at an intersection over union of 0.5.
    by_class : tuple of Interval
        The first for each class alone; NaN where there are no objects.
    """

    overall: Interval
    at_50: Interval
    by_class: tuple[Interval, ...]


class Accumulator:
    """Average precision of the same matches, image by image weighted.

    Parameters
    ----------
    matches : Matches
    """

    def __init__(self, matches: Matches) -> None:
        self._matches = matches
        self._levels = len(THRESHOLDS)
        level, position = np.nonzero(matches.right)
        self._image = matches.image[position]
        self._level, self._position = level, position
        # A curve is a class at a threshold.
        self._curve = level * matches.classes + matches.class_[position]
        self._curves = self._levels * matches.classes
        self._first = np.searchsorted(self._curve, np.arange(self._curves + 1))
        self._start = np.searchsorted(matches.class_, np.arange(matches.classes))
        self._counts_all = not matches.ignored.any()

    def precision(self, weights: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Return average precision, shape (thresholds, classes); NaN of classes without objects.

        Parameters
        ----------
        weights : ndarray, shape (images,), int64, optional
            How often each image is in the set; default: once.
        """
        matches = self._matches
        times = np.ones(matches.images, np.int64) if weights is None else weights
        objects = times @ matches.objects
        result = np.full((self._levels, matches.classes), np.nan)
        present = objects > 0
        result[:, present] = 0.0
        if not len(self._curve):
            return result
        hits = _within(np.cumsum(times[self._image]), self._first[:-1], self._curve)
        precision = hits / (self._shown(times) + np.spacing(1))
        # The highest precision from here to the end of the curve: earlier curves are lifted above later ones.
        lift = 2.0 * (self._curves - self._curve)
        best = np.maximum.accumulate((precision + lift)[::-1])[::-1] - lift
        needed = _least_hits(objects)
        reach = int(hits.max()) + int(needed.max()) + 1
        keys = hits + self._curve * reach
        curves = np.arange(self._curves).reshape(self._levels, -1)
        wanted = needed[None] + curves[:, :, None] * reach
        at = np.searchsorted(keys, wanted, "left")
        inside = at < self._first[curves + 1][:, :, None]
        read = np.where(inside, best[np.minimum(at, len(best) - 1)], 0.0)
        result[:, present] = read.mean(axis=2)[:, present]
        return result

    def _shown(self, times: NDArray[np.int64]) -> NDArray[np.float64]:
        """Detections down to each true positive that count, each as often as its image."""
        matches = self._matches
        of_class = self._curve % matches.classes
        if self._counts_all:
            total = np.cumsum(times[matches.image])
            return _within(total, self._start, of_class, self._position)
        shown = np.empty(len(self._curve))
        for level in range(self._levels):
            rows = self._level == level
            total = np.cumsum(np.where(matches.ignored[level], 0, times[matches.image]))
            shown[rows] = _within(total, self._start, of_class[rows], self._position[rows])
        return shown


def _within(
    total: NDArray[np.int64],
    starts: NDArray[np.int64],
    segment: NDArray[np.int64],
    position: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Turn running sums over all segments into those within each."""
    before = np.where(starts > 0, total[np.minimum(starts, len(total)) - 1], 0)
    at = total if position is None else total[position]
    sums: NDArray[np.float64] = (at - before[segment]).astype(np.float64)
    return sums


def _least_hits(objects: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the least hits whose recall, as a float, is each of `RECALLS`, shape (classes, recalls)."""
    total = np.maximum(objects, 1)[:, None].astype(np.float64)
    least = np.ceil(RECALLS * total)
    for _ in range(2):
        least = np.where((least > 0) & ((least - 1) / total >= RECALLS), least - 1, least)
    least = np.where(least / total < RECALLS, least + 1, least)
    whole: NDArray[np.int64] = least.astype(np.int64)
    return whole


@dataclass(frozen=True, slots=True)
class Draws:
    """Figures of a set of images and of sets that were drawn from it: the same images for all detections.

    Parameters
    ----------
    images : int
    values : ndarray, shape (1 + resamples, 2 + classes), float64
        `figures` of the whole set first.
    """

    images: int
    values: NDArray[np.float64]


def resampled(matches: Matches) -> Draws:
    """Evaluate the set and `RESAMPLES` sets of as many images that are drawn from it.

    Raises
    ------
    DataError
        There are no objects.
    """
    if not matches.objects.any():
        raise DataError(
            "there are no labelled objects, so that no precision is defined",
            next_step="use images with objects, or leave out the metrics that need labels",
        )
    accumulator, n = Accumulator(matches), matches.images
    rng = np.random.Generator(np.random.PCG64(_SEED))
    values = np.empty((1 + RESAMPLES, 2 + matches.classes))
    values[0] = figures(accumulator.precision())
    for row in values[1:]:
        row[:] = figures(accumulator.precision(np.bincount(rng.integers(0, n, n), minlength=n)))
    return Draws(n, values)


def bound(draws: Draws, reference: Draws | None = None, *, alpha: float = 0.05) -> Bound:
    """Return mAP, or what it lost against a reference on the same images, with an interval over images.

    As in `harness.stats.intervals.clustered_mean`, the interval reaches at least ``z²/(n + z²)`` to either
    side: a bootstrap cannot draw what was not seen.

    Source: B. Efron and R. Tibshirani, "An introduction to the bootstrap" (1993), section 13.3, the
    percentile interval.

    Parameters
    ----------
    reference : Draws, optional
        Then values are losses: those of the reference minus those of `draws`.
    """
    values = draws.values if reference is None else reference.values - draws.values
    z2 = z_value(alpha) ** 2
    least, lowest = z2 / (draws.images + z2), 0.0 if reference is None else -1.0
    intervals = [_interval(column[0], column[1:], alpha, least, lowest, draws.images) for column in values.T]
    return Bound(intervals[0], intervals[1], tuple(intervals[2:]))


def figures(precision: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return mAP, mAP at 0.5, and average precision by class, from `Accumulator.precision`."""
    with_objects = ~np.isnan(precision[0])
    whole = precision[:, with_objects]
    if not whole.size:
        return np.full(2 + precision.shape[1], np.nan)
    of_all: NDArray[np.float64] = np.r_[whole.mean(), whole[0].mean(), precision.mean(axis=0)]
    return of_all


def _interval(
    value: float, drawn: NDArray[np.float64], alpha: float, least: float, lowest: float, n: int
) -> Interval:
    if np.isnan(value):
        return Interval(value, lowest, 1.0, 0)
    low, high = (float(bound) for bound in np.nanquantile(drawn, [alpha, 1 - alpha]))
    return Interval(float(value), max(lowest, min(low, value - least)), min(1.0, max(high, value + least)), n)
