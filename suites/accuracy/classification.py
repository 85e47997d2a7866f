"""Metrics of a classification."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.core.measurement import Measurement
from harness.core.suite import CLEAN
from harness.stats import accuracy, paired
from suites.accuracy.answers import Answers
from suites.accuracy.rows import PT, Facts, Group, row, share, skipped


def _right(answers: Answers, labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each answer is the label; False where there is no prediction."""
    classes = answers.classes
    if labels.shape != (len(answers),):
        raise DataError(f"{len(answers)} answers do not fit labels of shape {labels.shape}")
    if classes is not None and labels.size and (labels.min() < 0 or labels.max() >= classes):
        raise DataError(
            f"labels run from {labels.min()} to {labels.max()}, and the model has {classes} classes"
        )
    right: NDArray[np.bool_] = answers.predicted == labels
    return right


def _quality(facts: Facts) -> Iterator[Measurement]:
    answers, right = facts.answers, _right(facts.answers, facts.labels)
    yield row("accuracy", share(right), per_sample=right)
    if answers.indices:
        yield skipped("ece", "the model gives class indices without scores")
        return
    sure = answers.confidence(probabilities=facts.base.are_probabilities)
    yield row("ece", accuracy.calibration_error(sure, right), n=right.size)


def _loss(facts: Facts) -> Iterator[Measurement]:
    base, right = _right(facts.base, facts.labels), _right(facts.answers, facts.labels)
    flips = paired.flips(base, right)
    lost = PT * (base.astype(np.float64) - right)
    yield row("accuracy_loss", flips.loss, facts.reference, factor=PT, per_sample=lost)
    yield row("flips_harmful", flips.harmful, facts.reference, per_sample=base & ~right)
    yield row("flips_beneficial", flips.beneficial, facts.reference, per_sample=~base & right)


def _class_loss(facts: Facts) -> Iterator[Measurement]:
    """Class by class, in the case ``clean/<label>``: a mean hides a single class that is lost."""
    base, right = _right(facts.base, facts.labels), _right(facts.answers, facts.labels)
    for label in np.unique(facts.labels):
        of_class = facts.labels == label
        loss = paired.flips(base[of_class], right[of_class]).loss
        case = f"{CLEAN}/{label}"
        yield replace(row("class_accuracy_loss", loss, facts.reference, factor=PT), case=case)


def _agreement(facts: Facts) -> Iterator[Measurement]:
    _, equal = same(facts.answers, facts.base, len(facts.answers))
    yield row("agreement", share(equal), facts.reference, per_sample=equal)


def same(one: Answers, other: Answers, n: int) -> tuple[str, NDArray[np.bool_]]:
    """Return on which of the first `n` samples both give the same class."""
    _ = one.classes  # raises for a model that is no classifier
    equal: NDArray[np.bool_] = (one.predicted[:n] == other.predicted[:n]) & (one.predicted[:n] >= 0)
    return "top-1", equal


GROUPS = (
    Group(("accuracy", "ece"), _quality, labels=True),
    Group(("accuracy_loss", "flips_harmful", "flips_beneficial"), _loss, against=True, labels=True),
    Group(("agreement",), _agreement, against=True),
    Group(("class_accuracy_loss",), _class_loss, against=True, labels=True, as_shipped=True),
)
