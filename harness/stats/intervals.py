"""Intervals: of a proportion, of a positive quantity over processes, of a mean over samples.

``alpha`` is one-sided everywhere: the truth lies beyond each bound with probability ``alpha``, so that the
default of 0.05 makes a two-sided 90 % interval, whose upper bound is the one-sided 95 % bound of a gate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, ndtr, ndtri, stdtrit

from harness.core.errors import DataError, UsageError

RESAMPLES = 4000  # the 5 % quantile of so many has a standard error of 0.35 % in probability
_SEED = 20240229  # fixed, so that a run that is judged twice gives the same bytes
_CHUNK_INDICES = 1 << 20  # 8 MiB of resampled row numbers at a time


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its two one-sided bounds.

    Attributes
    ----------
    value, low, high : float
        ``low <= value <= high``; ``value`` is NaN where nothing was observed.
    n : int
        The units that the interval is over: samples, pairs or processes.
    """

    value: float
    low: float
    high: float
    n: int


def z_value(alpha: float) -> float:
    """Upper ``alpha`` quantile of the standard normal distribution (1.645 at 0.05)."""
    if not 0.0 < alpha < 0.5:
        raise UsageError(f"alpha must lie between 0 and 0.5, and is {alpha}")
    return float(-ndtri(alpha))


def wilson(successes: int, n: int, *, alpha: float = 0.05) -> Interval:
    """Wilson's score interval of a proportion.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22
    (1927); compared with others in Brown, Cai and DasGupta, Statistical Science 16 (2001).
    """
    z2 = z_value(alpha) ** 2
    _check_counts(successes, n)
    if n == 0:
        return Interval(math.nan, 0.0, 1.0, 0)
    p = successes / n
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    low = 0.0 if successes == 0 else min(p, centre - half)
    high = 1.0 if successes == n else max(p, centre + half)
    return Interval(p, low, high, n)


def wilson_in_groups(successes: int, n: int, effect: float, *, alpha: float = 0.05) -> Interval:
    """Wilson's interval where n samples tell no more than n / `effect` independent ones.

    Source: L. Kish, "Survey sampling" (1965), section 8.2, the design effect.
    """
    exact = wilson(successes, n, alpha=alpha)
    fewer = max(1, int(n / effect)) if n else 0
    low = wilson(math.floor(fewer * exact.value), fewer, alpha=alpha).low if n else exact.low
    high = wilson(math.ceil(fewer * exact.value), fewer, alpha=alpha).high if n else exact.high
    return Interval(exact.value, min(exact.low, low), max(exact.high, high), n)


def clopper_pearson(successes: int, n: int, *, alpha: float = 0.05) -> Interval:
    """Exact interval of a proportion; it covers at least as often as it says, for zero failures in n too.

    Source: C. Clopper and E. Pearson, Biometrika 26 (1934), by the quantiles of the beta distribution.
    """
    z_value(alpha)
    _check_counts(successes, n)
    if n == 0:
        return Interval(math.nan, 0.0, 1.0, 0)
    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, alpha))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - alpha))
    return Interval(successes / n, low, high, n)


def over_processes(per_process: npt.NDArray[Any], *, alpha: float = 0.05) -> Interval:
    """Geometric mean over processes of a positive quantity, with Student's t interval of its logarithm.

    Requests within a process share its memory layout and its moment, so they are not independent: the
    process is the unit of analysis, and one process alone says nothing of the next (its interval is 0 to
    infinity). The logarithm, because times and rates vary by factors; so the interval of a ratio of paired
    processes is ``over_processes(a / b)``.

    Parameters
    ----------
    per_process : ndarray, shape (k,)
        One figure a process, such as its p99 in ns; all finite and above zero.

    Notes
    -----
    exp(m ± t(k-1, 1-alpha) s / sqrt(k)), m and s the mean and standard deviation (ddof 1) of the logarithms.
    Why the process: A. Georges, D. Buytaert and L. Eeckhout, "Statistically rigorous Java performance
    evaluation", OOPSLA 2007; T. Kalibera and R. Jones, "Rigorous benchmarking in reasonable time", ISMM 2013.
    """
    z_value(alpha)
    values = np.asarray(per_process, dtype=np.float64).reshape(-1)
    k = values.size
    if not (np.isfinite(values) & (values > 0)).all():
        raise DataError(
            "a figure per process is not a finite number above zero",
            cause="a duration of 0 ns means that the clock is too coarse for what was timed",
            next_step="time several calls at once",
        )
    if k == 0:
        return Interval(math.nan, 0.0, math.inf, 0)
    if k == 1:
        return Interval(float(values[0]), 0.0, math.inf, 1)
    logs = np.log(values)
    # Equal logarithms have exactly no spread, which a rounded mean would hide.
    mean, spread = (logs.mean(), logs.std(ddof=1)) if np.ptp(logs) else (logs[0], 0.0)
    half = stdtrit(k - 1, 1 - alpha) * spread / math.sqrt(k)
    with np.errstate(over="ignore", under="ignore"):  # two wildly different processes bound nothing: 0 to inf
        value, low, high = np.exp([mean, mean - half, mean + half])
    return Interval(float(value), float(low), float(high), k)


def clustered_mean(values: npt.NDArray[Any], *, alpha: float = 0.05, reach: float | None = None) -> Interval:
    """Mean over samples and cases, with a BCa bootstrap interval that resamples samples.

    The cases of one sample (one image under many corruptions) rise and fall together, so whole rows are
    drawn. Rows are equally long, so the mean of the drawn cells is the mean of their row means: one number a
    row is kept, whatever the number of cases. Rows are sorted and the seed is fixed, so the result depends on
    which rows there are and on nothing else.

    Parameters
    ----------
    values : ndarray, shape (n_samples, n_cases) or (n_samples,)
        Finite numbers.
    reach : float, optional
        The largest absolute value that any sample could show, where it is known (1 for an accuracy loss as
        a fraction). The interval then reaches at least ``reach * z²/(n + z²)`` to either side, which is
        Tango's bound for n pairs that never disagree: a bootstrap cannot draw what was not seen, and would
        give 64 samples without a flip the interval [0, 0]. At worst the cases of a sample all agree and
        decide no more than one case does, so n is the number of samples.

    Notes
    -----
    B. Efron, "Better bootstrap confidence intervals", JASA 82 (1987). Bias correction z0 from the share of
    resamples below the value, ties counted half; acceleration of a mean in closed form,
    a = sum d³ / (6 (sum d²)^1.5) with d the deviations of the row means, which is the jackknife's (Efron and
    Tibshirani, "An introduction to the bootstrap", 1993, eq. 14.15).
    """
    z = z_value(alpha)
    cells = np.asarray(values, dtype=np.float64)
    rows = np.sort(cells.reshape(cells.shape[0], -1).mean(axis=1)) if cells.size else np.empty(0)
    if not np.isfinite(rows).all():
        bad = int(np.count_nonzero(~np.isfinite(rows)))
        raise DataError(f"{bad} of {rows.size} samples have a value that is not a finite number")
    n = rows.size
    limit = math.inf if reach is None else reach
    if n and max(-rows[0], rows[-1]) > limit * (1 + 1e-12):
        raise UsageError(f"a sample shows {max(-rows[0], rows[-1])}, beyond the stated reach of {reach}")
    if n == 0:
        return Interval(math.nan, -limit, limit, 0)
    value = float(rows.mean())
    if n == 1:
        return Interval(value, -limit, limit, 1)
    low, high = _bca(rows, value, z)
    floor = 0.0 if reach is None else reach * z * z / (n + z * z)
    return Interval(value, max(-limit, min(low, value - floor)), min(limit, max(high, value + floor)), n)


def units_to_decide(
    interval: Interval, limit: float, *, alpha: float = 0.05, power: float = 0.8, reach: float | None = None
) -> int | None:
    """How many units (of ``interval.n``'s kind) in all would put the interval on one side of ``limit``.

    The half width on the side of the limit shrinks with the square root of n, and a repetition decides with
    probability ``power`` where the limit is 1 + z_power / z_alpha half widths away (normal theory, as in S.
    Julious, "Sample sizes for clinical trials with Normal data", Statistics in Medicine 23 (2004)). With
    ``reach``, as given to `clustered_mean`, its least width ``reach * z²/(n + z²)`` must fit in too. For
    paired proportions there is `harness.stats.paired.samples_to_decide`.

    Returns
    -------
    int or None
        ``interval.n`` where it is decided already; None where no number decides (the value is the limit) or
        the width is not known.
    """
    z = z_value(alpha)
    if interval.low > limit or interval.high < limit:
        return interval.n
    distance = abs(limit - interval.value)
    half = interval.high - interval.value if interval.value < limit else interval.value - interval.low
    if not distance > 1e-9 * half or not math.isfinite(half):
        return None
    n, least = interval.n, 0
    if reach is not None:
        least = math.floor(z * z * (reach / distance - 1)) + 1
        if math.isclose(half, reach * z * z / (n + z * z), rel_tol=1e-9):
            return max(n + 1, least)  # nothing but the least width stood in the way, and that shrinks with n
    return max(n + 1, least, math.ceil(n * ((1 + float(ndtri(power)) / z) * half / distance) ** 2))


def _bca(rows: npt.NDArray[np.float64], value: float, z: float) -> tuple[float, float]:
    n = rows.size
    deviations = rows - value
    square = float(np.square(deviations).sum())
    if rows[0] == rows[-1] or square == 0.0:
        return value, value
    rng = np.random.Generator(np.random.PCG64(_SEED))
    means = np.empty(RESAMPLES)
    step = max(1, _CHUNK_INDICES // n)
    for start in range(0, RESAMPLES, step):
        count = min(step, RESAMPLES - start)
        means[start : start + count] = rows[rng.integers(0, n, size=(count, n))].mean(axis=1)
    # Rounding must not break the ties that make up much of a distribution of few flips.
    gaps, tie = means - value, 1e-12 * max(-rows[0], rows[-1])
    below = np.count_nonzero(gaps < -tie) + 0.5 * np.count_nonzero(np.abs(gaps) <= tie)
    bias = float(ndtri(np.clip(below / RESAMPLES, 1 / RESAMPLES, 1 - 1 / RESAMPLES)))
    acceleration = float((deviations**3).sum()) / (6 * square**1.5)
    shifted = bias + np.array([-z, z])
    # |acceleration| <= 1/6, so the denominator is positive for every alpha that 4,000 resamples can resolve.
    levels = ndtr(bias + shifted / np.maximum(1 - acceleration * shifted, 1e-3))
    low, high = np.quantile(means, levels)
    return min(float(low), value), max(float(high), value)


def _check_counts(successes: int, n: int) -> None:
    if not 0 <= successes <= n:
        raise UsageError(f"{successes} successes in {n} trials cannot be")
