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
    #: The numbers themselves.
    VALUES = "values"


class Truth(StrEnum):
    """What the labels of a sample are."""

    #: One class from 0, which is the place of a score.
    CLASS = "class"
    #: Real numbers.
    TARGETS = "targets"


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
        Of the form ``score``.
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
    perfect : float
        Score of a sample whose answer is right.
    """

    name: ClassVar[str]
    truth: ClassVar[Truth]
    perfect: ClassVar[float] = 1.0

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
    def constant(self, labels: NDArray[Any]) -> NDArray[np.float64]:
        """Score the best constant answer on every sample, shape (n,)."""
