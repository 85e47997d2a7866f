"""Whether a model is as sure as it is right: bins of confidence, ECE, NLL and Brier score."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.stats.intervals import Interval, z_value
from harness.stats.resampling import resampled_means

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

BINS = 15
#: A probability below it counts as it: one of 0, which a quantized softmax gives, would make NLL infinite.
LEAST_PROBABILITY = 1e-7


@dataclass(frozen=True, slots=True)
class Bin:
    """One bar of a reliability diagram.

    Parameters
    ----------
    low, high : float
        The confidences that it takes: above `low`, up to `high`.
    count : int
        Samples.
    confidence, accuracy : float
        Means over its samples.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def by_width(confidence: Floats, bins: int = BINS) -> Indices:
    """Return the bin of each sample, of equal widths ((m-1)/M, m/M]; shape (n,), int64."""
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


def by_mass(confidence: Floats, bins: int = BINS) -> Indices:
    """Return the bin of each sample, of equal numbers of samples; equal confidences share a bin.

    J. Nixon et al., "Measuring calibration in deep learning", CVPR workshops 2019: with equal widths nearly
    all samples of a good model fall into the last bin.
    """
    if not len(confidence):
        return np.zeros(0, np.int64)
    last = np.ceil(np.arange(1, bins) * len(confidence) / bins).astype(np.int64) - 1
    edges = np.unique(np.sort(confidence)[last])
    return np.searchsorted(edges, confidence, side="left").astype(np.int64)


def error(bins: Indices, confidence: Floats, right: npt.NDArray[np.bool_]) -> float:
    """Return the expected calibration error: sum over bins of (size / n) |accuracy - mean confidence|.

    C. Guo, G. Pleiss, Y. Sun and K. Weinberger, "On calibration of modern neural networks", ICML 2017, eq. 3.
    NaN of no samples.
    """
    if right.size == 0:
        return math.nan
    gaps = np.bincount(bins, weights=right - confidence)
    return float(np.abs(gaps).sum() / right.size)


def reliability(confidence: Floats, right: npt.NDArray[np.bool_], bins: int = BINS) -> list[Bin]:
    """Return the bars of a reliability diagram with bins of equal widths, without empty ones.

    A. Niculescu-Mizil and R. Caruana, "Predicting good probabilities with supervised learning", ICML 2005.
    """
    index = by_width(confidence, bins)
    counts = np.bincount(index, minlength=bins)
    sums = [np.bincount(index, weights=values, minlength=bins) for values in (confidence, right)]
    return [
        Bin(m / bins, (m + 1) / bins, int(counts[m]), *(float(part[m] / counts[m]) for part in sums))
        for m in np.flatnonzero(counts)
    ]  # fmt: skip


def error_interval(
    bins: Indices, confidence: Floats, right: npt.NDArray[np.bool_], *, alpha: float = 0.05
) -> Interval:
    """Return ECE with bounds of a bootstrap of samples, each at level `alpha`.

    The normal bounds around the value, from the spread of the draws. A binned ECE is too large by what chance
    alone makes of each gap (R. Roelofs et al., "Mitigating bias in calibration error estimation", AISTATS
    2022): the lower bound is lower by what it would be of a calibrated model, the sum over bins of
    ``sqrt(2 / pi sum p (1 - p)) / n``, p the confidences; the upper bound keeps the excess.
    """
    value = error(bins, confidence, right)
    draws = _drawn(bins, right - confidence)
    half = z_value(alpha) * float(draws.std(ddof=1))
    spread = np.bincount(bins, weights=confidence * (1 - confidence))
    excess = float(np.sqrt(2 / math.pi * np.maximum(spread, 0.0)).sum()) / right.size
    return Interval(value, max(0.0, value - excess - half), min(1.0, value + half), right.size)


def error_increase(
    one: tuple[Indices, Floats, npt.NDArray[np.bool_]],
    other: tuple[Indices, Floats, npt.NDArray[np.bool_]],
    *,
    alpha: float = 0.05,
) -> Interval:
    """Return the ECE of the other minus that of the first, of the same samples, with both in each resample.

    The excess of both is nearly the same, and what is left of it widens the interval: it reaches from the
    normal bounds to the reflected ones, whichever are wider.

    Parameters
    ----------
    one, other : tuple of ndarray, shape (n,)
        Bins, confidence and right answers.
    """
    value = error(*other) - error(*one)
    first, second = (_drawn(bins, right - confidence) for bins, confidence, right in (one, other))
    draws = second - first
    reflected = [2 * value - float(np.quantile(draws, level)) for level in (1 - alpha, alpha)]
    half = z_value(alpha) * float(draws.std(ddof=1))
    return Interval(value, min(value - half, *reflected), max(value + half, *reflected), other[2].size)


def negative_log_likelihood(of_label: Floats) -> Floats:
    """Return ``-ln p`` of the probability of each label, in nats, shape (n,).

    Parameters
    ----------
    of_label : ndarray, shape (n,)
        NaN where the model gives no answer: as sure and wrong.
    """
    likely = np.nan_to_num(of_label, nan=0.0, posinf=0.0, neginf=0.0)
    return -np.log(np.clip(likely, LEAST_PROBABILITY, 1.0))


def brier(probabilities: Floats, labels: Indices) -> Floats:
    """Return the Brier score of each sample, ``sum over classes of (p - 1{label})²``, shape (n,).

    0 to 2; 2 where the model gives no answer, as where it is sure and wrong. G. Brier, "Verification of
    forecasts expressed in terms of probability", Monthly Weather Review 78 (1950). Of two classes it is twice
    the ``(p - y)²`` that is also called by that name.

    Parameters
    ----------
    probabilities : ndarray, shape (n, classes)
    labels : ndarray, shape (n,), int64
    """
    target = np.zeros_like(probabilities)
    target[np.arange(len(labels)), labels] = 1.0
    with np.errstate(invalid="ignore", over="ignore"):
        scores = np.square(probabilities - target).sum(axis=1)
    return np.where(np.isfinite(scores), np.minimum(scores, 2.0), 2.0)


def _drawn(bins: Indices, gaps: Floats) -> Floats:
    """ECE of each resample, the samples in the bins that they have."""
    columns = np.zeros((len(gaps), int(bins.max(initial=0)) + 1))
    columns[np.arange(len(gaps)), bins] = gaps
    drawn: Floats = np.abs(resampled_means(columns)).sum(axis=1)
    return drawn
