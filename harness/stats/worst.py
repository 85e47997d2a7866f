"""The worst of several means: its value, and an interval that holds for all of them together.

With k means and one-sided bounds at level alpha, the worst mean is the largest:

- The largest upper bound at alpha is an upper bound: it fails only if the bound of the mean that really is
  the worst fails. R. Berger, "Multiparameter hypothesis testing and acceptance sampling", Technometrics 24
  (1982): an intersection-union test needs no correction.
- The largest lower bound at alpha / k is a lower bound: it fails only if one of k bounds fails, with
  probability at most k (alpha / k). O. J. Dunn, "Multiple comparisons among means", JASA 56 (1961): the
  inequality of Bonferroni, whatever the dependence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from harness.stats import intervals, paired
from harness.stats.intervals import Interval

ALPHA = 0.05
#: Points in a share of 1.
PT = 100.0


@dataclass(frozen=True, slots=True)
class Worst:
    """The worst of several means.

    Parameters
    ----------
    place : int
        Of the worst one.
    bounding : int
        Of the one whose bound at the bad end is the farthest.
    interval : Interval
        Of the worst mean, for all together.
    """

    place: int
    bounding: int
    interval: Interval


def worst_of(interval: Callable[[int, float], Interval], count: int, *, lower_is_better: bool) -> Worst:
    """Return the worst of `count` means.

    Parameters
    ----------
    interval : callable
        Place and alpha to the mean's interval, each of its bounds at level alpha.
    """
    sign = 1.0 if lower_is_better else -1.0
    alone = [_signed(interval(place, ALPHA), sign) for place in range(count)]
    together = [_signed(interval(place, ALPHA / count), sign) for place in range(count)]
    place = max(range(count), key=lambda place: alone[place].value)
    bounding = max(range(count), key=lambda other: (alone[other].high, other == place))
    low = max(one.low for one in together)
    joint = Interval(alone[place].value, low, alone[bounding].high, alone[place].n)
    return Worst(place, bounding, _signed(joint, sign))


def mean_interval(
    values: NDArray[np.float64], *, alpha: float, unit: str, share: bool = False, reach: float | None = None
) -> Interval:
    """Return the mean of independent samples with an interval, each of its bounds at level `alpha`.

    Parameters
    ----------
    values : ndarray, shape (n,)
    unit : str
        ``pt``: changes of -100, 0 or 100 have Tango's interval.
    share : bool
        Values of 0 and 1 have Wilson's interval.
    reach : float, optional
        The largest absolute value that a sample can have.
    """
    if unit == "pt" and np.isin(values, (-PT, 0.0, PT)).all():
        lost, won = int(np.count_nonzero(values > 0)), int(np.count_nonzero(values < 0))
        loss = paired.tango(won, lost, len(values), alpha=alpha)
        return Interval(PT * loss.value, PT * loss.low, PT * loss.high, loss.n)
    if share and np.isin(values, (0.0, 1.0)).all():
        return intervals.wilson(int(np.count_nonzero(values)), len(values), alpha=alpha)
    if alpha == ALPHA:
        return intervals.clustered_mean(values, alpha=alpha, reach=reach)
    # The bootstrap has too few resamples for the small alpha of many means: Student's t.
    value, n = float(values.mean()), len(values)
    half = float(stdtrit(n - 1, 1 - alpha)) * float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    return Interval(value, value - half, value + half, n)


def worst_column(
    columns: Sequence[NDArray[np.float64]], *, unit: str, lower_is_better: bool, reach: float | None = None
) -> Worst:
    """Return the worst of the means of several columns of values by sample."""
    return worst_of(
        lambda place, alpha: mean_interval(
            columns[place], alpha=alpha, unit=unit, share=unit == "1" and not lower_is_better, reach=reach
        ),
        len(columns),
        lower_is_better=lower_is_better,
    )


def _signed(interval: Interval, sign: float) -> Interval:
    """Turn an interval so that larger is worse, or back."""
    if sign > 0:
        return interval
    return Interval(-interval.value, -interval.high, -interval.low, interval.n)
