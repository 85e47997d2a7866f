"""Two versions timed side by side: the ratio over fresh processes, and repeated looks at it.

The unit of analysis is the process, and what is compared is the trimmed geometric mean over processes: the
fastest and the slowest fifth of each side are left out, because on a shared machine one process in ten is
half as slow again, and a mean then cannot detect a difference of a tenth (20 %: R. Wilcox,
"Introduction to Robust Estimation and Hypothesis Testing", 4th ed. (2017), section 3.3). The interval comes
from a bootstrap over processes, each side by itself, with the levels that make a percentile interval of few
units cover as Student's t does, by as many as are left (T. Hesterberg, "What teachers should know about the
bootstrap", The American Statistician 69 (2015), section 5.3.2, "expanded percentile interval").

A comparison that continues until it is decided looks several times. Look k spends alpha / 2^k, so that the
error of all looks is at most alpha, whatever their number (the union bound; spending
functions: K. Lan and D. DeMets, Biometrika 70 (1983)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from harness.core.errors import DataError, UsageError
from harness.core.verdict import State
from harness.stats.intervals import Interval

ALPHA = 0.05
#: Processes a side before the first look.
FEWEST = 8
#: Left out at each end.
TRIMMED = 0.2
#: The smallest level, that of the fifth look, needs as many for thirty resamples beyond its bound.
RESAMPLES = 20_000
_SEED = 20240229


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a comparison.

    Parameters
    ----------
    ratio : Interval
        New / base, the base's two halves together.
    control : Interval
        The base's second half / its first: the ratio measured where there is no difference.
    state : State
        PASS, FAIL or INCONCLUSIVE.
    why : str
        Of INCONCLUSIVE.
    """

    ratio: Interval
    control: Interval
    state: State
    why: str = ""


def level(look: int) -> float:
    """One-sided error that look `look`, counted from 1, may spend."""
    if look < 1:
        raise UsageError(f"invalid look {look}; looks are counted from 1")
    return ALPHA / 2.0**look


def ratio(base: NDArray[np.float64], new: NDArray[np.float64], *, alpha: float = ALPHA) -> Interval:
    """Ratio of the trimmed geometric means over processes, new / base.

    Parameters
    ----------
    base, new : ndarray, shape (processes,)
        One figure a process, such as its p50 in ns; all above zero, at least two a side.
        The interval's ``n`` is the fewer of them.
    alpha : float
        One-sided.
    """
    if min(len(base), len(new)) < 2:
        raise DataError("a ratio needs at least two processes a side")
    if not (np.isfinite(base).all() and np.isfinite(new).all() and (base > 0).all() and (new > 0).all()):
        raise DataError("a value of a process is not a finite number above zero")
    one, two = np.log(base), np.log(new)
    rng = np.random.Generator(np.random.PCG64(_SEED))
    value = float(_trimmed(two) - _trimmed(one))
    drawn = _means(two, rng) - _means(one, rng)
    expanded = expanded_level(min(len(one), len(two)), alpha)
    low, high = np.quantile(drawn, [expanded, 1 - expanded])
    return Interval(
        math.exp(value), math.exp(min(float(low), value)), math.exp(max(float(high), value)),
        min(len(one), len(two)),
    )  # fmt: skip


def expanded_level(processes: int, alpha: float) -> float:
    """Level at which a percentile interval of so many processes, trimmed, covers as Student's t at alpha."""
    n = processes - 2 * int(TRIMMED * processes)
    return float(ndtr(math.sqrt(n / (n - 1)) * stdtrit(n - 1, alpha)))


def judge(
    base: NDArray[np.float64],
    control: NDArray[np.float64],
    new: NDArray[np.float64],
    *,
    limit: float,
    look: int,
) -> Look:
    """Judge the values measured so far.

    Parameters
    ----------
    base, control, new : ndarray, shape (processes,)
        The base measured twice, and the new version, interleaved in time.
    limit : float
        Largest ratio that is allowed, above 1.
    look : int
        Number of this look, counted from 1.
    """
    measured = ratio(np.concatenate([base, control]), new, alpha=level(look))
    itself = ratio(base, control)
    if itself.high > limit or itself.low < 1 / limit:
        why = f"the base differs from itself by {itself.value:.3g}x [{itself.low:.3g}x, {itself.high:.3g}x]"
        return Look(measured, itself, State.INCONCLUSIVE, f"{why}: this machine cannot resolve {limit:g}x")
    if measured.low > limit:
        return Look(measured, itself, State.FAIL)
    if measured.high <= limit:
        return Look(measured, itself, State.PASS)
    return Look(measured, itself, State.INCONCLUSIVE, "the interval straddles the limit")


def typical(values: NDArray[np.float64]) -> float:
    """Trimmed geometric mean of values above zero, shape (processes,): the value reported of a side."""
    return math.exp(_trimmed(np.log(values)))


def _trimmed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean along the last axis without a fifth at each end."""
    cut, ordered = int(TRIMMED * values.shape[-1]), np.sort(values, axis=-1)
    mean: NDArray[np.float64] = ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1)
    return mean


def _means(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    return _trimmed(values[rng.integers(0, len(values), size=(RESAMPLES, len(values)))])
