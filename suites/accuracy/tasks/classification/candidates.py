"""Outputs that may hold classes, for ``harness init``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError, UsageError
from harness.core.task import Reading
from harness.data.labels import classes_of_labels
from harness.stats import accuracy
from harness.tasks import shapes
from harness.tasks.question import Candidate, Question
from suites.accuracy.tasks.classification.task import Classification, Form
from suites.accuracy.tasks.labels import HINT, are_flags

TASK = Classification()


def candidates(question: Question) -> list[Candidate]:
    """List the ways to read classes; those whose number of scores is that of the classes come first.

    Scores that look like directions are left to embeddings, unless they have as many numbers as there are
    classes and tell those apart, or the user asked for classes.

    Raises
    ------
    DataError
        The labels are no classes, and no targets of a regression either.
    UsageError
        Without labels, scores may be of classes or of several labels.
    """
    if question.labels is None:
        return [*map(Candidate, _without_labels(question))]
    if not question.asked and are_flags(question.labels):
        return []
    try:
        classes, note = classes_of_labels(question.labels, where=question.where, hint=HINT)
    except DataError:
        if not question.asked and question.targets > 1 and question.labels.dtype.kind == "f":
            return []
        raise
    fitting = _with_labels(question, classes, note)
    if not question.asked:
        fitting = [
            reading
            for reading in fitting
            if not shapes.is_direction(y := question.outputs[reading.output])
            or shapes.width(y) == classes.max(initial=0) + 1
        ]
    return [*map(Candidate, fitting)]


def _with_labels(question: Question, labels: NDArray[np.int64], note: str) -> list[Reading]:
    highest, lowest = int(labels.max(initial=0)), int(labels.min(initial=0))
    exact: list[Reading] = []
    wider: list[Reading] = []
    single: list[Reading] = []
    for name, y in question.outputs.items():
        width = shapes.width(y)
        if y.dtype.kind in "iu" and width == 1:
            single.append(Reading(TASK.name, name, Form.INDEX, text=joined("class indices", note)))
        elif y.dtype.kind in "fiu" and width > max(1, highest) and lowest >= 0 and shapes.one_axis(y):
            text = joined(f"one score for each of {width} classes", note)
            fits = exact if width == highest + 1 else wider
            fits.append(Reading(TASK.name, name, Form.SCORES, text=text))
        elif y.dtype.kind == "f" and width == 1 and highest == 1 and lowest == 0:
            threshold, above = shapes.threshold_of(y, question.threshold)
            text = joined(f"class 1 where the score is {above}", note)
            single.append(Reading(TASK.name, name, Form.SCORE, threshold, text))
    return [*exact, *wider, *single]


def _without_labels(question: Question) -> Iterator[Reading]:
    for name, y in question.outputs.items():
        if not question.asked:
            if shapes.width(y) == 1 or shapes.is_direction(y):
                continue
            flat = y.reshape(len(y), -1)
            shares = y.dtype.kind == "f" and bool((flat >= 0).all() and (flat <= 1).all())
            if shares and shapes.one_axis(y) and not accuracy.are_probabilities(flat):
                raise UsageError(
                    f"the scores of {name} lie between 0 and 1 and do not sum to 1: several labels a sample, "
                    "or one class?",
                    where="--task",
                    next_step="name --task multi-label or --task classification, or give labels",
                )
        yield TASK.reading(
            name, integers=y.dtype.kind in "iu", width=shapes.width(y), threshold=question.threshold
        )


def joined(*texts: str) -> str:
    """Join the texts that are not empty."""
    return "; ".join(filter(None, texts))
