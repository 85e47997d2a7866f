"""Statistics of a whole set of samples as means of one value a sample (linearization).

An AUC or an F1 is no mean over samples. Its *values* here are numbers, one a sample, whose mean is the
statistic and whose scatter is, to first order, that of the statistic (its influence function). So two models
are compared by the differences of their values on the same samples, and cases are combined sample by sample.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from harness.core.ranks import mid_ranks, placements, require_both, worst
from harness.core.task import NO_ANSWER
from harness.stats.intervals import Interval, clustered_mean, z_value

Values = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
#: False positive rate up to which the partial AUC is taken.
MOST_FPR = 0.1


def auc(scores: npt.NDArray[Any], positive: Flags) -> Values:
    """Area under the ROC curve: values, shape (n,).

    Source: E. DeLong, D. DeLong and D. Clarke-Pearson, "Comparing the areas under two or more correlated
    receiver operating characteristic curves", Biometrics 44 (1988).

    Parameters
    ----------
    scores : ndarray, shape (n,)
        Higher for the positive samples. One that is no finite number is at the wrong end of the order.
    positive : ndarray, shape (n,), bool
        Both kinds occur.
    """
    return of_placements(placements(scores, positive), positive)


def partial_auc(scores: npt.NDArray[Any], positive: Flags, *, most: float = MOST_FPR) -> Values:
    """Area under the ROC curve up to a false positive rate: values, shape (n,).

    Standardized, so that 0.5 is chance and 1 perfect. The interval is too narrow where fewer than about five
    negative samples lie in the range.

    Sources: D. McClish, "Analyzing a portion of the ROC curve", Medical Decision Making 9 (1989), which
    scikit-learn's ``roc_auc_score(max_fpr=…)`` follows; the influence function is that of an integral up to a
    quantile, as in L. Dodd and M. Pepe, "Partial AUC estimation and regression", Biometrics 59 (2003).
    """
    require_both(positive)
    ordered = worst(scores, positive)
    high, low = ordered[positive], ordered[~positive]
    area, weights, cut = _partial_area(high, low, most)
    # Of each positive sample: the negative ones in the range that lie below it; ties count half.
    order = np.argsort(low, kind="stable")
    heaped = np.concatenate([[0.0], np.cumsum(weights[order])]) / len(low)
    below, upto = (np.searchsorted(low[order], high, side) for side in ("left", "right"))
    of_high = (heaped[below] + heaped[upto]) / 2
    # Of each negative sample: the share of positive ones above it, less that at the end of the range.
    ordered_high = np.sort(high)
    below, upto = (np.searchsorted(ordered_high, low, side) for side in ("left", "right"))
    of_low = weights * (1 - (below + upto) / (2 * len(high)) - cut)
    values = np.empty(len(ordered))
    for kind, part in ((positive, of_high), (~positive, of_low)):
        values[kind] = area + (part - part.mean()) * (len(ordered) / len(part))
    least, full = most**2 / 2, most
    return 0.5 * (1 + (values - least) / (full - least))


def _partial_area(high: Values, low: Values, most: float) -> tuple[float, Values, float]:
    """Return the area up to the rate, how much of each negative sample is in the range, and the TPR there."""
    thresholds = np.unique(np.concatenate([high, low]))[::-1]
    points = [
        np.concatenate([[0], len(part) - np.searchsorted(np.sort(part), thresholds, "left")]) / len(part)
        for part in (low, high)
    ]
    fpr, tpr = points
    stop = int(np.searchsorted(fpr, most, "right"))
    cut = float(np.interp(most, fpr, tpr)) if stop < len(fpr) else 1.0
    x, y = np.append(fpr[:stop], most), np.append(tpr[:stop], cut)
    area = float(((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2).sum())
    # Where the range ends within samples of one score, each of them is in it by the same share.
    _, where, counts = np.unique(-low, return_inverse=True, return_counts=True)
    before = np.cumsum(counts) - counts
    share = np.clip((most * len(low) - before) / counts, 0.0, 1.0)
    return area, share[where], cut


def of_placements(parts: Values, positive: Flags) -> Values:
    """Values of a statistic that is the mean of `parts` over each of two kinds of samples."""
    value = float(parts[positive].mean())
    weights = np.where(positive, len(parts) / positive.sum(), len(parts) / (~positive).sum())
    means = np.where(positive, value, parts[~positive].mean())
    values: Values = value + (parts - means) * weights
    return values


def stratified_mean(values: Values, positive: Flags, *, alpha: float = 0.05, lowest: float = 0.0) -> Interval:
    """Mean of the values of a statistic of two kinds of samples, or of their paired differences.

    ``mean ± t s``, s² the sum of the variances of both kinds (DeLong's), t of Satterthwaite's degrees of
    freedom (E. Brunner and U. Munzel, Biometrical Journal 42 (2000)). It reaches at least z²/(m + z²) to
    either side, m the samples of the rarer kind: what none of m samples showed may hold for so many (Tango's
    bound).

    Parameters
    ----------
    lowest : float
        Least possible value: 0 of a statistic, -1 of a difference.
    """
    z = z_value(alpha)
    n, value = len(values), float(values.mean())
    kinds = [values[positive], values[~positive]]
    least = min(map(len, kinds))
    half = z * z / (least + z * z)
    if least < 2:
        return Interval(value, lowest, 1.0, n)
    shares = [(len(part) / n) ** 2 * float(part.var(ddof=1)) / len(part) for part in kinds]
    variance = sum(shares)
    if variance > 0:
        freedom = variance**2 / sum(
            share**2 / (len(part) - 1) for share, part in zip(shares, kinds, strict=True)
        )
        half = max(half, float(stdtrit(freedom, 1 - alpha)) * math.sqrt(variance))
    return Interval(value, max(lowest, value - half), min(1.0, value + half), n)


def rank_correlation(one: npt.NDArray[Any], other: npt.NDArray[Any], *, alpha: float = 0.05) -> Interval:
    """Spearman's rank correlation, equal values sharing their mean rank; NaN where one does not vary.

    Interval: Fisher's z with the variance (1 + r²/2)/(n - 3) of D. Bonett and T. Wright, "Sample size
    requirements for estimating Pearson, Kendall and Spearman correlations", Psychometrika 65 (2000).

    Parameters
    ----------
    one, other : ndarray, shape (n,)
        A value that is no finite number is at the wrong end of the order.
    """
    n = len(one)
    left, right = mid_ranks(_opposed(one, other)), mid_ranks(_opposed(other, one))
    left, right = left - left.mean(), right - right.mean()
    scale = math.sqrt(float(np.square(left).sum()) * float(np.square(right).sum()))
    if not scale:
        return Interval(math.nan, -1.0, 1.0, n)
    value = min(1.0, max(-1.0, float((left * right).sum()) / scale))
    if n < 4 or abs(value) == 1:
        return Interval(value, -1.0 if n < 4 else value, 1.0 if n < 4 else value, n)
    half = z_value(alpha) * math.sqrt((1 + value**2 / 2) / (n - 3))
    return Interval(value, math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half), n)


def _opposed(values: npt.NDArray[Any], others: npt.NDArray[Any]) -> Values:
    """Return the values, those that are no finite numbers at the end where the others are not."""
    finite = others[np.isfinite(others)]
    return worst(values, others > (np.median(finite) if finite.size else 0.0))


def micro_f1(answers: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Values:
    """F1 over all labels of all samples, 2 TP / (2 TP + FP + FN): values, shape (n,).

    Parameters
    ----------
    answers : ndarray, shape (n, k)
        1, 0, or ``NO_ANSWER``, which is wrong.
    labels : ndarray, shape (n, k)
        1 or 0; at least one is 1.
    """
    hits, errors = _counts(answers, labels)
    return _ratio(2.0 * hits.sum(axis=1), (2.0 * hits + errors).sum(axis=1))


def macro_f1(answers: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Values:
    """Mean F1 of the labels that occur: values, shape (n,). Of a label with few samples they are rough."""
    occurs = labels.any(axis=0)
    hits, errors = _counts(answers[:, occurs], labels[:, occurs])
    columns = zip(hits.T, errors.T, strict=True)
    values: Values = np.mean([_ratio(2.0 * hit, 2.0 * hit + error) for hit, error in columns], axis=0)
    return values


def mean_of(values: Values, *, alpha: float = 0.05, lowest: float = 0.0) -> Interval:
    """Mean of the values of a statistic, or of their paired differences, with `clustered_mean`'s interval.

    It reaches at least z²/(n + z²) to either side, as that of n samples that are all right.

    Parameters
    ----------
    lowest : float
        Least possible value: 0 of a statistic, -1 of a difference.
    """
    interval = clustered_mean(values, alpha=alpha)
    z = z_value(alpha)
    half = z * z / (interval.n + z * z)
    low, high = min(interval.low, interval.value - half), max(interval.high, interval.value + half)
    return Interval(interval.value, max(lowest, low), min(1.0, high), interval.n)


def _counts(answers: npt.NDArray[Any], labels: npt.NDArray[Any]) -> tuple[Flags, Flags]:
    """Return where a label is answered rightly, and where there is an error, shape (n, k)."""
    return (answers == 1) & (labels == 1), (answers != labels) | (answers == NO_ANSWER)


def _ratio(above: Values, below: Values) -> Values:
    """Values of the ratio of two sums (W. Cochran, "Sampling techniques", 1977, section 6.3)."""
    value = above.sum() / below.sum()
    values: Values = value + (above - value * below) / below.mean()
    return values
