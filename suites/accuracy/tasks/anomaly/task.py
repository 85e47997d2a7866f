"""One score a sample that is higher for anomalies: only the order of the samples counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.core.ranks import mid_ranks, placements
from harness.core.task import OneOutput, Reading


class Anomaly(OneOutput):
    """An answer is the score, float64; NaN where it is not a finite number.

    The mean score of samples is the area under the ROC curve (AUC).
    """

    name = "anomaly"
    compares_samples = True
    reduces = True
    score_name = "AUC"
    chance_name = "one score for all samples has"

    def check(self, reading: Reading, shape: Sequence[int]) -> None:
        """Check the shape of one sample of the output."""
        if math.prod(shape) != 1:
            raise DataError(
                f"the output {reading.output} has shape {list(shape)} a sample, not one anomaly score",
                next_step="set [model] output to the output with that score",
            )

    def read(self, reading: Reading, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the score of each sample."""
        self.check(reading, values.shape[1:])
        flat = values.reshape(len(values)).astype(np.float64)
        return np.where(np.isfinite(flat), flat, np.nan)

    def score(self, answers: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
        """Return the place of each sample among those of the other kind; their mean is the AUC.

        NaN where there are no anomalies, or no normal samples.
        """
        positive = labels == 1
        if positive.all() or not positive.any():
            return np.full(len(labels), np.nan)
        return placements(answers, positive)

    def same(self, answers: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.float64]:
        """Return 1 minus how far each sample moved in the order, as a share of the samples."""
        one, other = (mid_ranks(scores) for scores in (answers, reference))
        answered = np.isfinite(answers) & np.isfinite(reference)
        return np.where(answered, 1 - np.abs(one - other) / max(1, len(one) - 1), 0.0)

    def chance(self, labels: NDArray[Any]) -> NDArray[np.float64]:
        """Return the AUC of one score for all samples, 0.5."""
        return np.full(len(labels), 0.5)
