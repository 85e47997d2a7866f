"""How two measurements of one quantity differ: from their intervals, or paired sample by sample.

Two independent intervals are combined by MOVER (the method of variance estimates recovery): the bound of the
difference takes from each side the distance to its own bound. Sources: R. G. Newcombe, "Interval estimation
for the difference between independent proportions", Statistics in Medicine 17 (1998), method 10; G. Y. Zou
and A. Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 27 (2008).
Quantities that are compared as ratios (times, bytes, rates) go through the same on their logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, ndtr, stdtrit

from harness.core.metric import Metric, Noise
from harness.stats.intervals import Interval, clustered_mean
from harness.stats.paired import tango

Values = NDArray[np.float64]
#: Units of positive quantities: their ratio says more than their difference.
RATIO_UNITS = frozenset({"ns", "byte", "1/s", "bit"})
#: The interval of a time or of memory is over the processes of one run (five, by default), and two runs on
#: one machine differ by more than that: heat, neighbours, memory layout. Runs are taken to differ as much as
#: processes do, so that the variance of a side is s² (1/k + 1) in place of s²/k.
PROCESSES = 5
#: The processes of one run may agree by chance, or share what differs from run to run (T. Mytkowicz et al.,
#: "Producing wrong data without doing anything obviously wrong!", ASPLOS 2009): two runs differ at least by
#: this standard deviation of the logarithm. 28 runs a target of digits on a machine with nothing else to do,
#: which shares its host with others: p50 0.04 to 0.13, throughput 0.04 to 0.16 (processes 0.03 to 0.15); in
#: some runs all processes were 8 to 20 % slower, by the same. Peak memory 0.0005 to 0.0008.
RUNS_DIFFER = {"ns": 0.04, "1/s": 0.04, "byte": 0.002}
#: Units of what is measured with a clock: such values belong to one machine.
TIME_UNITS = frozenset({"ns", "1/s"})
#: Units that are taken to vary between runs where nobody declares the metric.
VARYING_UNITS = TIME_UNITS | {"byte"}
#: What one sample counts in a share, where that is not 1.
SAMPLE = {"pt": 100.0}


def independent(
    base: Sequence[Values], new: Sequence[Values], *, ratio: bool, widen: float = 1.0,
    least: Values | float = 0.0,
) -> tuple[Values, Values, Values]:  # fmt: skip
    """Differences (new - base), or ratios (new / base), of independent measurements.

    Parameters
    ----------
    base, new : three ndarrays, shape (rows,)
        Values, lower and upper bounds; NaN bounds where no interval is known.
    ratio : bool
    widen : float
        Factor on the distances to the bounds.
    least : ndarray or float
        Distance to the bounds of values without an error; added to the others as independent errors are.

    Returns
    -------
    tuple of ndarray, shape (rows,)
        Value, lower and upper bound; NaN bounds where a side has no interval, values NaN where one is none.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        (b, b_low, b_high), (n, n_low, n_high) = (
            tuple(np.log(part) if ratio else part for part in side) for side in (base, new)
        )
        below = np.hypot(widen * np.hypot(n - n_low, b_high - b), least)
        above = np.hypot(widen * np.hypot(n_high - n, b - b_low), least)
        if not ratio:
            return n - b, n - b - below, n - b + above
        # Not the exponential of a difference of logarithms, which turns 90 / 100 into 0.8999999999999996.
        value = np.where((base[0] == 0) & (new[0] == 0), 1.0, new[0] / base[0])
        return value, value * np.exp(-below), value * np.exp(above)


def noise_factor(processes: int = PROCESSES) -> float:
    """Widening of a time's interval where whole runs are compared: √(1 + k)."""
    return math.sqrt(1 + processes)


def least_distance(unit: str) -> float:
    """Distance between the logarithms of two runs and the bounds of their difference, at least."""
    return float(stdtrit(PROCESSES - 1, 0.95)) * math.sqrt(2) * RUNS_DIFFER.get(unit, 0.0)


def degrees_of_freedom(
    base: Sequence[Values], new: Sequence[Values], *, ratio: bool, least: Values
) -> Values:  # fmt: skip
    """Those of the difference of two runs, `PROCESSES` a side (B. Welch, Biometrika 34 (1947)).

    Parameters
    ----------
    base, new, ratio, least
        See `independent`; `least` is known, and not estimated from the processes.

    Returns
    -------
    ndarray, shape (rows,)
        From those of one side up; a million where only `least` is left.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        widths = [np.log(high / low) if ratio else high - low for _, low, high in (base, new)]
        one, two = ((noise_factor() * width / 2) ** 2 for width in widths)
        df: Values = (PROCESSES - 1) * (one + two + least**2) ** 2 / (one**2 + two**2)
    return np.where(np.isnan(df), PROCESSES - 1.0, np.minimum(df, 1e6))


def varies_between_runs(metric: Metric | None, unit: str) -> bool:
    """Whether two runs differ by more than the interval of each says."""
    return unit in VARYING_UNITS if metric is None else metric.noise is Noise.RUNS


def paired(base: Values, new: Values, unit: str = "1") -> Interval:
    """Mean of (new - base) over the same samples: Tango's interval for shares, else a bootstrap by sample.

    Parameters
    ----------
    base, new : ndarray, shape (samples,)
        What each sample contributes; a side with fewer has the first samples of the same order.
    unit : str
        One sample of a share counts 1 or 0; of a share in points 100 or 0.
    """
    n = min(len(base), len(new))
    (interval,), _ = paired_rows(base[None, :n], new[None, :n], unit)
    return interval


def paired_rows(base: Values, new: Values, unit: str) -> tuple[list[Interval], Values]:
    """`paired` for many rows of equally many samples at once, and the chance of such a change by flips alone.

    Parameters
    ----------
    base, new : ndarray, shape (rows, samples)

    Returns
    -------
    list of Interval
        One a row.
    ndarray, shape (rows,)
        One-sided p, in the direction of the change, where each sample that differs could as well differ the
        other way: McNemar's exact test of shares (Q. McNemar, Psychometrika 12 (1947)), else by the normal
        theory of the sum, and not below the chance that all have the same sign. NaN where no sample differs:
        such a row can never be significant, and does not count among many (R. Tarone, Biometrics 46 (1990)).
    """
    change, size, n = new - base, SAMPLE.get(unit, 1.0), base.shape[1]
    whole = [((part == 0) | (np.abs(part) == size)).all(axis=1) for part in (base, new, change)]
    less, more = (change < 0).sum(axis=1), (change > 0).sum(axis=1)
    intervals, shares = [], whole[0] & whole[1] & whole[2]
    for row, is_share in enumerate(shares):
        if is_share:
            share = tango(int(less[row]), int(more[row]), n)
            intervals.append(Interval(share.value * size, share.low * size, share.high * size, n))
        else:
            intervals.append(clustered_mean(change[row][:, None]))
    length = np.sqrt((change * change).sum(axis=1))
    differ = less + more
    z = np.abs(change.sum(axis=1)) / np.where(length > 0, length, 1.0)
    p = np.where(shares, bdtr(np.minimum(less, more), differ, 0.5), np.maximum(ndtr(-z), 0.5**differ))
    return intervals, np.where(differ > 0, p, np.nan)
