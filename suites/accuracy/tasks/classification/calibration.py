"""Whether a classifier is as sure as it is right, alone and in pairs with the reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.core.groups import CASE
from harness.core.measurement import Measurement
from harness.core.metric import Metric, Noise, Role
from harness.core.suite import CLEAN
from harness.stats import calibration, intervals
from harness.stats.corruption import mean_intervals
from harness.tasks.answers import Answers
from harness.tasks.rows import Facts, Group, row, skipped
from harness.tasks.shared import whole_set
from suites.accuracy.tasks.classification import classes as read
from suites.accuracy.tasks.classification.task import Form

WITHOUT_SCORES = "the model gives class indices without scores"
ALONE = ("ece_equal_mass", "nll", "brier")
PAIRED = ("ece_increase", "nll_increase", "brier_increase")
BINS = ("bin_confidence", "bin_accuracy")


def right_answers(answers: Answers, truth: NDArray[Any]) -> NDArray[np.bool_]:
    """Return whether each answer is the label, shape (n,); False where there is no prediction."""
    classes = read.count(answers)
    if truth.shape != (len(answers),):
        raise DataError(f"{len(answers)} answers do not fit labels of shape {truth.shape}")
    if classes is not None and truth.size and (truth.min() < 0 or truth.max() >= classes):
        raise DataError(
            f"labels run from {truth.min()} to {truth.max()}, and the model has {classes} classes"
        )
    right: NDArray[np.bool_] = read.predicted(answers) == truth
    return right


def ece(facts: Facts) -> Measurement:
    """Return the row of the ECE over equal widths, in a deep run with an interval."""
    if _has_no_scores(facts):
        return skipped("ece", WITHOUT_SCORES)
    bins, sure, right = _binned(facts, facts.answers)
    if facts.deep and len(right):
        return row("ece", calibration.error_interval(bins, sure, right))
    return row("ece", calibration.error(bins, sure, right), n=right.size)


def _alone(facts: Facts) -> Iterator[Measurement]:
    if _has_no_scores(facts):
        yield from (skipped(metric, WITHOUT_SCORES) for metric in ALONE)
        return
    _, sure, right = _binned(facts, facts.answers)
    if not len(right):
        return
    yield row("ece_equal_mass", calibration.error_interval(calibration.by_mass(sure), sure, right))
    yield from _with_bounds(("nll", "brier"), _scores(facts, facts.answers), "", lowest=0.0)


def _paired(facts: Facts) -> Iterator[Measurement]:
    if _has_no_scores(facts):
        yield from (skipped(metric, WITHOUT_SCORES, facts.reference) for metric in PAIRED)
        return
    one, other = (_binned(facts, answers) for answers in (facts.base, facts.answers))
    if not len(other[2]):
        return
    yield row("ece_increase", calibration.error_increase(one, other), facts.reference)
    more = _scores(facts, facts.answers) - _scores(facts, facts.base)
    yield from _with_bounds(("nll_increase", "brier_increase"), more, facts.reference)


def _bins(facts: Facts) -> Iterator[Measurement]:
    """The bars of a reliability diagram, each in a case of its own: ``clean/confidence=0.87-0.93``."""
    if _has_no_scores(facts):
        return
    _, sure, right = _binned(facts, facts.answers)
    for one in calibration.reliability(sure, right):
        case = CASE.format(case=CLEAN, column="confidence", name=f"{one.low:.2f}-{one.high:.2f}")
        confidence = row("bin_confidence", one.confidence, n=one.count)
        accuracy = row("bin_accuracy", intervals.wilson(round(one.accuracy * one.count), one.count))
        yield replace(confidence, case=case)
        yield replace(accuracy, case=case)


def _with_bounds(
    metrics: tuple[str, ...], columns: NDArray[np.float64], reference: str, *, lowest: float = -np.inf
) -> Iterator[Measurement]:
    for metric, interval, column in zip(metrics, mean_intervals(columns), columns.T, strict=True):
        bounded = replace(interval, low=max(lowest, interval.low))
        yield row(metric, bounded, reference, per_sample=column)


def _scores(facts: Facts, answers: Answers) -> NDArray[np.float64]:
    """NLL and Brier score of each sample, shape (n, 2)."""
    labels = facts.labels.astype(np.int64)
    shares = read.probabilities(answers, probabilities=read.are_probabilities(facts.base))
    of_label = shares[np.arange(len(labels)), labels]
    return np.stack(
        [calibration.negative_log_likelihood(of_label), calibration.brier(shares, labels)], axis=1
    )


def _binned(
    facts: Facts, answers: Answers
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Bins of equal widths, confidence and right answers."""
    right = right_answers(answers, facts.labels)
    sure = read.confidence(answers, probabilities=read.are_probabilities(facts.base))
    return calibration.by_width(sure), sure, right


def _has_no_scores(facts: Facts) -> bool:
    return read.form(facts.answers) == Form.INDEX


METRICS: dict[str, Metric] = {
    "ece": whole_set("1", "lower", Noise.SAMPLE),
    **{name: whole_set("1", "lower") for name in (*ALONE, *PAIRED)},
    "bin_confidence": Metric("1", per_data_set=True, role=Role.CONFIDENCE),
    "bin_accuracy": Metric("1", per_data_set=True, role=Role.RIGHT_OF_CONFIDENCE),
}
GROUPS = (
    Group(ALONE, _alone, labels=True, outputs=True, deep=True),
    Group(PAIRED, _paired, against=True, labels=True, outputs=True, deep=True),
    Group(BINS, _bins, labels=True, as_shipped=True),
)
