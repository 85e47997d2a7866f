"""Two versions measured side by side: the ratio over fresh processes, and how often one may look at it.

The unit of analysis is the process, and what is compared is the trimmed geometric mean over processes: the
fastest and the slowest fifth of each side are left out, because a machine that others use makes one process
in ten half as slow again, and a mean then tells no difference of a tenth apart (20 %: R. Wilcox,
"Introduction to Robust Estimation and Hypothesis Testing", 4th ed. (2017), section 3.3). The interval comes
from a bootstrap over processes, each side by itself, with the levels that make a percentile interval of few
units cover as Student's t does, by as many as are left (T. Hesterberg, "What teachers should know about the
bootstrap", The American Statistician 69 (2015), section 5.3.2, "expanded percentile interval").

A comparison that goes on until it is decided looks several times; look k spends alpha / 2^k, so that all
looks together err at most with probability alpha, however many there are (the union bound; spending
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
        The base's second half / its first: what the machine makes of no difference at all.
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
        raise UsageError(f"looks are counted from 1, and this is {look}")
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
        raise DataError("a ratio over processes needs two of each side")
    if not (np.isfinite(base).all() and np.isfinite(new).all() and (base > 0).all() and (new > 0).all()):
        raise DataError("a figure per process is not a finite number above zero")
    one, two = np.log(base), np.log(new)
    rng = np.random.Generator(np.random.PCG64(_SEED))
    value = float(_trimmed(two) - _trimmed(one))
    drawn = _means(two, rng) - _means(one, rng)
    n = min(len(part) - 2 * int(TRIMMED * len(part)) for part in (one, two))
    expanded = float(ndtr(math.sqrt(n / (n - 1)) * stdtrit(n - 1, alpha)))
    low, high = np.quantile(drawn, [expanded, 1 - expanded])
    return Interval(
        math.exp(value), math.exp(min(float(low), value)), math.exp(max(float(high), value)),
        min(len(one), len(two)),
    )  # fmt: skip


def judge(
    base: NDArray[np.float64],
    control: NDArray[np.float64],
    new: NDArray[np.float64],
    *,
    limit: float,
    look: int,
) -> Look:
    """Look at what was measured so far.

    Parameters
    ----------
    base, control, new : ndarray, shape (processes,)
        The base measured twice, and the new version, interleaved in time.
    limit : float
        Largest ratio that is allowed, above 1.
    look : int
        How many looks this makes, counted from 1.
    """
    found = ratio(np.concatenate([base, control]), new, alpha=level(look))
    itself = ratio(base, control)
    if itself.high > limit or itself.low < 1 / limit:
        why = f"the base differs from itself by {itself.value:.3g}x [{itself.low:.3g}x, {itself.high:.3g}x]"
        return Look(found, itself, State.INCONCLUSIVE, f"{why}: this machine cannot tell {limit:g}x")
    if found.low > limit:
        return Look(found, itself, State.FAIL)
    if found.high <= limit:
        return Look(found, itself, State.PASS)
    return Look(found, itself, State.INCONCLUSIVE, "the interval straddles the limit")


def typical(values: NDArray[np.float64]) -> float:
    """Trimmed geometric mean of figures above zero, shape (processes,): what a side is told as."""
    return math.exp(_trimmed(np.log(values)))


def _trimmed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean along the last axis without a fifth at each end."""
    cut, kept = int(TRIMMED * values.shape[-1]), np.sort(values, axis=-1)
    mean: NDArray[np.float64] = kept[..., cut : kept.shape[-1] - cut].mean(axis=-1)
    return mean


def _means(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    return _trimmed(values[rng.integers(0, len(values), size=(RESAMPLES, len(values)))])
