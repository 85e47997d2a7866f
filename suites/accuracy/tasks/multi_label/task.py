"""Several labels a sample, each with a score of its own (several sigmoids)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import TensorSpec
from harness.core.errors import DataError
from harness.core.task import NO_ANSWER, OneOutput, Reading, Threshold, has_one_axis


class MultiLabel(OneOutput):
    """An answer is 1 or 0 for each label, int8 of shape (n, labels); ``NO_ANSWER`` without a finite score.

    The score of a sample is the share of its labels that are right, so that the mean is 1 - Hamming loss.
    """

    name = "multi-label"
    threshold = Threshold.REQUIRED
    score_name = "label accuracy"
    chance_name = "the commonest answers have"

    def scores(self, spec: TensorSpec, threshold: float | None, options: Mapping[str, Any]) -> int | None:
        """Return the number of labels."""
        return spec.shape[-1] if spec.shape else None

    def check(self, reading: Reading, shape: Sequence[int]) -> None:
        """Check the shape of one sample of the output."""
        if not has_one_axis(shape):
            raise DataError(
                f"the output {reading.output} has shape {list(shape)} a sample, not one score for each label",
                next_step="set [model] output to the output with the scores",
            )

    def read(self, reading: Reading, values: NDArray[Any]) -> NDArray[np.int8]:
        """Return which labels each sample has."""
        self.check(reading, values.shape[1:])
        flat = values.reshape(len(values), -1)
        return np.where(np.isfinite(flat), flat > reading.threshold, NO_ANSWER).astype(np.int8)

    def score(self, answers: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
        """Return the share of right labels of each sample."""
        share: NDArray[np.float64] = (answers == labels).mean(axis=1)
        return share

    def same(self, answers: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.float64]:
        """Return the share of labels of each sample with the same answer."""
        share: NDArray[np.float64] = ((answers == reference) & (answers != NO_ANSWER)).mean(axis=1)
        return share

    def chance(self, labels: NDArray[Any]) -> NDArray[np.float64]:
        """Score the commonest answer to each label."""
        return self.score(2 * labels.mean(axis=0) > 1, labels)
