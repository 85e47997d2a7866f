"""Metrics of anomaly scores."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.core.measurement import Measurement
from harness.core.metric import Column, Role
from harness.core.suite import CLEAN, ProposalContext, ProposedGate
from harness.stats import intervals, linear
from harness.tasks import propose as gates
from harness.tasks.answers import Answers
from harness.tasks.host import GivenLabels, HostTask, LabelSet, noted
from harness.tasks.rows import Facts, Group, Undefined, row, skipped
from harness.tasks.shared import SHIFT_COLUMN, whole_set
from suites.accuracy.tasks.anomaly.labels import anomalies_of_labels
from suites.accuracy.tasks.anomaly.task import Anomaly

TASK = Anomaly()
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
