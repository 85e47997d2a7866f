"""What the trials of preprocessings and outputs gave."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from harness import tasks
from harness.config.schema import DataTable
from harness.core.task import Reading
from harness.data.datasets import Split
from harness.init.preprocess import Guess


@dataclass(frozen=True, slots=True)
class Trial:
    """A preprocessing and its score on every sample.

    Parameters
    ----------
    guess : Guess
    reading : Reading
        How the outputs were read as answers.
    per_sample : ndarray, shape (n,)
        1 or 0 for a right or wrong answer; minus the absolute error in a regression; empty without labels.
    reordered : ndarray, shape (n,), bool
        The same if the classes are in the order that explains the labels best; empty without such an order.
    """

    guess: Guess
    reading: Reading
    per_sample: NDArray[np.float64]
    reordered: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, bool))

    @property
    def score(self) -> float:
        """Mean over the samples; higher is better."""
        return float(self.per_sample.mean()) if self.per_sample.size else math.nan


@dataclass(frozen=True, slots=True)
class Findings:
    """The result of the trials.

    Parameters
    ----------
    table : DataTable
    split : Split
    trials : tuple of Trial
        The chosen one, then the others by score.
    chance : float
        Score of the best constant answer to the trial samples: the share of the commonest class, or minus the
        mean absolute error of the median; NaN without labels.
    shift_kind : str
        Kind of corruptions that apply: ``image``, ``features``, ``none``.
    notes : list of str
        What the user should check.
    """

    table: DataTable
    split: Split
    trials: tuple[Trial, ...]
    chance: float
    shift_kind: str
    notes: list[str] = field(default_factory=list)

    @property
    def reading(self) -> Reading:
        """How the outputs are read as answers."""
        return self.trials[0].reading

    @property
    def task(self) -> str:
        """Task of the model."""
        return self.reading.task

    @property
    def skill(self) -> float:
        """Score between that of the best constant answer, 0, and a perfect one, 1; NaN without labels."""
        perfect = tasks.named(self.task).perfect
        if self.chance == perfect:
            return 0.0
        return (self.trials[0].score - self.chance) / (perfect - self.chance)
