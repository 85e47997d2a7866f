"""What a task is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

#: The answer to a sample whose output is not a finite number: always wrong, and never the same as another.
NO_ANSWER = -1


class Form(StrEnum):
    """How an output holds the answer to a sample."""

    #: One score for each class; the highest is the answer.
    SCORES = "scores"
    #: The class itself.
    INDEX = "index"
    #: One score; above the threshold it means class 1, else class 0.
    SCORE = "score"
    #: One score for each of several labels; above the threshold the sample has the label.
    SEVERAL = "several"
    #: One score; only the order of the samples counts.
    RANK = "rank"
    #: A vector, of which only the direction counts.
    VECTOR = "vector"
    #: The numbers themselves.
    VALUES = "values"


class Truth(StrEnum):
    """What the labels of a sample are."""

    #: One class from 0, which is the place of a score.
    CLASS = "class"
    #: 0 or 1 for each of several labels.
    LABELS = "labels"
    #: 1 of an anomaly, else 0.
    ANOMALY = "anomaly"
    #: A whole number that samples of one kind share; it is no place of a score.
    GROUP = "group"
    #: Real numbers.
    TARGETS = "targets"


class Threshold(StrEnum):
    """Whether ``[model] threshold`` is set for a task."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read an output as answers.

    Parameters
    ----------
    task : str
    output : str
        Name of the output that is scored; empty: the first.
    form : Form
    threshold : float, optional
        Of the forms ``score`` and ``several``.
    text : str
        For the user.
    """

    task: str
    output: str
    form: Form
    threshold: float | None = None
    text: str = ""


class Task(ABC):
    """How outputs are read as answers, and what they are worth sample by sample.

    Attributes
    ----------
    name : str
        As in ``[model] task``.
    truth : Truth
    threshold : Threshold
    perfect : float
        Score of a sample whose answer is right.
    reduces : bool
        The reductions of an output (``keep = "reduced"``) are enough.
    score_name, chance_name : str
        What the mean score is called, and what `chance` is.
    """

    name: ClassVar[str]
    truth: ClassVar[Truth]
    threshold: ClassVar[Threshold] = Threshold.NONE
    perfect: ClassVar[float] = 1.0
    reduces: ClassVar[bool] = False
    score_name: ClassVar[str]
    chance_name: ClassVar[str]

    @property
    def has_classes(self) -> bool:
        """Whether an answer is one class."""
        return self.truth is Truth.CLASS

    @property
    def is_share(self) -> bool:
        """Whether scores lie between 0 and 1, so that a loss is a share, and answers can be the same."""
        return self.perfect == 1.0

    def reading(
        self, output: str, *, integers: bool = False, width: int = 0, threshold: float | None = None
    ) -> Reading:
        """Return how an output is read.

        Parameters
        ----------
        output : str
        integers : bool
            Its values are whole numbers by their type.
        width : int
            Numbers a sample; 0: unknown.
        threshold : float, optional
            ``[model] threshold``.
        """
        form = self._form(integers=integers, width=width, threshold=threshold)
        return Reading(self.name, output, form, threshold)

    @abstractmethod
    def _form(self, *, integers: bool, width: int, threshold: float | None) -> Form: ...

    @abstractmethod
    def check(self, reading: Reading, shape: Sequence[int]) -> None:
        """Check the shape of one sample of the output.

        Raises
        ------
        DataError
            It does not fit the form.
        """

    @abstractmethod
    def answers(self, reading: Reading, values: NDArray[Any]) -> NDArray[Any]:
        """Return the answers to n samples.

        Parameters
        ----------
        values : ndarray, shape (n, …)
            The output.

        Raises
        ------
        DataError
            Its shape does not fit the form.
        """

    @abstractmethod
    def score(self, answers: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
        """Score the answer to every sample, shape (n,); the mean is the score of all, higher is better."""

    @abstractmethod
    def same(self, answers: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.float64]:
        """Return how far each answer is that of the reference, shape (n,): 1 the same, 0 another."""

    @abstractmethod
    def chance(self, labels: NDArray[Any]) -> NDArray[np.float64]:
        """Score on every sample, shape (n,), what does not look at the sample: the best constant answer."""


def has_one_axis(shape: Sequence[int]) -> bool:
    """Whether at most one axis of a sample is longer than 1."""
    return sum(length != 1 for length in shape) <= 1
