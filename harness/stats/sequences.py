"""Intervals over sequences: the rows of one sequence are not independent of each other."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from harness.stats.intervals import Interval, clustered_mean, z_value

#: Below this level a bootstrap of `harness.stats.intervals` has too few resamples.
SMALLEST_BOOTSTRAP = 0.05


def mean_over_sequences(
    values: npt.NDArray[np.float64],
    sequence: npt.NDArray[np.int64],
    *,
    alpha: float = 0.05,
    reach: float | None = None,
    lowest: float = -math.inf,
) -> Interval:
    """Mean over rows, with an interval that resamples whole sequences.

    Parameters
    ----------
    values : ndarray, shape (n,)
    sequence : ndarray, shape (n,), int64
        Sequence of each row.
    reach : float, optional
        The largest value, as for `clustered_mean`: the interval then reaches at least
        ``reach * z²/(k + z²)`` to either side, k the number of sequences.
    lowest : float
        The smallest value.

    Returns
    -------
    Interval
        Its n is the number of rows.

    Notes
    -----
    The mean is a ratio, sum of s_i over sum of m_i, of the sums and the lengths of sequences. Each sequence
    counts as ``mean + (s_i - mean m_i) / mean length``, whose mean is the ratio and whose variance is that of
    the ratio to first order: W. G. Cochran, "Sampling techniques" (1977), section 6.3 and 9A.
    """
    _, index = np.unique(sequence, return_inverse=True)
    lengths = np.bincount(index.reshape(-1))
    sums = np.bincount(index.reshape(-1), weights=values)
    value, k = float(values.mean()), len(lengths)
    by_sequence = value + (sums - value * lengths) / lengths.mean()
    if alpha < SMALLEST_BOOTSTRAP:
        spread = float(by_sequence.std(ddof=1)) / math.sqrt(k) if k > 1 else math.inf
        half = float(stdtrit(max(1, k - 1), 1 - alpha)) * spread
        low, high = value - half, value + half
    else:
        interval = clustered_mean(by_sequence, alpha=alpha)
        low, high = interval.low, interval.high
    if reach is not None:
        z2 = z_value(alpha) ** 2
        least = reach * z2 / (k + z2)
        low, high = max(lowest, min(low, value - least)), min(reach, max(high, value + least))
    return Interval(value, low, high, len(values))
