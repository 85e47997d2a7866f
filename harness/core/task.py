"""What a task is: how outputs are read as answers, and what answers are worth. Numpy alone: a board has it.

A task has two halves, like a suite. The half here, a `Task`, is what the entry point group ``harness.tasks``
names; it reads outputs, on a board and on the host. The other half (`harness.tasks.host.HostTask`, group
``harness.task_metrics``, the same name) runs on the host alone: labels, metrics, intervals, gates, and what
``harness init`` proposes. ``docs/adding-a-task.md`` shows both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.core import settings as tables
from harness.core.artifact import TensorSpec
from harness.core.contracts import Bench
from harness.core.job import Case, Samples
from harness.core.settings import Problems

#: The answer to a sample whose output is not a finite number: always wrong, and never the same as another.
NO_ANSWER = -1


class Threshold(StrEnum):
    """Whether ``[model] threshold`` is set for a task."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


class Need(StrEnum):
    """What `Task.reduce` needs on the device beside the outputs."""

    #: The canonical inputs: token ids are the labels of a language model.
    INPUTS = "inputs"
    #: The labels of the samples.
    LABELS = "labels"


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read the outputs of a model as answers.

    Parameters
    ----------
    task : str
    output : str
        ``[model] output``: name of the output that is scored, or of the first of them; empty: the first.
    form : str
        The task's word for how the output holds the answer.
    threshold : float, optional
        ``[model] threshold``.
    text : str
        For the user.
    options : optional
        The table ``[task]``, as an instance of `Task.Options`; None where the task has no options.
    """

    task: str
    output: str
    form: str
    threshold: float | None = None
    text: str = ""
    options: Any = None


@dataclass(frozen=True, slots=True)
class Block:
    """Some samples as `Task.reduce` gets them, in the order of the data set.

    Parameters
    ----------
    outputs : mapping of output name to ndarray, shape (n, …)
        Real numbers (dequantized), by the names of the canonical model, in its order.
    inputs : mapping of input name to ndarray, shape (n, …)
        Canonical inputs, constants left out; empty unless the task needs them.
    labels : ndarray, shape (n, …), optional
        As `HostTask.truth` returns them; None unless the task needs them and there are any.
    """

    outputs: Mapping[str, NDArray[Any]]
    inputs: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    labels: NDArray[Any] | None = None


class Task(ABC):
    """How outputs are read as answers, and what they are worth sample by sample.

    The constructor takes no argument and does no work; a task has no state: a `Reading` has what was set.

    Attributes
    ----------
    name : str
        As in ``[model] task``, and the name of the entry point.
    has_classes : bool
        An answer is one of several classes, right or wrong by itself, and so is a label.
    compares_samples : bool
        Scores depend on the other samples, so that few samples say little.
    threshold : Threshold
    Options : type, optional
        Frozen dataclass of the keys of ``[task]``, each declared by `harness.core.settings.option`; None: the
        task takes no such table. Unknown keys and wrong values are refused with every problem at once.
    needs : frozenset of Need
        What `reduce` or `measure` needs on the device.
    perfect : float
        Score of a sample whose answer is right.
    reduces : bool
        What `reduce` gives is enough for every metric of the task (``keep = "reduced"``).
    score_name, chance_name : str
        What the mean score is called, and what `chance` is.
    """

    name: ClassVar[str]
    has_classes: ClassVar[bool] = False
    compares_samples: ClassVar[bool] = False
    threshold: ClassVar[Threshold] = Threshold.NONE
    Options: ClassVar[type | None] = None
    needs: ClassVar[frozenset[Need]] = frozenset()
    perfect: ClassVar[float] = 1.0
    reduces: ClassVar[bool] = False
    score_name: ClassVar[str]
    chance_name: ClassVar[str]

    @property
    def is_share(self) -> bool:
        """Whether scores lie between 0 and 1, so that a loss is a share, and answers can be the same."""
        return self.perfect == 1.0

    def check_options(self, table: Mapping[str, Any]) -> Problems:
        """List what is wrong with the table ``[task]``: pairs of key and message."""
        if self.Options is None:
            return [
                (key, f"is not for the task {self.name}, which has no options; remove it") for key in table
            ]
        return tables.check(table, self.Options, self.check_together)

    def check_together(self, table: Mapping[str, Any]) -> Problems:
        """List problems of several keys of ``[task]`` together; each alone is right."""
        return []

    def read_options(self, table: Mapping[str, Any]) -> Any:  # noqa: ANN401 - the task's own dataclass
        """Freeze the table ``[task]``; None where the task has no options.

        Raises
        ------
        ConfigurationError
            With every problem.
        """
        if self.Options is None and not table:
            return None
        return tables.read(table, self.Options or _NoOptions, "task", self.check_together)

    def reading(
        self,
        output: str,
        *,
        integers: bool = False,
        width: int = 0,
        threshold: float | None = None,
        options: Mapping[str, Any] | None = None,
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
        options : mapping, optional
            The table ``[task]``.
        """
        form = self._form(integers=integers, width=width, threshold=threshold)
        return Reading(self.name, output, form, threshold, options=self.read_options(options or {}))

    def _form(self, *, integers: bool, width: int, threshold: float | None) -> str:
        return self.name

    def outputs(self, reading: Reading) -> tuple[str, ...]:
        """Return the names of the outputs that `answers` reads; an empty name is the first output."""
        return (reading.output,)

    @abstractmethod
    def answers(self, reading: Reading, outputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Return the answers to n samples.

        Parameters
        ----------
        outputs : mapping of output name to ndarray, shape (n, …)
            At least those of `outputs`, by the names of the canonical model.

        Returns
        -------
        ndarray, shape (n, …)
            One entry a sample. Answers of several lengths, such as boxes, are filled up to the longest one
            with values that stand for nothing.

        Raises
        ------
        DataError
            The outputs do not fit the form: the message says what is there and what is needed.
        """

    def scores(self, spec: TensorSpec, threshold: float | None, options: Mapping[str, Any]) -> int | None:
        """Return the number of classes or labels that an output has scores for; None where that is unknown.

        Parameters
        ----------
        spec : TensorSpec
            The output that is scored.
        threshold : float, optional
            ``[model] threshold``.
        options : mapping
            The table ``[task]``.
        """
        return None

    def ordered_classes(self, reading: Reading, outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Return the classes of n samples where they are places of scores, which may be in another order.

        Shape (n,); empty where they are not: then ``harness init`` does not look for another order.
        """
        return np.empty(0, np.int64)

    def measure(self, bench: Bench, case: Case) -> Iterator[Samples] | None:
        """Measure a case in a way of the task's own; None: as the accuracy suite measures.

        A task that runs documents of several lengths, or another model beside the one that is measured
        (``Case.beside``), has a loop of its own; the values ``outputs``, ``dtypes`` and ``input_sha256`` are
        those of `suites.accuracy.measure`.
        """
        return None

    def reduce(self, reading: Reading, block: Block) -> dict[str, NDArray[Any]]:
        """Make a few small arrays of the outputs, on the device, so that large outputs never travel.

        Called block by block, on the device with ``keep = "reduced"`` or where the task `needs` something
        there, and else on the host with the stored outputs; the results are the same. It sees the samples of
        its block alone, and gives the same for a sample whatever the others are.

        Returns
        -------
        dict of name to ndarray, shape (n, …)
            One entry a sample, the same shape and dtype after the first axis for every block. Ragged results
            are padded to a length that the model fixes, or are flat, with their number a sample in another
            array. Empty: the task has no reductions.
        """
        return {}

    @abstractmethod
    def score(self, answers: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
        """Score the answer to every sample, shape (n,); the mean is the score of all, higher is better.

        ``harness init`` and the choice of the int8 recipe compare candidates by it; it need not be one of
        the metrics.
        """

    @abstractmethod
    def same(self, answers: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.float64]:
        """Return how far each answer is that of the reference, shape (n,): 1 the same, 0 another."""

    @abstractmethod
    def chance(self, labels: NDArray[Any]) -> NDArray[np.float64]:
        """Score on every sample, shape (n,), what does not look at the sample: the best constant answer."""


class OneOutput(Task):
    """A task whose answers are in one output."""

    @abstractmethod
    def check(self, reading: Reading, shape: Sequence[int]) -> None:
        """Check the shape of one sample of the output.

        Raises
        ------
        DataError
            It does not fit the form.
        """

    @abstractmethod
    def read(self, reading: Reading, values: NDArray[Any]) -> NDArray[Any]:
        """Return the answers that the output, shape (n, …), holds.

        Raises
        ------
        DataError
            Its shape does not fit the form.
        """

    def answers(self, reading: Reading, outputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Read the output that is scored."""
        return self.read(reading, scored(reading, outputs))


@dataclass(frozen=True, slots=True)
class _NoOptions:
    """The options of a task that has none."""


def scored(reading: Reading, outputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Return the output that a reading names; the first, where it names none."""
    return outputs[reading.output] if reading.output in outputs else next(iter(outputs.values()))


def options_of(reading: Reading) -> dict[str, Any]:
    """Return the table ``[task]`` of a reading, without the keys that have their default."""
    if reading.options is None:
        return {}
    default = asdict(type(reading.options)())
    return {key: value for key, value in asdict(reading.options).items() if value != default[key]}


def has_one_axis(shape: Sequence[int]) -> bool:
    """Whether at most one axis of a sample is longer than 1."""
    return sum(length != 1 for length in shape) <= 1
