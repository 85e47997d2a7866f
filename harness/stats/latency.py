"""Latency: percentiles, how many queries they need, and their interval over processes.

Early stopping is MLPerf's: "Early Stopping Criterion", appendix of the MLPerf inference rules
(mlcommons/inference_policies, inference_rules.adoc), and loadgen/early_stopping.cc and results.cc in
mlcommons/inference, with LoadGen's tolerance of 0 and confidence of 0.99. With F the binomial distribution
function, n queries of which t are over a latency prove at confidence c that the share p is under it when

    F(t; n, 1 - p) = I_p(n - t, t + 1) <= 1 - c.

It holds for independent queries; correlated ones (see `lag1_autocorrelation`) tell less.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

from harness.core.errors import DataError, UsageError
from harness.stats.intervals import Interval, over_processes

PERCENTILES = (0.5, 0.9, 0.99)
CONFIDENCE = 0.99

Nanoseconds = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PercentileSummary:
    """One percentile of latency.

    Attributes
    ----------
    p : float
        The share of requests, 0.99 for p99.
    latency_ns : Interval
        Geometric mean over processes of each one's percentile, with its interval; its n counts processes.
    early_stopping_ns : int or None
        LoadGen's estimate from all requests: the percentile lies below it with confidence 0.99. None where
        there are too few.
    n, n_needed : int
        Requests measured in all, and the fewest that the early-stopping rule accepts.
    reason : str
        Empty, or why the value is invalid.
    """

    p: float
    latency_ns: Interval
    early_stopping_ns: int | None
    n: int
    n_needed: int
    reason: str


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """What several processes, all timing the same call, say of its latency.

    Attributes
    ----------
    percentiles : tuple of PercentileSummary
    autocorrelation : float
        Median over processes of the lag-1 autocorrelation; NaN where no process varies.
    n, n_processes : int
        Requests in all, processes.
    """

    percentiles: tuple[PercentileSummary, ...]
    autocorrelation: float
    n: int
    n_processes: int


def percentile(samples_ns: Nanoseconds, p: float) -> int:
    """Order statistic ceil(n p), counted from 1: the smallest sample below or at which the share p lies.

    A latency that really occurred, never a mixture of two. Source: Hyndman and Fan, "Sample quantiles in
    statistical packages", The American Statistician 50 (1996), definition 1 (numpy: ``inverted_cdf``).
    """
    _check_share(p)
    if samples_ns.size == 0:
        raise DataError("no latency was measured")
    # A product that misses a whole number by rounding only (100 * 0.07) must not move to the next rank.
    rank = max(1, math.ceil(samples_ns.size * p * (1 - 1e-12)))
    return int(np.partition(samples_ns, rank - 1)[rank - 1])


def min_queries(p: float, overlatency: int = 1, *, confidence: float = CONFIDENCE) -> int:
    """Fewest queries that prove percentile ``p`` when ``overlatency`` of them are over the latency.

    With 1, the default, this is LoadGen's smallest single- or multi-stream run: 64 for p90, 662 for p99.
    """
    _check_share(p)
    high = overlatency + 1
    while not _proves(high, overlatency, p, confidence):
        high *= 2
    low = overlatency + 1
    return bisect_left(range(high), True, lo=low, key=lambda n: _proves(n, overlatency, p, confidence))


def max_overlatency(n: int, p: float, *, confidence: float = CONFIDENCE) -> int:
    """Largest t such that n queries, t of them over a latency, still prove percentile ``p``; 0 for too few.

    LoadGen discards the t - 1 slowest and reports the slowest of the rest.
    """
    _check_share(p)
    return max(0, bisect_left(range(n), True, key=lambda t: not _proves(n, t, p, confidence)) - 1)


def early_stopping_estimate(
    samples_ns: Nanoseconds, p: float, *, confidence: float = CONFIDENCE
) -> int | None:
    """LoadGen's estimate of a percentile: the t-th slowest sample, t from `max_overlatency`; None for few."""
    n = samples_ns.size
    t = max_overlatency(n, p, confidence=confidence)
    return int(np.partition(samples_ns, n - t)[n - t]) if t else None


def lag1_autocorrelation(samples_ns: Nanoseconds) -> float:
    """Correlation of each sample with the next in order of time; NaN for fewer than two, or equal, samples.

    Source: Box and Jenkins, Time Series Analysis, r_1 = sum (x_t - m)(x_{t+1} - m) / sum (x_t - m)².
    """
    if samples_ns.size < 2 or np.ptp(samples_ns) == 0:
        return math.nan
    centred = samples_ns - samples_ns.mean()
    return float(centred[:-1] @ centred[1:] / (centred @ centred))


def latency_summary(
    per_process: Sequence[Nanoseconds], *, percentiles: Sequence[float] = PERCENTILES, alpha: float = 0.05
) -> LatencySummary:
    """Percentiles of latency with intervals over processes.

    The value is the geometric mean over processes of each one's percentile, not the percentile of all
    requests pooled: only so do value and interval estimate the same thing, and a process that shared the
    machine with a neighbour shows as width instead of filling the pooled tail by itself. How many requests
    suffice is judged on all of them together, as LoadGen judges a run.

    Parameters
    ----------
    per_process : sequence of ndarray, shape (n_i,), int64, ns
        Latencies in order of time, one array a process, none empty.
    """
    if not per_process or any(samples.size == 0 for samples in per_process):
        raise DataError("no latency was measured", cause="a process returned no samples")
    pooled = np.concatenate(per_process)
    summaries = []
    for p in percentiles:
        values_ns = np.array([percentile(samples, p) for samples in per_process])
        needed = min_queries(p)
        reason = "" if pooled.size >= needed else f"too few samples: needs {needed}, has {pooled.size}"
        latency_ns = over_processes(values_ns, alpha=alpha)
        estimate_ns = early_stopping_estimate(pooled, p)
        summaries.append(PercentileSummary(p, latency_ns, estimate_ns, pooled.size, needed, reason))
    correlations = np.array([lag1_autocorrelation(samples) for samples in per_process])
    defined = correlations[~np.isnan(correlations)]
    autocorrelation = float(np.median(defined)) if defined.size else math.nan
    return LatencySummary(tuple(summaries), autocorrelation, pooled.size, len(per_process))


def _proves(n: int, t: int, p: float, confidence: float) -> bool:
    # Strictly below, as LoadGen's find_min_passing has it.
    return bool(bdtr(t, n, 1 - p) < 1 - confidence)


def _check_share(p: float) -> None:
    if not 0.0 < p < 1.0:
        raise UsageError(f"invalid percentile {p}; use a share between 0 and 1")
