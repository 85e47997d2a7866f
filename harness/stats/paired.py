"""Paired comparisons: what a variant lost against its reference on the very same samples.

A flip is harmful where the reference was right and the variant is wrong, and beneficial the other way round.
Throughout, ``b`` counts beneficial flips, ``c`` harmful ones, ``n`` the pairs, and the loss is (c - b) / n, a
fraction: above zero where the variant is worse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, ndtri

from harness.core.errors import DataError, UsageError
from harness.stats.intervals import Interval, clustered_mean, wilson, wilson_in_groups, z_value

_NEGLIGIBLE = 1e-9  # a difference of losses that no sample will ever show


@dataclass(frozen=True, slots=True)
class Flips:
    """How a variant's right and wrong answers differ from its reference's.

    Attributes
    ----------
    n, b, c : int
        Pairs, beneficial flips, harmful flips.
    loss : Interval
        (c - b) / n with Tango's interval.
    harmful, beneficial : Interval
        c / n and b / n with Wilson's interval.
    mcnemar_p : float
        Exact two-sided p of no difference.
    """

    n: int
    b: int
    c: int
    loss: Interval
    harmful: Interval
    beneficial: Interval
    mcnemar_p: float


def flips(
    reference_right: npt.NDArray[np.bool_], variant_right: npt.NDArray[np.bool_], *, alpha: float = 0.05
) -> Flips:
    """Compare two vectors of right answers, shape (n,), bool, on the same samples in the same order."""
    if reference_right.shape != variant_right.shape or reference_right.ndim != 1:
        raise DataError(
            f"paired answers have shapes {reference_right.shape} and {variant_right.shape}",
            cause="the two were not measured on the same samples",
        )
    n = reference_right.size
    c = int(np.count_nonzero(reference_right & ~variant_right))
    b = int(np.count_nonzero(~reference_right & variant_right))
    harmful, beneficial = wilson(c, n, alpha=alpha), wilson(b, n, alpha=alpha)
    return Flips(n, b, c, tango(b, c, n, alpha=alpha), harmful, beneficial, mcnemar_exact_p(b, c))


def tango(b: int, c: int, n: int, *, alpha: float = 0.05) -> Interval:
    """Tango's score interval of the loss (c - b) / n of paired proportions.

    The bounds are the losses d at which the score statistic
    ``(c - b - n d) / sqrt(n (2 q + d (1 - d)))`` is ±z, where q, the likeliest probability of a beneficial
    flip given d, is the larger root of ``2 n q² + (d (2 n + b - c) - b - c) q - b d (1 - d) = 0``. Solved by
    bisection to the last bits of a float. Without any disagreement the upper bound is z²/(n + z²).

    Source: T. Tango, "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", Statistics in Medicine 17 (1998) 891-908.
    """
    z = z_value(alpha)
    if min(b, c) < 0 or b + c > n:
        raise UsageError(f"{b} beneficial and {c} harmful flips in {n} pairs cannot be")
    if n == 0:
        return Interval(math.nan, -1.0, 1.0, 0)
    # Swapping b and c turns the loss round, and its lower bound into an upper one.
    return Interval((c - b) / n, -_tango_high(c, b, n, z), _tango_high(b, c, n, z), n)


def flips_in_pairs(
    reference_right: npt.NDArray[np.bool_],
    variant_right: npt.NDArray[np.bool_],
    effect: float,
    *,
    alpha: float = 0.05,
) -> Flips:
    """`flips` of samples that are not independent: as many as n / `effect` would tell as much.

    The intervals are those of so many samples with the same shares, harmful flips rounded up.

    Source: L. Kish, "Survey sampling" (1965), section 8.2, the design effect.

    Parameters
    ----------
    effect : float
        Variance of a share, divided by that of independent samples; at least 1.
    """
    counted = flips(reference_right, variant_right, alpha=alpha)
    n, b, c = int(counted.n / effect), int(counted.b / effect), math.ceil(counted.c / effect)
    fewer = tango(b, min(c, n - b), n, alpha=alpha)
    value = counted.loss.value
    loss = Interval(value, min(value, fewer.low), max(value, fewer.high), counted.n)
    harmful, beneficial = (
        wilson_in_groups(count, counted.n, effect, alpha=alpha) for count in (counted.c, counted.b)
    )
    return Flips(counted.n, counted.b, counted.c, loss, harmful, beneficial, counted.mcnemar_p)


def mcnemar_exact_p(b: int, c: int) -> float:
    """Two-sided exact p of harmful and beneficial flips being equally likely; 1 without flips.

    Twice the binomial tail at one half, at most 1. Source: Q. McNemar, Psychometrika 12 (1947), in the exact
    conditional form.
    """
    return min(1.0, 2 * float(bdtr(min(b, c), b + c, 0.5)))


def smallest_decidable_margin(n: int, *, alpha: float = 0.05) -> float:
    """Bound of the loss for ``n`` pairs without any disagreement: z²/(n + z²), z² = 2.706 at alpha 0.05.

    No margin at or below it can be passed by a variant that answers as its reference does.
    """
    z2 = z_value(alpha) ** 2
    return z2 / (n + z2)


def can_ever_pass(n: int, margin: float, *, alpha: float = 0.05) -> bool:
    """Whether ``n`` pairs without any disagreement would prove a loss below ``margin`` (a fraction)."""
    return smallest_decidable_margin(n, alpha=alpha) < margin


def samples_to_decide(
    b: int, c: int, n: int, margin: float, *, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """How many samples in all would decide whether the loss is below ``margin``, if these flips are typical.

    ``((z_alpha + z_power) / (margin - d))² (f - d²)`` with d the loss and f = (b + c)/n the share of flips: a
    repetition with so many samples decides with probability ``power``. Never fewer than what a margin of this
    size needs without any disagreement. Few flips are seen where this is asked: it is a plan, no promise.

    Source: normal theory with the variance of a paired difference, f - d², as in R. Connor, "Sample size for
    testing differences in proportions for the paired-sample design", Biometrics 43 (1987).

    Returns
    -------
    int or None
        ``n`` where these samples decide already, None where the loss is just the margin.
    """
    interval = tango(b, c, n, alpha=alpha)
    if interval.high < margin or interval.low > margin:
        return n
    loss, share = ((c - b) / n, (b + c) / n) if n else (0.0, 0.0)
    if abs(margin - loss) < _NEGLIGIBLE:
        return None
    z = z_value(alpha)
    needed = math.ceil(((z + float(ndtri(power))) / (margin - loss)) ** 2 * (share - loss * loss))
    least = math.floor(z * z * (1 - abs(margin)) / abs(margin)) + 1 if abs(margin) > _NEGLIGIBLE else 0
    return max(n + 1, needed, least)


def paired_mean_difference(
    reference: npt.NDArray[Any], variant: npt.NDArray[Any], *, alpha: float = 0.05, reach: float | None = None
) -> Interval:
    """Mean of ``variant - reference`` over samples, with `clustered_mean`'s bootstrap interval.

    Parameters
    ----------
    reference, variant : ndarray, shape (n_samples,) or (n_samples, n_cases)
        A loss of each sample (such as its absolute error), finite, lower is better.
    reach : float, optional
        The largest absolute difference that a sample could show, where it is known; see `clustered_mean`.
    """
    if reference.shape != variant.shape:
        raise DataError(
            f"paired losses have shapes {reference.shape} and {variant.shape}",
            cause="the two were not measured on the same samples",
        )
    difference = variant.astype(np.float64) - reference.astype(np.float64)
    return clustered_mean(difference, alpha=alpha, reach=reach)


@lru_cache(maxsize=4096)  # hundreds of cases of a run have the same few flips
def _tango_high(b: int, c: int, n: int, z: float) -> float:
    """Where the score statistic falls to -z: above the estimate it decreases, and at 1 it is below."""

    def above(d: float) -> bool:
        """Whether the statistic at ``d`` is still above -z, without dividing by a variance of zero."""
        spread = _tango_spread(b, c, n, d) if d >= 0 else _tango_spread(c, b, n, -d)
        return (c - b) - n * d + z * spread > 0

    low, high = (c - b) / n, 1.0
    while low < (middle := 0.5 * (low + high)) < high:
        low, high = (middle, high) if above(middle) else (low, middle)
    return high


def _tango_spread(b: int, c: int, n: int, d: float) -> float:
    """Square root of n (2 q + d (1 - d)) for d >= 0, where none of its terms is below zero."""
    linear = d * (2 * n + b - c) - (b + c)
    q = (math.sqrt(linear * linear + 8 * n * b * d * (1 - d)) - linear) / (4 * n)
    return math.sqrt(n * (2 * q + d * (1 - d)))
