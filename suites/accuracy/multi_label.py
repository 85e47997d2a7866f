"""Metrics of several labels a sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core import tasks
from harness.core.errors import DataError
from harness.core.measurement import Measurement
from harness.core.suite import CLEAN
from harness.stats import linear, paired
from suites.accuracy.answers import Answers
from suites.accuracy.rows import PT, Facts, Group, Undefined, mean_share, row

TASK = tasks.named("multi-label")
STATISTICS = {"f1_micro": linear.micro_f1, "f1_macro": linear.macro_f1}


def _labels(answers: Answers, labels: NDArray[Any]) -> NDArray[Any]:
    """Return what the model answers to each label, shape (n, k)."""
    answered = answers.read_as(TASK)
    if labels.shape != answered.shape:
        raise DataError(f"answers of shape {answered.shape} do not fit labels of shape {labels.shape}")
    if not labels.any():
        raise Undefined(f"none of {len(labels)} samples has any label")
    return answered


def _quality(facts: Facts) -> Iterator[Measurement]:
    answered = _labels(facts.answers, facts.labels)
    for name, statistic in STATISTICS.items():
        values = statistic(answered, facts.labels)
        yield row(name, linear.mean_of(values), per_sample=values)
    right = TASK.score(answered, facts.labels)
    yield row("label_accuracy", mean_share(right), per_sample=right)


def _loss(facts: Facts) -> Iterator[Measurement]:
    base, answered = (_labels(answers, facts.labels) for answers in (facts.base, facts.answers))
    for name, statistic in STATISTICS.items():
        lost = statistic(base, facts.labels) - statistic(answered, facts.labels)
        yield row(f"{name}_loss", linear.mean_of(lost, lowest=-1.0), facts.reference, per_sample=lost)
    before, after = (answers == facts.labels for answers in (base, answered))
    lost = before.mean(axis=1) - after.mean(axis=1)
    loss = paired.paired_mean_difference(after.mean(axis=1), before.mean(axis=1), reach=1.0)
    yield row("label_accuracy_loss", loss, facts.reference, factor=PT, per_sample=PT * lost)
    harmful, beneficial = (flip.mean(axis=1) for flip in (before & ~after, ~before & after))
    yield row("flips_harmful", mean_share(harmful), facts.reference, per_sample=harmful)
    yield row("flips_beneficial", mean_share(beneficial), facts.reference, per_sample=beneficial)


def _class_loss(facts: Facts) -> Iterator[Measurement]:
    """Label by label, of the samples that have it, in the case ``clean/<label>``."""
    base, answered = (_labels(answers, facts.labels) for answers in (facts.base, facts.answers))
    for label in np.flatnonzero(facts.labels.any(axis=0)).tolist():
        have = facts.labels[:, label] == 1
        loss = paired.flips(base[have, label] == 1, answered[have, label] == 1).loss
        case = f"{CLEAN}/{label}"
        yield replace(row("class_accuracy_loss", loss, facts.reference, factor=PT), case=case)


def _agreement(facts: Facts) -> Iterator[Measurement]:
    same = TASK.same(facts.answers.read_as(TASK), facts.base.read_as(TASK))
    yield row("agreement", mean_share(same), facts.reference, per_sample=same)


def same(one: Answers, other: Answers, n: int) -> tuple[str, NDArray[np.bool_]]:
    """Return on which of the first `n` samples all labels are answered alike."""
    return "labels", TASK.same(one.read_as(TASK)[:n], other.read_as(TASK)[:n]) == 1.0


GROUPS = (
    Group(("f1_micro", "f1_macro", "label_accuracy"), _quality, labels=True, outputs=True),
    Group(
        ("f1_micro_loss", "f1_macro_loss", "label_accuracy_loss", "flips_harmful", "flips_beneficial"),
        _loss, against=True, labels=True, outputs=True,
    ),
    Group(("agreement",), _agreement, against=True, outputs=True),
    Group(("class_accuracy_loss",), _class_loss, against=True, labels=True, outputs=True, as_shipped=True),
)  # fmt: skip
