"""Metrics of anomaly scores."""

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
from harness.core.ranks import require_both
from harness.core.suite import CLEAN, ProposalContext, ProposedGate
from harness.data.labels import classes_of_labels
from harness.stats import intervals, linear
from harness.stats.intervals import Interval
from harness.tasks import propose as gates
from harness.tasks import shapes
from harness.tasks.answers import Answers
from harness.tasks.host import GivenLabels, HostTask, LabelSet, noted
from harness.tasks.question import Candidate, Question, Rank
from harness.tasks.rows import Facts, Group, Undefined, row, skipped
from harness.tasks.shared import SHIFT_COLUMN, whole_set
from suites.accuracy.tasks.anomaly.labels import anomalies_of_labels
from suites.accuracy.tasks.anomaly.task import Anomaly
from suites.accuracy.tasks.unfit import unfit

TASK = Anomaly()
TEXT = "an anomaly score, higher for anomalies (label 1): only the order counts"
#: Room for the loss of a good int8 model beside the least bound of an AUC loss.
AUC_SLACK = 1.5
#: Least rank correlation with the float model, and of the float model with itself on another runtime.
LEAST_CORRELATION, FLOAT_CORRELATION = 0.9, 0.99
STATISTICS = {"auc": linear.auc, "partial_auc": linear.partial_auc}
#: Normal samples, of which five lie in the range of the partial AUC; its bounds are wrong below.
FEWEST_NORMAL = round(5 / linear.MOST_FPR)
TOO_FEW = f"needs {FEWEST_NORMAL} normal samples"


def _values(answers: Answers, truth: NDArray[Any]) -> Iterator[tuple[str, NDArray[np.float64] | None]]:
    """Yield name and values of each statistic; None where there are too few samples."""
    if truth.shape != (len(answers),):
        raise DataError(f"{len(answers)} scores do not fit labels of shape {truth.shape}")
    if np.ptp(truth) == 0:
        raise Undefined(f"all {len(truth)} samples are {'anomalies' if truth[0] else 'normal'}")
    scores = answers.read_as(TASK)
    for name, statistic in STATISTICS.items():
        few = name == "partial_auc" and np.count_nonzero(truth == 0) < FEWEST_NORMAL
        yield name, None if few else statistic(scores, truth == 1)


def _quality(facts: Facts) -> Iterator[Measurement]:
    for name, values in _values(facts.answers, facts.labels):
        if values is None:
            yield skipped(name, TOO_FEW)
        else:
            yield row(name, linear.stratified_mean(values, facts.labels == 1), per_sample=values)


def _loss(facts: Facts) -> Iterator[Measurement]:
    pairs = zip(_values(facts.base, facts.labels), _values(facts.answers, facts.labels), strict=True)
    for (name, before), (_, after) in pairs:
        if before is None or after is None:
            yield skipped(f"{name}_loss", TOO_FEW, facts.reference)
            continue
        lost = before - after
        loss = linear.stratified_mean(lost, facts.labels == 1, lowest=-1.0)
        yield row(f"{name}_loss", loss, facts.reference, per_sample=lost)


def _agreement(facts: Facts) -> Iterator[Measurement]:
    correlation = linear.rank_correlation(facts.answers.read_as(TASK), facts.base.read_as(TASK))
    if math.isnan(correlation.value):
        raise Undefined("all scores are equal")
    yield row("rank_correlation", correlation, facts.reference)


def auc_margin(fewest: int) -> gates.Limit | None:
    """Return the strictest margin of the AUC loss, in percent of 1, that the rarer kind of samples proves."""
    z = intervals.z_value(gates.ALPHA)
    for margin in gates.MARGINS_PT:
        if margin >= 1 and AUC_SLACK * z * z / (fewest + z * z) < margin / 100:
            why = f"the strictest that {fewest:,} samples of the rarer kind can decide"
            return gates.Limit(margin, why)
    return None


def _ids(question: Question) -> NDArray[np.int64]:
    return np.arange(0 if question.labels is None else len(question.labels))


def _possible(question: Question) -> Iterator[Candidate]:
    """Single scores of labels 0 and 1 that are no probabilities, and no logits, of which 0 lies within."""
    assert question.labels is not None
    try:
        classes, _ = classes_of_labels(question.labels, where=question.where)
    except DataError:
        return
    if classes.max(initial=0) != 1 or classes.min(initial=0) != 0:
        return
    for name, y in question.outputs.items():
        if y.dtype.kind == "f" and shapes.width(y) == 1 and shapes.has_one_sign(y):
            threshold, _ = shapes.threshold_of(y, question.threshold)
            text = f"{TEXT}; at {threshold:g} it does not tell the classes apart"
            yield Candidate(replace(TASK.reading(name), text=text), Rank.POSSIBLE)


class AnomalyMetrics(HostTask):
    """Areas under the ROC curve with DeLong's intervals, and the order of the scores."""

    task = TASK
    metrics: ClassVar = {
        "auc": whole_set(
            "1", "higher", role=Role.RESULT, column=Column("AUC", 1, ".4f"), shift_column=SHIFT_COLUMN
        ),
        "partial_auc": whole_set("1", "higher"),
        "rank_correlation": whole_set(
            "1", "higher", role=Role.AGREEMENT, column=Column("rank correlation", 1, ".4f"), drift=True
        ),
        "auc_loss": whole_set(
            "1", "lower", role=Role.LOSS, column=Column("AUC loss [bound]", 1, ".4f", bound=True), drift=True
        ),
        "partial_auc_loss": whole_set("1", "lower", drift=True),
    }
    groups = (
        Group(("auc", "partial_auc"), _quality, labels=True),
        Group(("auc_loss", "partial_auc_loss"), _loss, against=True, labels=True),
        Group(("rank_correlation",), _agreement, against=True),
    )

    def truth(self, given: GivenLabels) -> LabelSet:
        """Read 1 of an anomaly and 0 of what is normal; of named classes one is called normal, good or so."""
        flags, note = anomalies_of_labels(given.labels, given.names, ids=given.ids, where=given.where)
        return LabelSet(flags, notes=noted(note))

    def candidates(self, question: Question) -> list[Candidate]:
        """List single scores; unasked, those of one sign, which are neither probabilities nor logits."""
        if question.labels is None:
            asked = question.outputs.items() if question.asked else ()
            return [Candidate(TASK.reading(name)) for name, _ in asked]
        if question.asked:
            self.truth(GivenLabels(question.labels, question.names, None, _ids(question), question.where))
            fitting = [name for name, y in question.outputs.items() if shapes.width(y) == 1]
            if not fitting:
                raise unfit(question)
            return [Candidate(replace(TASK.reading(name), text=TEXT)) for name in fitting]
        return [*_possible(question)]

    def require(self, labels: NDArray[Any]) -> None:
        """Refuse labels of one kind."""
        require_both(labels == 1)

    def evidence(
        self,
        scores: NDArray[np.float64],
        labels: NDArray[Any],
        by_chance: NDArray[np.float64],
        *,
        alpha: float,
    ) -> tuple[Interval, float]:
        """Return the AUC with DeLong's bounds."""
        chance, positive = float(by_chance.mean()), labels == 1
        if not np.isfinite(scores).all():
            return Interval(math.nan, 0.0, 1.0, len(scores)), chance
        values = linear.of_placements(scores, positive)
        return linear.stratified_mean(values, positive, alpha=alpha), chance

    def below_chance(self, score: Interval, chance: float, labels: NDArray[Any]) -> str:
        """Say that the order is the other way round."""
        if score.high < chance:
            return "far below chance: the score is higher for normal samples, or the labels are swapped"
        return ""

    def fewest(self, labels: NDArray[Any]) -> int:
        """Return the samples of the rarer kind."""
        return int(np.unique(labels, return_counts=True)[1].min())

    def propose(self, context: ProposalContext) -> list[ProposedGate]:
        """Propose how much of the AUC may be lost, and of the order of the scores."""
        proposed = []
        if context.labelled:
            table = {"variant": "float32", "case": CLEAN}
            chance = gates.Limit(0.5, "the AUC of one score for all samples")
            proposed.append(gates.gate("float32 better than chance", "auc", table, {"min": 0.5}, chance))
            proposed += gates.loss(context, "AUC", "auc_loss", auc_margin(context.fewest), unit="%")
        order = gates.Limit(LEAST_CORRELATION, "int8 keeps the order of the scores; a broken model has 0")
        return proposed + gates.kept(context, "order of scores", "rank_correlation", order, FLOAT_CORRELATION)
