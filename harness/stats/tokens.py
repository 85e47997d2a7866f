"""What the numbers of tokens mean: perplexities and their ratio, with intervals over documents.

The tokens of a document are not independent of each other, so whole documents are resampled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.core.errors import DataError
from harness.stats.intervals import Interval, z_value
from harness.stats.sequences import mean_over_sequences

RESAMPLES = 1000
_SEED = 20261128  # fixed, so that a run that is judged twice gives the same bytes

Floats = npt.NDArray[np.float64]
Documents = npt.NDArray[np.int64]


def perplexity(log_probability: Floats, document: Documents, *, alpha: float = 0.05) -> Interval:
    """Return exp of the mean of -log p over tokens, with an interval over documents.

    Parameters
    ----------
    log_probability : ndarray, shape (t,)
        Of the token that follows; -inf makes the perplexity infinite.
    document : ndarray, shape (t,), int64
        Document of each token.
    """
    return _of_logarithms(-log_probability, document, alpha)


def perplexity_ratio(
    reference: Floats, log_probability: Floats, document: Documents, *, alpha: float = 0.05
) -> Interval:
    """Return the perplexity over that of the reference on the same tokens; above 1 it is worse.

    The interval is that of the mean difference of the logarithms, so it is paired: what makes a document hard
    for both cancels.

    Parameters
    ----------
    reference, log_probability : ndarray, shape (t,)
    document : ndarray, shape (t,), int64
    """
    if reference.shape != log_probability.shape:
        raise DataError(
            f"paired tokens have shapes {reference.shape} and {log_probability.shape}",
            cause="the two were not measured on the same tokens",
        )
    return _of_logarithms(reference - log_probability, document, alpha)


def _of_logarithms(logarithms: Floats, document: Documents, alpha: float) -> Interval:
    if not len(logarithms):
        return Interval(math.nan, 0.0, math.inf, 0)
    if np.isposinf(logarithms).any() and not np.isnan(logarithms).any():
        return Interval(math.inf, math.inf, math.inf, len(logarithms))
    mean = mean_over_sequences(logarithms, document, alpha=alpha)
    with np.errstate(over="ignore"):
        value, low, high = np.exp([mean.value, mean.low, mean.high])
    return Interval(float(value), float(low), float(high), mean.n)


def quantiles(
    values: Floats, document: Documents, levels: Sequence[float], *, alpha: float = 0.05, lowest: float = 0.0
) -> list[Interval]:
    """Return quantiles over tokens, with percentile bootstrap intervals that resample documents.

    Parameters
    ----------
    values : ndarray, shape (t,)
        inf counts as larger than every number.
    document : ndarray, shape (t,), int64
    levels : sequence of float
        In (0, 1). A quantile is the smallest value that at least this share of the tokens does not exceed.
    lowest : float
        The smallest value: the lower bound where there is one document.

    Notes
    -----
    Where all of as many independent tokens would lie below the quantile with a probability above `alpha`, the
    largest value that was seen bounds nothing, and the upper bound is infinite.
    """
    z_value(alpha)
    if np.isnan(values).any():
        raise DataError(f"{int(np.isnan(values).sum())} of {len(values)} tokens have no value")
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    _, index = np.unique(document, return_inverse=True)
    of_token = index.reshape(-1)[order]
    count, wanted = len(values), np.asarray(levels, np.float64)
    if not count:
        return [Interval(math.nan, lowest, math.inf, 0) for _ in levels]
    documents = int(of_token.max()) + 1
    places = _places(np.arange(1, count + 1), wanted)
    if documents == 1:
        return [Interval(float(value), lowest, math.inf, count) for value in ordered[places]]
    random = np.random.Generator(np.random.PCG64(_SEED))
    drawn = np.empty((RESAMPLES, len(wanted)))
    for resample in range(RESAMPLES):
        weights = np.bincount(random.integers(0, documents, documents), minlength=documents)
        drawn[resample] = ordered[_places(np.cumsum(weights[of_token]), wanted)]
    low, high = np.quantile(drawn, [alpha, 1 - alpha], axis=0, method="inverted_cdf")
    high = np.where(wanted**count > alpha, math.inf, high)
    value = ordered[places]
    return [
        Interval(float(one), min(float(one), float(below)), max(float(one), float(above)), count)
        for one, below, above in zip(value, low, high, strict=True)
    ]


def _places(cumulative: npt.NDArray[np.int64], levels: Floats) -> npt.NDArray[np.int64]:
    """Places of quantiles among sorted values with these cumulative weights, by the inverse of their CDF."""
    # A share that is a whole number of tokens must not be rounded up to the next.
    least = np.ceil(np.round(levels * cumulative[-1], 9))
    places: npt.NDArray[np.int64] = np.searchsorted(cumulative, np.maximum(least, 1))
    return places
