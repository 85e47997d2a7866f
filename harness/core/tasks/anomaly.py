"""One score a sample that is higher for anomalies: only the order of the samples counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.core.tasks.base import Form, Reading, Task, Truth


class Anomaly(Task):
    """An answer is the score, float64; NaN where it is not a finite number.

    The mean score of samples is the area under the ROC curve (AUC).
    """

    name = "anomaly"
    truth = Truth.ANOMALY
    reduces = True
    score_name = "AUC"
    chance_name = "one score for all samples has"

    def _form(self, *, integers: bool, width: int, threshold: float | None) -> Form:
        return Form.RANK

    def check(self, reading: Reading, shape: Sequence[int]) -> None:
        """Check the shape of one sample of the output."""
        if math.prod(shape) != 1:
            raise DataError(
                f"the output {reading.output} has shape {list(shape)} a sample, not one anomaly score",
                next_step="set [model] output to the output with that score",
            )

    def answers(self, reading: Reading, values: NDArray[Any]) -> NDArray[np.float64]:
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


def worst(scores: NDArray[Any], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the scores, those that are no finite numbers at the wrong end of the order."""
    return np.where(np.isfinite(scores), scores, np.where(positive, -np.inf, np.inf)).astype(np.float64)


def placements(scores: NDArray[Any], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return for each sample the share of samples of the other kind that it is in the right order with.

    Ties count half. The mean over the positive samples, over the negative ones and over all is the AUC.
    Source: E. DeLong, D. DeLong and D. Clarke-Pearson, Biometrics 44 (1988), the structural components.

    Raises
    ------
    DataError
        All samples are of one kind.
    """
    require_both(positive)
    ordered = worst(scores, positive)
    places = np.empty(len(ordered))
    for kind in (True, False):
        others = np.sort(ordered[positive != kind])
        below, upto = (np.searchsorted(others, ordered[positive == kind], side) for side in ("left", "right"))
        share = (below + upto) / (2 * len(others))
        places[positive == kind] = share if kind else 1 - share
    return places


def require_both(positive: NDArray[np.bool_]) -> None:
    """Refuse labels of one kind.

    Raises
    ------
    DataError
        All samples are of one kind.
    """
    if positive.all() or not positive.any():
        kind = "an anomaly (1)" if positive.any() else "normal (0)"
        raise DataError(
            f"every one of {positive.size} samples is {kind}; the AUC needs both",
            cause="the labels are of another task, or there are too few samples",
            next_step="give labelled samples of both kinds",
        )


def mid_ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the rank of each value from 0; equal values share their mean rank."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True, equal_nan=False)
    first = np.cumsum(counts) - counts
    ranks: NDArray[np.float64] = (first + (counts - 1) / 2)[where]
    return ranks
