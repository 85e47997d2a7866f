"""How the outputs of a model can be read as answers to the labels: task, output, threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.config.validation import ModelTable
from harness.core import tasks
from harness.core.errors import DataError, UsageError
from harness.core.tasks import Form, Reading
from harness.data.labels import check_range, classes_of_labels

Values = Mapping[str, NDArray[Any]]
#: Scores of a single output that lie outside 0 to 1 are logits.
PROBABILITY_THRESHOLD, LOGIT_THRESHOLD = 0.5, 0.0


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
        output, integers=values.dtype.kind in "iu", width=_width(values), threshold=table.threshold
    )


def readings(outputs: Values, labels: NDArray[Any] | None, asked: Asked, *, where: str) -> list[Reading]:
    """List the ways to read the outputs, those that fit the labels best first.

    Parameters
    ----------
    outputs : mapping of output name to ndarray, shape (n, …)
        Of some samples, in the model's order.
    labels : ndarray, shape (N,) or (N, k), optional
        Of all samples.
    where : str
        Source of the labels, for errors.

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
    if asked.task != "regression":
        try:
            classes, note = classes_of_labels(labels, where=where)
        except DataError as error:
            refusal = error
        else:
            fitting = _classifications(usable, classes, note)
    # Whole numbers of one output are a regression only where the model cannot be a classifier.
    if asked.task != "classification" and not fitting:
        fitting = _regressions(usable, labels, explicit=asked.task == "regression")
    if fitting:
        return fitting
    several_targets = math.prod(labels.shape[1:]) > 1 and labels.dtype.kind == "f"
    if refusal is not None and (asked.task == "classification" or not several_targets):
        raise refusal
    raise _unfit(usable, labels, where)


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
    ((name, values),) = usable.items()
    task = asked.task or ("classification" if _width(values) > 1 else "regression")
    return tasks.named(task).reading(name, integers=values.dtype.kind in "iu", width=_width(values))


def _width(values: NDArray[Any]) -> int:
    return math.prod(values.shape[1:])


def _classifications(usable: Values, labels: NDArray[np.int64], note: str) -> list[Reading]:
    """Return those whose number of scores is that of the classes first."""
    highest = int(labels.max(initial=0))
    exact: list[Reading] = []
    wider: list[Reading] = []
    single: list[Reading] = []
    lowest = int(labels.min(initial=0))
    for name, y in usable.items():
        width = _width(y)
        if y.dtype.kind in "iu" and width == 1:
            single.append(Reading("classification", name, Form.INDEX, text=_joined("class indices", note)))
        elif y.dtype.kind in "fiu" and width > max(1, highest) and lowest >= 0 and _one_axis(y):
            text = _joined(f"one score for each of {width} classes", note)
            (exact if width == highest + 1 else wider).append(
                Reading("classification", name, Form.SCORES, text=text)
            )
        elif y.dtype.kind == "f" and width == 1 and highest == 1 and lowest == 0:
            probable = bool(np.isfinite(y).all() and y.min() >= 0 and y.max() <= 1)
            threshold = PROBABILITY_THRESHOLD if probable else LOGIT_THRESHOLD
            text = _joined(f"class 1 where the score is above {threshold:g}", note)
            single.append(Reading("classification", name, Form.SCORE, threshold, text))
    return [*exact, *wider, *single]


def _one_axis(y: NDArray[Any]) -> bool:
    """Whether a sample has one score a class: at most one axis is longer than 1."""
    return sum(size != 1 for size in y.shape[1:]) <= 1 and _width(y) > 1


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
        if y.dtype.kind == "f" and _width(y) == targets
    ]


def _unfit(usable: Values, labels: NDArray[Any], where: str) -> DataError:
    """Return why no output fits; raises it where single labels are at fault."""
    shapes = ", ".join(f"{name} {list(y.shape[1:])} {y.dtype}" for name, y in usable.items())
    targets = math.prod(labels.shape[1:])
    widest = max((_width(y) for y in usable.values() if y.dtype.kind == "f"), default=1)
    if labels.dtype.kind in "iub" and targets == 1 and widest > 1:
        check_range(labels.reshape(-1).astype(np.int64), widest, ids=np.arange(len(labels)), where=where)
    cause = "classes must be whole numbers from 0; a regression needs one target for each value of an output"
    if labels.dtype.kind in "iub" and targets > 1:
        cause = (
            "several classes a sample (multi-label) are not supported; --task regression compares them as "
            "numbers"
        )
    return DataError(
        f"the labels have {targets} values of {labels.dtype} a sample, which fit no output: {shapes}",
        where=where,
        cause=cause,
        next_step="fix the labels, or give others: --labels PATH",
    )


def truth(reading: Reading, labels: NDArray[Any]) -> NDArray[Any]:
    """Return labels as the reading takes them: int64 of shape (n,), or float64 of shape (n, targets)."""
    if tasks.named(reading.task).has_classes:
        return classes_of_labels(labels)[0]
    return labels.reshape(len(labels), -1).astype(np.float64)


def score(reading: Reading, outputs: Values, labels: NDArray[Any]) -> NDArray[np.float64]:
    """Score the answer to every sample, shape (n,).

    Parameters
    ----------
    labels : ndarray
        As `truth` returns them.
    """
    task = tasks.named(reading.task)
    return task.score(task.answers(reading, outputs[reading.output]), labels)


def answers(reading: Reading, outputs: Values) -> NDArray[np.int64]:
    """Return the class with the highest score of every sample, shape (n,); empty for other forms."""
    if reading.form is not Form.SCORES:
        return np.empty(0, np.int64)
    values = outputs[reading.output]
    top: NDArray[np.int64] = values.reshape(len(values), -1).argmax(axis=1)
    return top


def in_best_order(answers: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which answers are right if the classes are in the order that explains the labels best.

    The order is chosen on one half of the samples and tested on the other, and the other way round, so that
    a chance order gains nothing.

    Parameters
    ----------
    answers, labels : ndarray, shape (n,), int64
        In an order in which every other sample has nearly the same classes.
    """
    from scipy.optimize import linear_sum_assignment

    right = np.zeros(len(labels), bool)
    for half in (0, 1):
        # Only what occurs: the model may have thousands of classes.
        answered, row = np.unique(answers[1 - half :: 2], return_inverse=True)
        meant, column = np.unique(labels[1 - half :: 2], return_inverse=True)
        counts = np.zeros((len(answered), len(meant)))
        np.add.at(counts, (row, column), 1)
        rows, columns = linear_sum_assignment(-counts)
        label_of = dict(zip(answered[rows].tolist(), meant[columns].tolist(), strict=True))
        right[half::2] = [
            label_of.get(answer) == label
            for answer, label in zip(answers[half::2].tolist(), labels[half::2].tolist(), strict=True)
        ]
    return right


def baseline(reading: Reading, labels: NDArray[Any]) -> NDArray[np.float64]:
    """Score the best constant answer on every sample: the commonest class, or the median of the targets."""
    return tasks.named(reading.task).constant(labels)
