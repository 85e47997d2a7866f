"""Metrics of several labels a sample."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.core.measurement import Measurement
from harness.core.metric import Column, Role
from harness.core.suite import CLEAN, ProposalContext, ProposedGate
from harness.core.task import has_one_axis
from harness.stats import intervals, linear, paired
from harness.tasks import propose as gates
from harness.tasks import shapes, shared
from harness.tasks.answers import Answers
from harness.tasks.host import GivenLabels, HostTask, LabelSet
from harness.tasks.quantity import Quantity
from harness.tasks.question import Candidate, Question, Rank
from harness.tasks.rows import PT, Facts, Group, Undefined, mean_share, row
from harness.tasks.shared import SHIFT_COLUMN, whole_set
from suites.accuracy.tasks.labels import are_flags
from suites.accuracy.tasks.multi_label.labels import labels_of_flags
from suites.accuracy.tasks.multi_label.task import MultiLabel
from suites.accuracy.tasks.unfit import unfit

TASK = MultiLabel()
#: Standard deviation over samples of what a good int8 model changes of an F1.
F1_SPREAD = 0.2
STATISTICS = {"f1_micro": linear.micro_f1, "f1_macro": linear.macro_f1}


def _answers_to_labels(answers: Answers, labels: NDArray[Any]) -> NDArray[Any]:
    """Return what the model answers to each label, shape (n, k)."""
    answered = answers.read_as(TASK)
    if labels.shape != answered.shape:
        raise DataError(f"answers of shape {answered.shape} do not fit labels of shape {labels.shape}")
    if not labels.any():
        raise Undefined(f"none of {len(labels)} samples has any label")
    return answered


def _quality(facts: Facts) -> Iterator[Measurement]:
    answered = _answers_to_labels(facts.answers, facts.labels)
    for name, statistic in STATISTICS.items():
        values = statistic(answered, facts.labels)
        yield row(name, linear.mean_of(values), per_sample=values)
    right = TASK.score(answered, facts.labels)
    yield row("label_accuracy", mean_share(right), per_sample=right)


def _loss(facts: Facts) -> Iterator[Measurement]:
    base, answered = (_answers_to_labels(answers, facts.labels) for answers in (facts.base, facts.answers))
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
    base, answered = (_answers_to_labels(answers, facts.labels) for answers in (facts.base, facts.answers))
    for label in np.flatnonzero(facts.labels.any(axis=0)).tolist():
        have = facts.labels[:, label] == 1
        loss = paired.flips(base[have, label] == 1, answered[have, label] == 1).loss
        case = f"{CLEAN}/{label}"
        yield replace(row("class_accuracy_loss", loss, facts.reference, factor=PT), case=case)


def _agreement(facts: Facts) -> Iterator[Measurement]:
    same = TASK.same(facts.answers.read_as(TASK), facts.base.read_as(TASK))
    yield row("agreement", mean_share(same), facts.reference, per_sample=same)


def f1_margin(samples: int) -> gates.Limit | None:
    """Return the strictest margin of the F1 loss, in percent of 1, from 5 that `samples` pairs decide."""
    z = intervals.z_value(gates.ALPHA)
    for margin in gates.MARGINS_PT if samples else ():
        if margin >= 5 and z * z / (samples + z * z) + z * F1_SPREAD / math.sqrt(samples) < margin / 100:
            return gates.Limit(margin, f"the strictest from 5 % that {samples:,} samples can decide")
    return None


class MultiLabelMetrics(HostTask):
    """F1 over all labels and by label, the share of right labels, and flips of single labels."""

    task = TASK
    metrics: ClassVar = {
        "f1_micro": whole_set(
            "1", "higher", role=Role.RESULT, column=Column("F1 %", 100, ".2f"), shift_column=SHIFT_COLUMN
        ),
        "f1_macro": whole_set("1", "higher"),
        "label_accuracy": whole_set("1", "higher"),
        "agreement": shared.AGREEMENT,
        "f1_micro_loss": whole_set(
            "1", "lower", role=Role.LOSS, column=Column("F1 loss pt [bound]", 100, ".2f", bound=True),
            drift=True,
        ),
        "f1_macro_loss": whole_set("1", "lower", drift=True),
        "label_accuracy_loss": whole_set("pt", "lower", share="paired", drift=True),
        "class_accuracy_loss": shared.CLASS_LOSS,
        "flips_harmful": shared.HARMFUL,
        "flips_beneficial": shared.BENEFICIAL,
    }  # fmt: skip
    worst_shift = "worst_family_loss"
    under_shift = ("label_accuracy", "label_accuracy_loss")
    quantities: ClassVar = {
        "label_accuracy": Quantity("has {:.3g} % of the labels right", 100, reach=1),
        "label_accuracy_loss": Quantity("lost {:.3g} pt of the labels", reach=PT),
        "agreement": shared.AGREEMENT_OF_PART,
    }
    groups = (
        Group(("f1_micro", "f1_macro", "label_accuracy"), _quality, labels=True, outputs=True),
        Group(
            ("f1_micro_loss", "f1_macro_loss", "label_accuracy_loss", "flips_harmful", "flips_beneficial"),
            _loss, against=True, labels=True, outputs=True,
        ),
        Group(("agreement",), _agreement, against=True, outputs=True),
        Group(
            ("class_accuracy_loss",), _class_loss, against=True, labels=True, outputs=True, as_shipped=True
        ),
    )  # fmt: skip

    def truth(self, given: GivenLabels) -> LabelSet:
        """Read 0 or 1 for each label."""
        return LabelSet(labels_of_flags(given.labels, given.scores, ids=given.ids, where=given.where))

    def same(self, one: Answers, other: Answers, n: int) -> tuple[str, NDArray[np.bool_]]:
        """Return where all labels are answered alike."""
        return "labels", TASK.same(one.read_as(TASK)[:n], other.read_as(TASK)[:n]) == 1.0

    def candidates(self, question: Question) -> list[Candidate]:
        """List outputs with a score for each column of 0 and 1; unasked, not of one-hot ones."""
        if question.labels is None:
            asked = question.outputs.items() if question.asked else ()
            return [
                Candidate(TASK.reading(name, threshold=shapes.threshold_of(y, question.threshold)[0]))
                for name, y in asked
            ]
        if not question.asked and not are_flags(question.labels):
            return []
        where = question.where
        labels_of_flags(question.labels, ids=np.arange(len(question.labels)), where=where)
        fitting = []
        for name, y in question.outputs.items():
            if shapes.width(y) == question.targets and has_one_axis(y.shape[1:]):
                threshold, above = shapes.threshold_of(y, question.threshold)
                text = f"one score for each of {shapes.width(y)} labels: the sample has the label {above}"
                reading = replace(TASK.reading(name, threshold=threshold), text=text)
                fitting.append((shapes.is_direction(y), Candidate(reading, Rank.CERTAIN)))
        if not fitting:
            raise unfit(question)
        return [candidate for _, candidate in sorted(fitting, key=lambda pair: not pair[0])]

    def propose(self, context: ProposalContext) -> list[ProposedGate]:
        """Propose floors of F1 and of the share of right labels; without labels what has to agree."""
        if not context.labelled:
            return gates.agreement(context, "agreement")
        chance = "labels are right by the commonest answers"
        least = gates.better_than_chance("label_accuracy", context.chance, chance)
        margin = gates.loss_margin(context.samples)
        return [
            least,
            *gates.loss(context, "F1", "f1_micro_loss", f1_margin(context.samples), unit="%"),
            *gates.loss(context, "label accuracy", "label_accuracy_loss", margin, headline=False),
            *gates.agreement(context, "agreement", host=False),
        ]
