"""Whether, and from how many samples on, a change of a distribution is noticed without labels.

Each test compares reference samples with as many new ones. The number that is needed is that at which the
test at level 5 % notices a change of the size that was measured with 95 % power.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc, chdtri, chndtrinc, kolmogi, kolmogorov

from harness.stats.intervals import z_value

Floats = npt.NDArray[np.float64]

ALPHA, POWER = 0.05, 0.95
#: Bins of the population stability index, each with as many reference samples.
PSI_BINS = 10
#: The kernel compares so many samples a side at most: its cost is quadratic.
MOST_COMPARED = 400
PERMUTATIONS = 200
_SEED = 20261128  # fixed, so that a run that is judged twice gives the same bytes


@dataclass(frozen=True, slots=True)
class Change:
    """What one test says of a change.

    Parameters
    ----------
    effect : float
        The size of the change, in the measure of the test; of several columns that of the clearest one.
    p : float
        Of no change, corrected for several columns.
    samples : float
        Needed a side; NaN where the test does not notice the change.
    columns : tuple of int
        Those that changed (of Holm's procedure); empty for a test of all together.
    """

    effect: float
    p: float
    samples: float
    columns: tuple[int, ...] = ()


def kolmogorov_smirnov(reference: Floats, other: Floats) -> Change:
    """Compare each column by the test of Kolmogorov and Smirnov; S. Holm's procedure over columns (1979).

    The effect is D, the largest distance of two distribution functions. Where it is, each function of n
    samples errs by ``F (1 - F) / n``, so ``n = ((c sqrt(2) + z sqrt(F (1 - F) + G (1 - G))) / D)²`` notices
    it: the supremum is at least as large as that, so that the power is at least what was asked for. A
    supremum over many places is too large by about a standard error, which is taken off D before.

    Parameters
    ----------
    reference, other : ndarray, shape (n, d), (m, d)
    """
    n, m, d = len(reference), len(other), reference.shape[1]
    distances, shares = zip(*(_distance(one, two) for one, two in _columns(reference, other)), strict=True)
    p = kolmogorov(np.sqrt(n * m / (n + m)) * np.array(distances))
    clearest = int(np.argmin(p - 1e-12 * np.array(distances)))
    changed = _holm(p)
    needed = math.nan
    if changed:
        first, second = (share * (1 - share) for share in shares[clearest])
        distance = distances[clearest] - math.sqrt(first / n + second / m)
        wanted = float(kolmogi(ALPHA / d)) * math.sqrt(2) + z_value(1 - POWER) * math.sqrt(first + second)
        needed = (wanted / distance) ** 2 if distance > 0 else math.nan
    return Change(distances[clearest], min(1.0, d * float(p.min())), _whole(needed), changed)


def population_stability(reference: Floats, other: Floats) -> Change:
    """Compare each column by the population stability index, over tenths of the reference.

    ``PSI = sum over bins of (p - q) ln(p / q)``, p and q the shares of both sides, each count half a sample
    larger. Without a change ``PSI / (1/n + 1/m)`` has a chi-square distribution: B. Yurdakul and J. Naranjo,
    "Statistical properties of the population stability index", Journal of Risk Model Validation 14 (2020);
    with one it is noncentral by as much as the change adds. The effect is without what chance adds to it.

    Parameters
    ----------
    reference, other : ndarray, shape (n, d), (m, d)
    """
    n, m, d = len(reference), len(other), reference.shape[1]
    each = 1 / n + 1 / m
    tested = [_stability(one, two) for one, two in _columns(reference, other)]
    p = np.array([float(chdtrc(max(1, df), index / each)) if df else 1.0 for index, df in tested])
    excess = [index - df * each for index, df in tested]
    clearest = int(np.argmin(p - 1e-12 * np.array(excess)))
    changed = _holm(p)
    needed, df = math.nan, tested[clearest][1]
    if changed and excess[clearest] > 0:
        noncentral = float(chndtrinc(chdtri(df, ALPHA / d), df, 1 - POWER))
        needed = 2 * noncentral / excess[clearest]
    return Change(max(0.0, excess[clearest]), min(1.0, d * float(p.min())), _whole(needed), changed)


def mean_discrepancy(reference: Floats, other: Floats) -> Change:
    """Compare all columns together by the maximum mean discrepancy with a Gaussian kernel.

    The width of the kernel is the median distance of two samples; the level is that of a permutation of the
    sides. A. Gretton et al., "A kernel two-sample test", JMLR 13 (2012). The effect is the unbiased estimate
    of MMD², at least 0. With n samples a side it scatters by ``sqrt(V / n)``, and its level without a change
    falls as ``q / n`` (D. Sutherland et al., "Generative models and model criticism via optimized maximum
    mean discrepancy", ICLR 2017), so ``n MMD² - z sqrt(n V) = q`` gives the number.

    Parameters
    ----------
    reference, other : ndarray, shape (n, d), (m, d)
        Of the longer side the first are compared, and at most `MOST_COMPARED`.
    """
    n = min(len(reference), len(other), MOST_COMPARED)
    both = np.concatenate([reference[:n], other[:n]])
    squares = np.square(both).sum(axis=1)
    distances = np.maximum(0.0, squares[:, None] + squares - 2 * both @ both.T)
    width = float(np.median(distances[np.triu_indices(2 * n, 1)]))
    kernel = np.exp(-distances / (width or 1.0))
    np.fill_diagonal(kernel, 0.0)
    rng = np.random.default_rng(_SEED)
    signs = np.tile(np.repeat([1.0, -1.0], n), (PERMUTATIONS + 1, 1))
    signs[1:] = rng.permuted(signs[1:], axis=1)
    within = ((signs @ kernel) * signs).sum(axis=1)  # both insides, less both halves of the outside
    # The two insides have n (n - 1) pairs each, the outside n²: their sum is the same for each permutation.
    total = float(kernel.sum())
    inside, outside = (total + within) / 2, (total - within) / 2
    values = inside / (n * (n - 1)) - outside / (n * n)
    value, level = float(values[0]), float(np.quantile(values[1:], 1 - ALPHA))
    p = (1 + int(np.count_nonzero(values[1:] >= value))) / (1 + PERMUTATIONS)
    needed = math.nan
    if p <= ALPHA and value > 0:
        x, y, across = kernel[:n, :n], kernel[n:, n:], kernel[:n, n:]
        # 4 Var of what one pair of samples (x_i, y_i) contributes.
        h = x.mean(axis=1) + y.mean(axis=1) - across.mean(axis=1) - across.mean(axis=0)
        spread = z_value(1 - POWER) * 2 * float(h.std(ddof=1))
        root = (spread + math.sqrt(spread**2 + 4 * value * max(0.0, level * n))) / (2 * value)
        needed = root**2
    return Change(max(0.0, value), p, _whole(needed))


def _columns(reference: Floats, other: Floats) -> list[tuple[Floats, Floats]]:
    return list(zip(reference.T, other.T, strict=True))


def _distance(one: Floats, other: Floats) -> tuple[float, tuple[float, float]]:
    """Largest distance of two distribution functions, and both there."""
    places = np.sort(np.concatenate([one, other]))
    first, second = (
        np.searchsorted(np.sort(values), places, side="right") / len(values) for values in (one, other)
    )
    at = int(np.abs(first - second).argmax())
    return float(abs(first[at] - second[at])), (float(first[at]), float(second[at]))


def _stability(one: Floats, other: Floats) -> tuple[float, int]:
    """Population stability index, and its degrees of freedom."""
    edges = np.unique(np.quantile(one, np.arange(1, PSI_BINS) / PSI_BINS))
    counts = [
        np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1) + 0.5
        for values in (one, other)
    ]
    p, q = (count / count.sum() for count in counts)
    return float(((p - q) * np.log(p / q)).sum()), len(edges)


def _holm(p: Floats) -> tuple[int, ...]:
    """Places whose hypothesis of no change is rejected."""
    order = np.argsort(p, kind="stable")
    rejected = p[order] <= ALPHA / (len(p) - np.arange(len(p)))
    count = len(p) if rejected.all() else int(rejected.argmin())
    return tuple(sorted(order[:count].tolist()))


def _whole(samples: float) -> float:
    return float(max(2, math.ceil(samples))) if math.isfinite(samples) else math.nan
