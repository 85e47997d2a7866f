"""How the outputs of a model can be read as answers to the labels: task, output, threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import tasks
from harness.config.validation import ModelTable
from harness.core.errors import DataError, UsageError
from harness.core.task import Form, Reading, Task, Threshold, Truth
from harness.data.labels import check_range, classes_of_labels
from harness.init import shapes
from harness.tasks.host import GivenLabels

Values = Mapping[str, NDArray[Any]]
#: Tasks whose labels are read in one way.
NUMBER_TASKS = ("multi-label", "anomaly", "embedding")
TEXTS = {
    "anomaly": "an anomaly score, higher for anomalies (label 1): only the order counts",
    "embedding": "an embedding: samples with the same label are to be near each other",
}


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


def of_table(table: ModelTable, outputs: Values) -> Reading:
    """Return the reading that a ``[model]`` table states."""
    output = table.output or next(iter(outputs))
    if output not in outputs:
        raise _no_output(output, outputs)
    values = outputs[output]
    return tasks.named(table.task).reading(
        output, integers=values.dtype.kind in "iu", width=shapes.width(values), threshold=table.threshold
    )


def readings(
    outputs: Values,
    labels: NDArray[Any] | None,
    asked: Asked,
    *,
    where: str,
    names: tuple[str, ...] = (),
) -> list[Reading]:
    """List the ways to read the outputs, those that fit the labels best first.

    They may be of several tasks; the first whose score is better than chance is meant (see `chance.meant`).

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
    usable = {name: y for name, y in outputs.items() if not asked.output or name == asked.output}
    if labels is None:
        return [_unlabelled(usable, asked)]
    fitting: list[Reading] = []
    refusal: DataError | None = None
    if asked.task in NUMBER_TASKS:
        return _of_task(asked, usable, labels, names, where)
    if asked.task != "regression":
        if not asked.task and _are_flags(labels):
            return _of_task(replace(asked, task="multi-label"), usable, labels, names, where)
        try:
            classes, note = classes_of_labels(labels, where=where)
        except DataError as error:
            refusal = error
        else:
            fitting = _classifications(usable, classes, note, asked)
            if not asked.task:
                fitting = _with_others(fitting, usable, classes)
    # Whole numbers are a regression only where the model cannot be a classifier; names never are.
    may_be_numbers = asked.task == "regression" or (not asked.task and not names)
    if may_be_numbers and not fitting:
        fitting = _regressions(usable, labels, explicit=asked.task == "regression")
    if fitting:
        return fitting
    several_targets = math.prod(labels.shape[1:]) > 1 and labels.dtype.kind == "f"
    if refusal is not None and (asked.task == "classification" or not several_targets):
        raise refusal
    raise _unfit(usable, labels, where, names)


def _no_output(name: str, outputs: Values) -> UsageError:
    return UsageError(
        f"the model has no output {name!r}",
        where="--output",
        cause=f"its outputs are {', '.join(outputs)}",
        next_step="name one of them",
    )


def _unlabelled(usable: Values, asked: Asked) -> Reading:
    if len(usable) > 1:
        raise UsageError(
            f"the model has the outputs {', '.join(usable)}, and no labels tell which has the answers",
            where="--output",
            next_step="name the output with --output, or give labels",
        )
    ((name, y),) = usable.items()
    task = asked.task or shapes.task_of_output(name, y)
    threshold, _ = shapes.threshold_of(y, asked.threshold) if task == "multi-label" else (asked.threshold, "")
    return tasks.named(task).reading(
        name, integers=y.dtype.kind in "iu", width=shapes.width(y), threshold=threshold
    )  # fmt: skip


def _classifications(usable: Values, labels: NDArray[np.int64], note: str, asked: Asked) -> list[Reading]:
    """Return those whose number of scores is that of the classes first."""
    highest = int(labels.max(initial=0))
    exact: list[Reading] = []
    wider: list[Reading] = []
    single: list[Reading] = []
    lowest = int(labels.min(initial=0))
    for name, y in usable.items():
        width = shapes.width(y)
        if y.dtype.kind in "iu" and width == 1:
            single.append(Reading("classification", name, Form.INDEX, text=_joined("class indices", note)))
        elif y.dtype.kind in "fiu" and width > max(1, highest) and lowest >= 0 and shapes.one_axis(y):
            text = _joined(f"one score for each of {width} classes", note)
            (exact if width == highest + 1 else wider).append(
                Reading("classification", name, Form.SCORES, text=text)
            )
        elif y.dtype.kind == "f" and width == 1 and highest == 1 and lowest == 0:
            threshold, above = shapes.threshold_of(y, asked.threshold)
            text = _joined(f"class 1 where the score is {above}", note)
            single.append(Reading("classification", name, Form.SCORE, threshold, text))
    return [*exact, *wider, *single]


def _are_flags(labels: NDArray[Any]) -> bool:
    """Whether the labels are 0 or 1 for each of several, and not one-hot."""
    flat = labels.reshape(len(labels), -1)
    if flat.shape[1] < 2 or labels.dtype.kind not in "iubf":
        return False
    return bool(((flat == 0) | (flat == 1)).all() and (flat.sum(axis=1) != 1).any())


def _of_task(
    asked: Asked, usable: Values, labels: NDArray[Any], names: tuple[str, ...], where: str
) -> list[Reading]:
    """Return the readings of several labels, anomaly scores or embeddings; raises where there are none."""
    task = tasks.named(asked.task)
    truth_of(task, labels, names, where=where)
    fitting: list[Reading] = []
    for name, y in usable.items():
        threshold, text = None, TEXTS.get(task.name, "")
        if task.threshold is Threshold.REQUIRED:
            if shapes.width(y) != math.prod(labels.shape[1:]):
                continue
            threshold, above = shapes.threshold_of(y, asked.threshold)
            text = f"one score for each of {shapes.width(y)} labels: the sample has the label {above}"
        reading = task.reading(name, width=shapes.width(y), threshold=threshold)
        try:
            task.answers(reading, {name: y})
        except DataError:
            continue
        fitting.append(replace(reading, text=text))
    if not fitting:
        raise _unfit(usable, labels, where)
    return sorted(fitting, key=lambda reading: not shapes.is_direction(usable[reading.output]))


def _with_others(fitting: list[Reading], usable: Values, classes: NDArray[np.int64]) -> list[Reading]:
    """Add what an output may be instead of scores of classes: an anomaly score, or an embedding.

    Scores that are no probabilities and have one sign are no logits either: they may order the samples.
    Vectors of length 1 are embeddings, unless they have as many numbers as there are classes and tell those
    apart.
    """
    scores, more = [], []
    for reading in fitting:
        y = usable[reading.output]
        if not shapes.is_direction(y) or shapes.width(y) == classes.max(initial=0) + 1:
            scores.append(reading)
        if reading.form is Form.SCORE and shapes.has_one_sign(y):
            text = f"{TEXTS['anomaly']}; at {reading.threshold:g} it does not tell the classes apart"
            more.append(replace(tasks.named("anomaly").reading(reading.output), text=text))
    for name, y in usable.items():
        if shapes.is_direction(y):
            more.append(replace(tasks.named("embedding").reading(name), text=TEXTS["embedding"]))
    return [*scores, *more]


def _joined(*texts: str) -> str:
    return "; ".join(filter(None, texts))


def _regressions(usable: Values, labels: NDArray[Any], *, explicit: bool) -> list[Reading]:
    targets = math.prod(labels.shape[1:])
    whole = labels.dtype.kind in "iub"
    if whole and labels.ndim > 1 and targets > 1 and not explicit:
        return []  # several classes a sample, or codes: never a regression in silence
    text = "labels are whole numbers and the output is one value: a regression" if whole else ""
    return [
        Reading("regression", name, Form.VALUES, text=text)
        for name, y in usable.items()
        if y.dtype.kind == "f" and shapes.width(y) == targets
    ]


def _unfit(usable: Values, labels: NDArray[Any], where: str, names: tuple[str, ...] = ()) -> DataError:
    """Return why no output fits; raises it where single labels are at fault."""
    listed = ", ".join(f"{name} {list(y.shape[1:])} {y.dtype}" for name, y in usable.items())
    targets = math.prod(labels.shape[1:])
    widest = max((shapes.width(y) for y in usable.values() if y.dtype.kind == "f"), default=1)
    if labels.dtype.kind in "iub" and targets == 1 and widest > 1:
        check_range(labels.reshape(-1).astype(np.int64), widest, ids=np.arange(len(labels)), where=where)
    cause = "classes must be whole numbers from 0; a regression needs one target for each value of an output"
    if names:
        cause = (
            f"the {len(names)} classes need a score each; an anomaly score is read by --task anomaly, an "
            "embedding by --task embedding"
        )
    if labels.dtype.kind in "iub" and targets > 1:
        cause = f"several labels a sample (multi-label) need an output of {targets} scores"
    return DataError(
        f"the labels have {targets} values of {labels.dtype} a sample, which fit no output: {listed}",
        where=where,
        cause=cause,
        next_step="fix the labels, or give others: --labels PATH",
    )


def truth(reading: Reading, labels: NDArray[Any], names: tuple[str, ...] = ()) -> NDArray[Any]:
    """Return labels as the reading takes them: int64 of shape (n,) or (n, k), or float64 (n, targets)."""
    return truth_of(tasks.named(reading.task), labels, names, where="")


def truth_of(task: Task, labels: NDArray[Any], names: tuple[str, ...], *, where: str) -> NDArray[Any]:
    """Return labels as a task takes them.

    Raises
    ------
    DataError
        They are something else.
    """
    if task.truth is Truth.TARGETS:
        return labels.reshape(len(labels), -1).astype(np.float64)
    given = GivenLabels(labels, names, None, np.arange(len(labels)), where)
    return tasks.on_host(task.name).truth(given).labels


def score(reading: Reading, outputs: Values, labels: NDArray[Any]) -> NDArray[np.float64]:
    """Score the answer to every sample, shape (n,).

    Parameters
    ----------
    labels : ndarray
        As `truth` returns them.
    """
    task = tasks.named(reading.task)
    return task.score(task.answers(reading, outputs), labels)


def answers(reading: Reading, outputs: Values) -> NDArray[np.int64]:
    """Return the class with the highest score of every sample, shape (n,); empty for other forms."""
    if reading.form is not Form.SCORES:
        return np.empty(0, np.int64)
    values = outputs[reading.output]
    top: NDArray[np.int64] = values.reshape(len(values), -1).argmax(axis=1)
    return top


def baseline(reading: Reading, labels: NDArray[Any]) -> NDArray[np.float64]:
    """Score the best constant answer on every sample: the commonest class, or the median of the targets."""
    return tasks.named(reading.task).chance(labels)
