"""Whether the answers of a model are better than those of a guess that does not look at the sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import tasks
from harness.core.task import Reading
from harness.init import readings
from harness.init.findings import Findings
from harness.stats.intervals import Interval

#: A score that beats chance by luck this often is not accepted.
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Evidence:
    """A score with its bounds, and that of chance.

    Parameters
    ----------
    score : Interval
        Of a regression the share of the error of the best constant answer that the model removes.
    chance : float
        0 in a regression.
    """

    score: Interval
    chance: float

    @property
    def beats_chance(self) -> bool:
        """The lower bound is above chance."""
        return self.score.low > self.chance


def evidence(
    reading: Reading, scores: NDArray[np.float64], labels: NDArray[Any], *, alpha: float = ALPHA
) -> Evidence:
    """Compare the scores of samples with chance.

    Parameters
    ----------
    scores : ndarray, shape (n,)
        Of the task.
    labels : ndarray, shape (n, …)
        As `readings.truth` returns them.
    alpha : float
        One-sided error of the bounds.
    """
    by_chance = tasks.named(reading.task).chance(labels)
    return Evidence(*tasks.on_host(reading.task).evidence(scores, labels, by_chance, alpha=alpha))


def meant(candidates: Sequence[tuple[Reading, NDArray[np.float64], NDArray[Any]]]) -> str:
    """Return the task that is meant: the first of which a reading beats chance, or else the first.

    Parameters
    ----------
    candidates : sequence of (Reading, scores, labels)
        Those of a task that is likelier without the scores come first; the labels are those of the reading.
    """
    order = list(dict.fromkeys(reading.task for reading, _, _ in candidates))
    for task in order if len(order) > 1 else ():
        same = [candidate for candidate in candidates if candidate[0].task == task]
        best = max(same, key=lambda candidate: float(np.nan_to_num(candidate[1].mean(), nan=-math.inf)))
        if evidence(*best, alpha=ALPHA / len(candidates)).beats_chance:
            return task
    return order[0]


def of_test(findings: Findings) -> float:
    """Score of the test labels by chance; NaN in a regression or without labels."""
    test = findings.split.test
    if test.labels is None or not tasks.named(findings.task).is_share:
        return math.nan
    truth = readings.truth(findings.reading, test.labels, test.class_names)
    return float(readings.baseline(findings.reading, truth).mean())


def fewest(findings: Findings) -> int:
    """Test samples of the rarest kind; 0 where samples have no kinds."""
    test = findings.split.test
    if test.labels is None:
        return 0
    truth = readings.truth(findings.reading, test.labels, test.class_names)
    return tasks.on_host(findings.task).fewest(truth)
