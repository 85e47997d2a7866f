"""The host's half of a task: labels, metrics, gates, and what ``harness init`` proposes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError, UsageError
from harness.core.job import Case, Samples
from harness.core.measurement import Measurement
from harness.core.metric import Metric, Role
from harness.core.suite import CaseContext, ProposalContext, ProposedGate
from harness.core.task import Reading, Task
from harness.stats import paired
from harness.stats.intervals import Interval
from harness.tasks import evidence
from harness.tasks.answers import Answers
from harness.tasks.quantity import Quantity
from harness.tasks.question import Candidate, Question
from harness.tasks.rows import Group


@dataclass(frozen=True, slots=True)
class GivenLabels:
    """Labels as a source of data has them, calibration and test samples together.

    Parameters
    ----------
    labels : ndarray, shape (n, …)
        As they were read: whole or real numbers, or what `HostTask.read_labels` returned.
    names : tuple of str
        Of the classes; empty where they are numbers.
    scores : int, optional
        Number of scores of the model, as `HostTask.scores` counts them; None: unknown.
    ids : ndarray, shape (n,), int64
        Position of each sample in its source, for messages.
    where : str
        Source of the labels, for messages.
    inputs : mapping of input name to ndarray, shape (n, …)
        Raw samples; only for a task that makes labels, whose `labels` may be empty: shape (n, 0).
    lengths : ndarray, shape (n,), int64, optional
        Of documents: behind them inputs are padded.
    options : optional
        The table ``[task]``, an instance of `Task.Options`; None for its defaults.
    """

    labels: NDArray[Any]
    names: tuple[str, ...]
    scores: int | None
    ids: NDArray[np.int64]
    where: str
    inputs: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    lengths: NDArray[np.int64] | None = None
    options: Any = None


@dataclass(frozen=True, slots=True)
class LabelSource:
    """Where a task that reads its own labels finds them.

    Parameters
    ----------
    path : Path
        ``[data] path``: a file or a folder.
    labels : Path, optional
        ``[data] labels``: a file or a folder; None where it is not set.
    files : tuple of Path
        File of each sample, in the order of the samples; empty where the samples are no files.
    ids : ndarray, shape (n,), int64
        Position of each sample in its source, which has samples that were left out, too.
    inputs : mapping of input name to ndarray, shape (n, …)
        Raw samples, after images were resized.
    image : ImageRecipe, optional
        How images were resized (``harness.data.images``); None where nothing was.
    options : optional
        The table ``[task]``, an instance of `Task.Options`.
    """

    path: Path
    labels: Path | None
    files: tuple[Path, ...]
    ids: NDArray[np.int64]
    inputs: Mapping[str, NDArray[Any]]
    image: Any = None
    options: Any = None


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Labels that a task read.

    Parameters
    ----------
    labels : ndarray, shape (n, …)
        One entry a sample, in the order of the samples. Labels of several lengths are filled up to the
        longest one with values that stand for nothing (a class of -1, say).
    names : tuple of str
        Of the classes; empty if unknown.
    notes : tuple of str
        What the user should know: what was left out or converted.
    """

    labels: NDArray[Any]
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def noted(*notes: str) -> tuple[str, ...]:
    """Return the notes that are not empty."""
    return tuple(filter(None, notes))


class HostTask(ABC):
    """What a task says on the host. Its constructor takes no argument and does no work.

    Attributes
    ----------
    task : Task
        The other half.
    metrics : mapping of name to Metric
        Every metric of the task, in the order of its columns; the accuracy suite makes them. Names are
        shared: two tasks that declare one name declare the same metric (``agreement``, ``flips_harmful``: see
        `harness.tasks.shared`).
    groups : tuple of Group
        How the metrics are made of answers, labels and the reference's answers.
    otherwise : str
        What else the output may be where another order of the classes explains the labels better: a text that
        follows the advice to reorder them.
    quantities : mapping of name to Quantity
        The metrics that groups, windows of time and worst parts have, too: those whose `per_sample` is what
        each sample contributes to the mean.
    under_shift : tuple of str, optional
        The metric of how good answers are and the one of what was lost, both with a value for each sample:
        corruption errors and extra losses are made of them. None: the task has none.
    worst_shift : str
        The metric of the family of shifts under which most was lost; empty where there is none.
    rounding : Group, optional
        How ``difference_over_rounding`` is made where outputs are not kept: a check rests on it.
    has_outputs : bool
        The suite adds what every output has: ``sqnr``, ``bit_exact``, ``nonfinite_outputs``, …; False for a
        task that measures in its own way and keeps neither outputs nor their limits and hashes.
    reads_several : bool
        A reading takes several outputs together, so that ``init`` need not ask which output has the answers.
    reads_labels : bool
        `read_labels` reads ``[data] labels`` instead of the readers of tables and arrays.
    makes_labels : bool
        `truth` makes labels of samples that have none, such as the next token of a text: it is called in any
        case, for calibration and test samples apart, with the inputs.
    """

    task: ClassVar[Task]
    metrics: ClassVar[Mapping[str, Metric]]
    groups: ClassVar[tuple[Group, ...]]
    otherwise: ClassVar[str] = ""
    quantities: ClassVar[Mapping[str, Quantity]] = {}
    under_shift: ClassVar[tuple[str, str] | None] = None
    worst_shift: ClassVar[str] = ""
    rounding: ClassVar[Group | None] = None
    has_outputs: ClassVar[bool] = True
    reads_several: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = False
    makes_labels: ClassVar[bool] = False

    @property
    def loss(self) -> str:
        """The metric of how much worse the answers are than the reference's; empty where there is none."""
        return next((name for name, metric in self.metrics.items() if metric.role is Role.LOSS), "")

    def worst_losses(self, by: Collection[str], *, shifted: bool) -> dict[str, str]:
        """Return the metrics of the worst part that ``max_loss_worst`` limits, each with what the parts are.

        Parameters
        ----------
        by : collection of str
            ``group`` and ``time``, where ``[data]`` names such columns.
        shifted : bool
            The data have shifted copies.
        """
        worst = {self.worst_shift: "family"} if shifted and self.worst_shift else {}
        worst |= {name: "class" for name, metric in self.metrics.items() if metric.role is Role.WORST_LOSS}
        kinds = (("group", "group"), ("time", "window"))
        losses = [name for name in self.quantities if self.metrics[name].role is Role.LOSS]
        return worst | {f"worst_{kind}_{name}": kind for key, kind in kinds if key in by for name in losses}

    def recognises(self, labels: Path) -> bool:
        """Whether ``[data] labels`` are of the form that `read_labels` reads, for ``harness init``."""
        return False

    def read_labels(self, source: LabelSource) -> LabelSet | None:
        """Read labels of another form than numbers in rows, such as masks; None where there are none.

        Raises
        ------
        DataError
            The files cannot be read, or are not those of the samples.
        """
        raise UsageError(
            f"the task {self.task.name} says that it reads labels, and has no read_labels",
            next_step=f"report it to the authors of {type(self).__module__}",
        )

    def case(self, case: Case, context: CaseContext) -> Case:
        """Return a case as the task has it measured: with another deadline, or another variant beside it."""
        return case

    def read(self, samples: Samples) -> Answers:
        """Read what was measured; a task that measures in its own way may have answers of its own kind."""
        return Answers.read(samples)

    @abstractmethod
    def truth(self, given: GivenLabels) -> LabelSet:
        """Return labels as the task takes them, with the names of classes that remain, and how they changed.

        Raises
        ------
        DataError
            They are something else; the message says what, how often, and where first.
        """

    def same(self, one: Answers, other: Answers, n: int) -> tuple[str, NDArray[np.bool_]] | None:
        """Return what the same answer is called, and on which of the first `n` samples both give it.

        For the report's agreement of devices; None where answers are numbers that are never the same.
        """
        return None

    def parts(
        self, rows: Sequence[Measurement], truth: NDArray[Any], least: int, sequence: NDArray[np.int64] | None
    ) -> list[Measurement]:
        """Return rows about the worst part of the labels, such as the worst class, of the clean case.

        Parameters
        ----------
        rows : sequence of Measurement
            Of all samples.
        truth : ndarray, shape (n, …)
            Labels as `truth` returned them.
        least : int
            Parts with fewer samples are not compared (``group_samples``).
        sequence : ndarray, shape (n,), int64, optional
            Sequence of each sample; None: samples are independent.
        """
        return []

    def propose(self, context: ProposalContext) -> list[ProposedGate]:
        """Propose gates for a new model: a floor for the float model, and how much others may lose."""
        return []

    def candidates(self, question: Question) -> list[Candidate]:
        """List the ways to read the outputs, those that fit the labels best first; none where nothing fits.

        Raises
        ------
        DataError, UsageError
            The user asked for this task and it does not fit, or he has to choose something.
        """
        return []

    def refusal(self, question: Question) -> DataError | None:
        """Return why no task fits the labels, where this one knows; asked only if none does."""
        return None

    def require(self, labels: NDArray[Any]) -> None:
        """Refuse labels of which nothing can be scored, such as those of one kind alone.

        Raises
        ------
        DataError
            They are such labels.
        """
        return None

    def evidence(
        self,
        scores: NDArray[np.float64],
        labels: NDArray[Any],
        by_chance: NDArray[np.float64],
        *,
        alpha: float,
    ) -> tuple[Interval, float]:
        """Return the mean score with its bounds, and what chance scores.

        Of errors, the share of the error of the best constant answer that the model removes, and 0.

        Parameters
        ----------
        scores, by_chance : ndarray, shape (n,)
            Of `Task.score` and `Task.chance`.
        labels : ndarray, shape (n, …)
        alpha : float
            One-sided error of the bounds.
        """
        return evidence.by_gain(self.task, scores, by_chance, alpha=alpha)

    def apart(self, one: NDArray[np.float64], other: NDArray[np.float64], *, p: float) -> bool:
        """Whether the first of two mean scores of the same samples is better by more than luck."""
        return paired.paired_mean_difference(other, one, alpha=p / 2).low > 0

    def below_chance(self, score: Interval, chance: float, labels: NDArray[Any]) -> str:
        """Return what a score far below chance says; empty where it says nothing."""
        return ""

    def fewest(self, labels: NDArray[Any]) -> int:
        """Return how many samples the rarest kind has; 0 where samples have no kinds."""
        return 0

    def notes(self, reading: Reading, names: tuple[str, ...]) -> list[str]:
        """Return what the user should check of a reading that was chosen, for data with named classes."""
        return []
