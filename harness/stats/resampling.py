"""Bootstrap intervals of several statistics of the same samples, from one set of resamples.

Resamples are kept as counts: how often each sample was drawn. A mean of a resample is then a product of
matrices, so that many columns cost little more than one, and all columns see the same draws, as columns of
the same samples must: the cells of one image under many corruptions rise and fall together.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from harness.stats.intervals import z_value

#: The 5 % quantile of so many has a standard error of 0.5 % in probability.
RESAMPLES = 2000
_SEED = 20261128  # fixed, so that a run that is judged twice gives the same bytes
#: So many units are drawn at most, whose counts take 32 MB.
MOST_UNITS = 2000

Floats = npt.NDArray[np.float64]


def resampled_means(columns: Floats) -> Floats:
    """Return the means of the columns in each resample of the rows.

    Parameters
    ----------
    columns : ndarray, shape (n, k)
        A row is a sample, or what a group of dependent samples adds up to.

    Returns
    -------
    ndarray, shape (RESAMPLES, k)
    """
    n = len(columns)
    whole = columns.mean(axis=0)
    around = _blocks(columns - whole)
    drawn: Floats = whole + _counts(len(around)) @ around / n
    return drawn


def _blocks(around: Floats) -> Floats:
    """Add up the rows of random blocks, where there are more than are drawn.

    Blocks are as independent as samples are, and a mean of so many of them has the same distribution.
    """
    n = len(around)
    if n <= MOST_UNITS:
        return around
    index = np.random.Generator(np.random.PCG64(_SEED)).permutation(n) % MOST_UNITS
    return np.stack([np.bincount(index, weights=column) for column in around.T], axis=1)


def bca(draws: Floats, value: float, influence: Floats, *, alpha: float = 0.05) -> tuple[float, float]:
    """Return the bounds of BCa, each at level `alpha`; they contain the value.

    B. Efron, "Better bootstrap confidence intervals", JASA 82 (1987), with the acceleration
    ``sum u³ / (6 (sum u²)^1.5)`` of the influence u of each sample.

    Parameters
    ----------
    draws : ndarray, shape (resamples,)
        The statistic of each resample; may be infinite.
    value : float
    influence : ndarray, shape (n,)
        How far each sample moves the statistic, to first order, up to a factor.
    """
    z, square = z_value(alpha), float(np.square(influence).sum())
    if square == 0.0 or (draws[0] == draws).all():
        return value, value
    tie = 1e-12 * max(1.0, abs(value))
    below = np.count_nonzero(draws < value - tie) + 0.5 * np.count_nonzero(np.abs(draws - value) <= tie)
    bias = float(ndtri(np.clip(below / len(draws), 1 / len(draws), 1 - 1 / len(draws))))
    acceleration = float((influence**3).sum()) / (6 * square**1.5)
    shifted = bias + np.array([-z, z])
    levels = ndtr(bias + shifted / np.maximum(1 - acceleration * shifted, 1e-3))
    low, high = np.quantile(draws, levels, method="nearest")  # between infinite draws there is nothing
    return min(float(low), value), max(float(high), value)


def least_width(n: int, *, alpha: float = 0.05) -> float:
    """Return the share of samples that may do what none of n did: ``z² / (n + z²)``.

    It is the bound of Wilson and Tango for no event in n. A bootstrap cannot draw what was not seen.
    """
    z2 = z_value(alpha) ** 2
    return z2 / (n + z2) if n else math.inf


@lru_cache(maxsize=2)
def _counts(units: int) -> Floats:
    """How often each unit is drawn in each resample, shape (RESAMPLES, units)."""
    rng = np.random.Generator(np.random.PCG64(_SEED))
    drawn = rng.integers(0, units, size=(RESAMPLES, units)) + units * np.arange(RESAMPLES)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=RESAMPLES * units)
    return counts.reshape(RESAMPLES, units).astype(np.float64)
