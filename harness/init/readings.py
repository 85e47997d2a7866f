"""How the outputs of a model can be read as answers to the labels: task, output, threshold, options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import tasks
from harness.config.validation import Validation
from harness.core.errors import DataError, UsageError
from harness.core.task import Reading
from harness.tasks import shapes
from harness.tasks.host import GivenLabels
from harness.tasks.question import Candidate, Question, Rank

Values = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user fixed; an empty field is guessed.

    Raises
    ------
    UsageError
        There is no such task.
    """

    task: str = ""
    output: str = ""
    layout: str = ""
    batch_axis: str = ""
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.task:
            tasks.named(self.task)


def table_of(reading: Reading, first_output: str) -> dict[str, object]:
    """Return the keys of ``[model]`` for a reading; the first output needs no name."""
    table: dict[str, object] = {"task": reading.task}
    if reading.output != first_output:
        table["output"] = reading.output
    if reading.threshold is not None:
        table["threshold"] = reading.threshold
    return table


def of_validation(validation: Validation, outputs: Values) -> Reading:
    """Return the reading that a validation states."""
    table = validation.model
    output = table.output or next(iter(outputs))
    if output not in outputs:
        raise _no_output(output, outputs)
    values = outputs[output]
    return tasks.named(table.task).reading(
        output, integers=values.dtype.kind in "iu", width=shapes.width(values), threshold=table.threshold,
        options=validation.task,
    )  # fmt: skip


def readings(
    outputs: Values,
    labels: NDArray[Any] | None,
    asked: Asked,
    *,
    where: str,
    names: tuple[str, ...] = (),
    tried: Sequence[Values] = (),
    sampled: NDArray[Any] | None = None,
    size: tuple[int, int] | None = None,
    inputs: Values | None = None,
    hop_s: float | None = None,
) -> list[Reading]:
    """List the ways to read the outputs, those that fit the labels best first.

    Every installed task is asked. They may be of several tasks; the first whose score is better than chance
    is meant (see `chance.meant`).

    Parameters
    ----------
    outputs : mapping of output name to ndarray, shape (n, …)
        Of some samples, in the model's order.
    labels : ndarray, shape (N,) or (N, k), optional
        Of all samples.
    where : str
        Source of the labels, for errors.
    names : tuple of str
        Of the classes.
    tried : sequence of mapping of output name to ndarray, shape (n, …)
        Outputs with each preprocessing that was tried; default: `outputs` alone.
    sampled : ndarray, shape (n, …), optional
        Labels of the samples of the outputs.
    size : tuple of int, optional
        Height and width of the model's input, where it takes images.
    inputs : mapping of input name to ndarray, shape (n, …), optional
        The samples of the outputs, raw.
    hop_s : float, optional
        Time from a sample to the next one, where samples are windows of streams with events.

    Returns
    -------
    list of Reading
        At least one.

    Raises
    ------
    DataError
        No output fits the labels.
    UsageError
        There is no output of the name that was asked for, or without labels the output has to be named.
    """
    if not outputs:
        raise DataError(
            "the model gives only text, and no scores",
            where=where,
            next_step="export it with its scores as an output",
        )
    if asked.output and asked.output not in outputs:
        raise _no_output(asked.output, outputs)
    each = tuple(
        {name: y[name] for name in ([asked.output] if asked.output else y)} for y in tried or [outputs]
    )
    usable = each[0]
    question = Question(
        usable, labels, names, bool(asked.task), asked.threshold, where, each, sampled, size, inputs or {},
        hop_s,
    )  # fmt: skip
    hosts = [tasks.on_host(name) for name in ([asked.task] if asked.task else tasks.names())]
    if labels is None and len(usable) > 1:
        hosts = [host for host in hosts if host.reads_several]
    fitting: list[Candidate] = []
    refusal: DataError | None = None
    for host in hosts:
        try:
            fitting += host.candidates(question)
        except DataError as error:
            refusal = refusal or error
    best = [one for one in fitting if one.rank is Rank.CERTAIN] or fitting
    best = [one for one in best if one.rank is not Rank.LAST] or best
    if best:
        return [candidate.reading for candidate in sorted(best, key=lambda candidate: candidate.rank)]
    if labels is None and len(usable) > 1:
        raise UsageError(
            f"the model has the outputs {', '.join(usable)}, and no labels tell which has the answers",
            where="--output",
            next_step="name the output with --output, or give labels",
        )
    for host in hosts:
        refusal = refusal or host.refusal(question)
    raise refusal or _unfit(question)


def _no_output(name: str, outputs: Values) -> UsageError:
    return UsageError(
        f"the model has no output {name!r}",
        where="--output",
        cause=f"its outputs are {', '.join(outputs)}",
        next_step="name one of them",
    )


def _unfit(question: Question) -> DataError:
    what = "there are no labels, and no task is for"
    if question.labels is not None:
        given = f"{question.targets} values of {question.labels.dtype} a sample"
        what = f"the labels have {given}, which fit no output:"
    return DataError(
        f"{what} {question.listed}",
        where=question.where,
        cause=f"tried: {', '.join(tasks.names())}",
        next_step="name the task with --task, or give labels: --labels PATH",
    )


def truth(reading: Reading, labels: NDArray[Any], names: tuple[str, ...] = ()) -> NDArray[Any]:
    """Return labels as the task of the reading takes them.

    Raises
    ------
    DataError
        They are something else.
    """
    given = GivenLabels(labels, names, None, np.arange(len(labels)), "", options=reading.options)
    return tasks.on_host(reading.task).truth(given).labels


def score(reading: Reading, outputs: Values, labels: NDArray[Any]) -> NDArray[np.float64]:
    """Score the answer to every sample, shape (n,).

    Parameters
    ----------
    labels : ndarray
        As `truth` returns them.
    """
    task = tasks.named(reading.task)
    return task.score(task.answers(reading, outputs), labels)


def ordered_classes(reading: Reading, outputs: Values) -> NDArray[np.int64]:
    """Return the classes of every sample, shape (n,), where they are places of scores; else empty."""
    return tasks.named(reading.task).ordered_classes(reading, outputs)


def baseline(reading: Reading, labels: NDArray[Any]) -> NDArray[np.float64]:
    """Score the best constant answer on every sample: the commonest class, or the median of the targets."""
    return tasks.named(reading.task).chance(labels)
