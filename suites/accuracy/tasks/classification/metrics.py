"""Metrics of a classification."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.core.measurement import Measurement
from harness.core.metric import Column, Metric, Role
from harness.core.suite import CLEAN, ProposalContext, ProposedGate
from harness.core.task import Reading
from harness.data.labels import classes
from harness.stats import intervals, paired
from harness.stats.intervals import Interval
from harness.tasks import propose as gates
from harness.tasks import shared
from harness.tasks.answers import Answers
from harness.tasks.host import GivenLabels, HostTask, LabelSet, noted
from harness.tasks.quantity import Quantity
from harness.tasks.question import Candidate, Question
from harness.tasks.rows import PT, Facts, Group, row, share
from harness.tasks.shared import SHIFT_COLUMN, whole_set
from suites.accuracy import groups
from suites.accuracy.tasks.classification import calibration, candidates
from suites.accuracy.tasks.classification import classes as read
from suites.accuracy.tasks.classification.calibration import right_answers
from suites.accuracy.tasks.classification.classes import TASK
from suites.accuracy.tasks.classification.task import Form
from suites.accuracy.tasks.labels import HINT
from suites.accuracy.tasks.unfit import unfit

#: Significance level of the floor of the float model's accuracy.
FLOOR_ALPHA = 0.001


def _quality(facts: Facts) -> Iterator[Measurement]:
    right = right_answers(facts.answers, facts.labels)
    yield row("accuracy", share(right), per_sample=right)
    yield calibration.ece(facts)


def _loss(facts: Facts) -> Iterator[Measurement]:
    base, right = (right_answers(answers, facts.labels) for answers in (facts.base, facts.answers))
    flips = paired.flips(base, right)
    lost = PT * (base.astype(np.float64) - right)
    yield row("accuracy_loss", flips.loss, facts.reference, factor=PT, per_sample=lost)
    yield row("flips_harmful", flips.harmful, facts.reference, per_sample=base & ~right)
    yield row("flips_beneficial", flips.beneficial, facts.reference, per_sample=~base & right)


def _class_loss(facts: Facts) -> Iterator[Measurement]:
    """Class by class, in the case ``clean/<label>``: a mean hides a single class that is lost."""
    base, right = (right_answers(answers, facts.labels) for answers in (facts.base, facts.answers))
    for label in np.unique(facts.labels):
        of_class = facts.labels == label
        loss = paired.flips(base[of_class], right[of_class]).loss
        case = f"{CLEAN}/{label}"
        yield replace(row("class_accuracy_loss", loss, facts.reference, factor=PT), case=case)


def _agreement(facts: Facts) -> Iterator[Measurement]:
    equal = same(facts.answers, facts.base, len(facts.answers))
    yield row("agreement", share(equal), facts.reference, per_sample=equal)


def same(one: Answers, other: Answers, n: int) -> NDArray[np.bool_]:
    """Return on which of the first `n` samples both give the same class."""
    read.count(one)  # raises for a model that is no classifier
    classes = read.predicted(one)[:n]
    equal: NDArray[np.bool_] = (classes == read.predicted(other)[:n]) & (classes >= 0)
    return equal


def accuracy_floor(right: int, tried: int, samples: int, chance: float) -> gates.Limit | None:
    """Return a floor below which model, preprocessing or data must be broken; None if it cannot be proved.

    Parameters
    ----------
    right, tried : int
        Right answers among the trial samples.
    samples : int
        Test samples, which the gate will be judged by.
    chance : float
        Accuracy of always answering with the most common label.
    """
    floor = math.floor(100 * intervals.wilson(right, tried, alpha=FLOOR_ALPHA).low) / 100
    expected = intervals.wilson(math.floor(samples * right / tried), samples)
    if floor <= chance or floor >= expected.low:
        return None
    return gates.Limit(
        floor, f"{right} of {tried} trial samples were right; less means a broken model or data"
    )


class ClassificationMetrics(HostTask):
    """Accuracy, its paired loss by Tango's interval, flips, and the loss of each class."""

    task = TASK
    metrics: ClassVar = {
        "accuracy": whole_set(
            "1", "higher", role=Role.RESULT, share="simple", column=Column("accuracy %", 100, ".2f"),
            shift_column=SHIFT_COLUMN,
        ),
        "agreement": shared.AGREEMENT,
        "accuracy_loss": whole_set(
            "pt", "lower", role=Role.LOSS, share="paired",
            column=Column("loss pt [bound]", 1, ".2f", bound=True), drift=True,
        ),
        "class_accuracy_loss": shared.CLASS_LOSS,
        "flips_harmful": shared.HARMFUL,
        "flips_beneficial": shared.BENEFICIAL,
        "worst_class_accuracy_loss": Metric(
            "pt", "lower", case=CLEAN, role=Role.WORST_LOSS, per_data_set=True
        ),
        **calibration.METRICS,
    }  # fmt: skip
    otherwise = ", or use --task embedding if the output is an embedding"
    worst_shift = "worst_family_loss"
    under_shift = ("accuracy", "accuracy_loss")
    quantities: ClassVar = {
        "accuracy": Quantity("has {:.3g} % right", 100, reach=1),
        "accuracy_loss": Quantity("lost {:.3g} pt", reach=PT, column="worst {} pt"),
        "agreement": shared.AGREEMENT_OF_PART,
    }
    groups = (
        Group(("accuracy", "ece"), _quality, labels=True),
        Group(("accuracy_loss", "flips_harmful", "flips_beneficial"), _loss, against=True, labels=True),
        Group(("agreement",), _agreement, against=True),
        Group(("class_accuracy_loss",), _class_loss, against=True, labels=True, as_shipped=True),
        *calibration.GROUPS,
    )

    def truth(self, given: GivenLabels) -> LabelSet:
        """Read class indices, as numbers or one-hot, that the model has scores for."""
        indices, note = classes(given, HINT)
        return LabelSet(indices, given.names, noted(note))

    def candidates(self, question: Question) -> list[Candidate]:
        """List outputs with a score for each class, one score for two, or the class itself."""
        return candidates.candidates(question)

    def refusal(self, question: Question) -> DataError | None:
        """Say why whole numbers or names fit no output."""
        return None if question.labels is None else unfit(question, question.names)

    def evidence(
        self,
        scores: NDArray[np.float64],
        labels: NDArray[Any],
        by_chance: NDArray[np.float64],
        *,
        alpha: float,
    ) -> tuple[Interval, float]:
        """Return the share of right answers with Wilson's bounds."""
        return intervals.wilson(int(scores.sum()), len(scores), alpha=alpha), float(by_chance.mean())

    def apart(self, one: NDArray[np.float64], other: NDArray[np.float64], *, p: float) -> bool:
        """Whether McNemar's test tells the two apart."""
        return paired.flips(one > 0, other > 0).mcnemar_p <= p

    def below_chance(self, score: Interval, chance: float, labels: NDArray[Any]) -> str:
        """Say that classes are in another order."""
        if score.high < min(chance, 1 / len(np.unique(labels))):
            return "far below chance: the classes are in another order, or swapped"
        return ""

    def fewest(self, labels: NDArray[Any]) -> int:
        """Return the samples of the rarest class."""
        return int(np.unique(labels, return_counts=True)[1].min())

    def notes(self, reading: Reading, names: tuple[str, ...]) -> list[str]:
        """Say which class stands for which output where the model has more."""
        if not names or reading.form != Form.SCORES or f" {len(names)} classes" in reading.text:
            return []
        return [
            f"the data have {len(names)} classes, the model has more: classes are assigned to outputs in the "
            f"order of their names, {names[0]!r} to output 0"
        ]

    def same(self, one: Answers, other: Answers, n: int) -> tuple[str, NDArray[np.bool_]]:
        """Return where both give the same class."""
        return "top-1", same(one, other, n)

    def parts(
        self, rows: Sequence[Measurement], truth: NDArray[Any], least: int, sequence: NDArray[np.int64] | None
    ) -> list[Measurement]:
        """Return the row of the class that lost most accuracy."""
        return groups.worst_class(rows, truth.astype(np.int64), least, sequence)

    def propose(self, context: ProposalContext) -> list[ProposedGate]:
        """Propose a floor of the accuracy and how much may be lost; without labels what has to agree."""
        if not context.labelled:
            return gates.agreement(context, "agreement")
        chance = "test labels are of the commonest class"
        proposed = [gates.better_than_chance("accuracy", context.chance, chance)]
        floor = accuracy_floor(context.right, context.tried, context.samples, context.chance)
        if floor is not None:
            table = {"variant": "float32", "case": CLEAN}
            proposed.append(gates.gate("float32 accuracy", "accuracy", table, {"min": floor.value}, floor))
        margin = gates.loss_margin(context.samples)
        return proposed + gates.loss(context, "accuracy", "accuracy_loss", margin)
