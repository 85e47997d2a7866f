"""Real numbers a sample, compared with as many targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.task import OneOutput, Reading


class Regression(OneOutput):
    """An answer is what the output holds, float64 of shape (n, targets); a score is minus its error."""

    name = "regression"
    perfect = 0.0
    score_name = "mean absolute error"
    chance_name = "a constant answer has"

    def check(self, reading: Reading, shape: Sequence[int]) -> None:
        """Accept any shape."""

    def read(self, reading: Reading, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the values of each sample, shape (n, targets)."""
        return values.reshape(len(values), -1).astype(np.float64)

    def score(self, answers: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
        """Return minus the mean absolute error of each sample, -inf where it is not finite."""
        with np.errstate(all="ignore"):
            errors = np.abs(answers - _rows(labels)).mean(axis=1)
        return np.where(np.isfinite(errors), -errors, -np.inf)

    def same(self, answers: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.float64]:
        """Return 1 for equal values, else 0."""
        equal: NDArray[np.float64] = (answers == reference).all(axis=1).astype(np.float64)
        return equal

    def chance(self, labels: NDArray[Any]) -> NDArray[np.float64]:
        """Score the median of each target."""
        targets = _rows(labels)
        return self.score(np.median(targets, axis=0), targets)


def _rows(labels: NDArray[Any]) -> NDArray[np.float64]:
    """Targets, shape (n, targets)."""
    return labels.reshape(len(labels), -1).astype(np.float64)
