"""Whether two sets of vectors of the same samples order the pairs of samples alike."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from harness.stats import linear
from harness.stats.intervals import Interval, z_value

#: Pairs that are compared at most.
MOST_PAIRS = 100_000
#: Groups of samples of which each is left out once.
GROUPS = 20
_SEED = 20261128  # fixed, so that a run that is judged twice gives the same bytes

Floats = npt.NDArray[np.float64]


def rank_correlation(one: Floats, other: Floats, *, alpha: float = 0.05) -> Interval:
    """Return Spearman's correlation of the cosines of pairs of samples, in two sets of vectors.

    Parameters
    ----------
    one, other : ndarray, shape (n, d), (n, e)
        Vectors of length 1 of the same n samples.

    Notes
    -----
    Pairs share samples, so they are not independent: the interval is that of the jackknife that leaves out a
    group of samples with all of its pairs, by Student's t: J. Shao and D. Tu, "The jackknife and bootstrap"
    (1995), section 2.3. Of many samples, so many random pairs are compared.
    """
    z_value(alpha)
    first, second = _pairs(len(one))
    cosines = [np.einsum("ij,ij->i", y[first], y[second]) for y in (one, other)]
    value = linear.rank_correlation(*cosines).value
    if math.isnan(value):  # all pairs are equally alike
        return Interval(value, -1.0, 1.0, len(one))
    group = np.random.default_rng(_SEED).permutation(len(one)) % GROUPS
    left = []
    for index in range(GROUPS):
        stays = (group[first] != index) & (group[second] != index)
        left.append(linear.rank_correlation(*(values[stays] for values in cosines)).value)
    spread = math.sqrt((GROUPS - 1) / GROUPS * float(np.square(np.array(left) - np.mean(left)).sum()))
    half = float(stdtrit(GROUPS - 1, 1 - alpha)) * spread
    return Interval(value, max(-1.0, value - half), min(1.0, value + half), len(one))


def _pairs(count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    if count * (count - 1) // 2 <= MOST_PAIRS:
        first, second = np.triu_indices(count, 1)
        return first, second
    random = np.random.default_rng(_SEED)
    first = random.integers(0, count, MOST_PAIRS)
    return first, (first + random.integers(1, count, MOST_PAIRS)) % count
