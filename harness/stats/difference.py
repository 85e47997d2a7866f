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
#: Units of what is measured with a clock: such values belong to one machine.
TIME_UNITS = frozenset({"ns", "1/s"})
#: Units that are taken to vary between runs where nobody declares the metric.
VARYING_UNITS = TIME_UNITS | {"byte"}
#: What one sample counts in a share, where that is not 1.
SAMPLE = {"pt": 100.0}


def independent(
    base: Sequence[Values], new: Sequence[Values], *, ratio: bool, widen: float = 1.0
) -> tuple[Values, Values, Values]:
    """Differences (new - base), or ratios (new / base), of independent measurements.

    Parameters
    ----------
    base, new : three ndarrays, shape (rows,)
        Values, lower and upper bounds; NaN bounds where no interval is known.
    ratio : bool
    widen : float
        Factor on the distances to the bounds.

    Returns
    -------
    tuple of ndarray, shape (rows,)
        Value, lower and upper bound; NaN bounds where a side has no interval, values NaN where one is none.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        (b, b_low, b_high), (n, n_low, n_high) = (
            tuple(np.log(part) if ratio else part for part in side) for side in (base, new)
        )
        below = widen * np.hypot(n - n_low, b_high - b)
        above = widen * np.hypot(n_high - n, b - b_low)
        if not ratio:
            return n - b, n - b - below, n - b + above
        # Not the exponential of a difference of logarithms, which turns 90 / 100 into 0.8999999999999996.
        value = np.where((base[0] == 0) & (new[0] == 0), 1.0, new[0] / base[0])
        return value, value * np.exp(-below), value * np.exp(above)


def noise_factor(processes: int = PROCESSES) -> float:
    """Widening of a time's interval where whole runs are compared: √(1 + k)."""
    return math.sqrt(1 + processes)


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
    """`paired` for many rows of equally many samples at once, and the score statistic of no difference.

    Parameters
    ----------
    base, new : ndarray, shape (rows, samples)

    Returns
    -------
    list of Interval
        One a row.
    ndarray, shape (rows,)
        Σd / √(Σd²), which is McNemar's where samples are 0 or 1; 0 where nothing differs.
    """
    change, size, n = new - base, SAMPLE.get(unit, 1.0), base.shape[1]
    whole = [((part == 0) | (np.abs(part) == size)).all(axis=1) for part in (base, new, change)]
    less, more = (change < 0).sum(axis=1), (change > 0).sum(axis=1)
    intervals = []
    for row, is_share in enumerate(whole[0] & whole[1] & whole[2]):
        if is_share:
            share = tango(int(less[row]), int(more[row]), n)
            intervals.append(Interval(share.value * size, share.low * size, share.high * size, n))
        else:
            intervals.append(clustered_mean(change[row][:, None]))
    length = np.sqrt((change * change).sum(axis=1))
    return intervals, change.sum(axis=1) / np.where(length > 0, length, 1.0)
