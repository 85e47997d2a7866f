"""A vector a sample: samples with the same label are to be near each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.core.task import NO_ANSWER, OneOutput, Reading, has_one_axis

#: Similarities that agree to so many digits are equal: a matrix product rounds by the position in the matrix.
DIGITS = 9
_CHUNK = 1 << 22  # similarities that are held at once


class Embedding(OneOutput):
    """An answer is a vector of length 1, float64 of shape (n, d); NaN where it has no direction.

    The score of a sample is 1 if its nearest neighbour among the others, by cosine, has its label (recall@1).
    """

    name = "embedding"
    compares_samples = True
    score_name = "recall@1"
    chance_name = "shuffled labels have"

    def check(self, reading: Reading, shape: Sequence[int]) -> None:
        """Check the shape of one sample of the output."""
        if not has_one_axis(shape) or math.prod(shape) < 2:
            raise DataError(
                f"the output {reading.output} has shape {list(shape)} a sample, not one vector",
                next_step="set [model] output to the output with the embedding",
            )

    def read(self, reading: Reading, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the direction of each sample."""
        self.check(reading, values.shape[1:])
        flat = values.reshape(len(values), -1).astype(np.float64)
        with np.errstate(all="ignore"):
            unit: NDArray[np.float64] = flat / np.sqrt(np.square(flat).sum(axis=1, keepdims=True))
        return unit

    def score(self, answers: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
        """Return 1 where the nearest neighbour has the label, else 0."""
        return recalled(neighbours(answers, 1), labels).astype(np.float64)

    def same(self, answers: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.float64]:
        """Return 1 where both have the same nearest neighbour, else 0."""
        one, other = (neighbours(vectors, 1)[:, 0] for vectors in (answers, reference))
        equal: NDArray[np.float64] = ((one == other) & (one != NO_ANSWER)).astype(np.float64)
        return equal

    def chance(self, labels: NDArray[Any]) -> NDArray[np.float64]:
        """Return the share of the other samples with the label of each: recall@1 of shuffled labels."""
        _, where, counts = np.unique(labels, return_inverse=True, return_counts=True)
        share: NDArray[np.float64] = (counts[where] - 1) / max(1, len(labels) - 1)
        return share


def neighbours(vectors: NDArray[Any], k: int) -> NDArray[np.int64]:
    """Return the k nearest other samples of each, the nearest first; of equally near ones the first.

    Parameters
    ----------
    vectors : ndarray, shape (n, d)
        Of length 1; a row with NaN is nobody's neighbour and has none.

    Returns
    -------
    ndarray, shape (n, k), int64
        ``NO_ANSWER`` where there are fewer.
    """
    n = len(vectors)
    has_none = ~np.isfinite(vectors).all(axis=1)
    whole = np.where(has_none[:, None], 0.0, vectors)
    nearest = np.full((n, k), NO_ANSWER, np.int64)
    step = max(1, _CHUNK // max(1, n))
    for start in range(0, n, step):
        similar = np.round(whole[start : start + step] @ whole.T, DIGITS)
        rows = np.arange(len(similar))
        similar[:, has_none] = -np.inf
        similar[has_none[start : start + step]] = -np.inf
        similar[rows, start + rows] = -np.inf
        for place in range(k):
            best = similar.argmax(axis=1)
            exists = np.isfinite(similar[rows, best])
            nearest[start : start + step, place] = np.where(exists, best, NO_ANSWER)
            similar[rows, best] = -np.inf
    return nearest


def recalled(nearest: NDArray[np.int64], labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return whether one of the neighbours of each sample has its label, shape (n,).

    Parameters
    ----------
    nearest : ndarray, shape (n, k), int64
        Of `neighbours`.
    labels : ndarray, shape (n,)
    """
    equal = (labels[nearest] == labels[:, None]) & (nearest != NO_ANSWER)
    hits: NDArray[np.bool_] = equal.any(axis=1)
    return hits
