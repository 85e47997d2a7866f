"""Metrics of anomaly scores."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core import tasks
from harness.core.errors import DataError
from harness.core.measurement import Measurement
from harness.stats import linear
from suites.accuracy.answers import Answers
from suites.accuracy.rows import Facts, Group, Undefined, row, skipped

TASK = tasks.named("anomaly")
STATISTICS = {"auc": linear.auc, "partial_auc": linear.partial_auc}
#: Normal samples, of which five lie in the range of the partial AUC; its bounds are wrong below.
FEWEST_NORMAL = round(5 / linear.MOST_FPR)
TOO_FEW = f"needs {FEWEST_NORMAL} normal samples"


def _values(answers: Answers, labels: NDArray[Any]) -> Iterator[tuple[str, NDArray[np.float64] | None]]:
    """Yield name and values of each statistic; None where there are too few samples."""
    if labels.shape != (len(answers),):
        raise DataError(f"{len(answers)} scores do not fit labels of shape {labels.shape}")
    if np.ptp(labels) == 0:
        raise Undefined(f"all {len(labels)} samples are {'anomalies' if labels[0] else 'normal'}")
    scores = answers.read_as(TASK)
    for name, statistic in STATISTICS.items():
        few = name == "partial_auc" and np.count_nonzero(labels == 0) < FEWEST_NORMAL
        yield name, None if few else statistic(scores, labels == 1)


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


GROUPS = (
    Group(("auc", "partial_auc"), _quality, labels=True),
    Group(("auc_loss", "partial_auc_loss"), _loss, against=True, labels=True),
    Group(("rank_correlation",), _agreement, against=True),
)
