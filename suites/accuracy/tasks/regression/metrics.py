"""Metrics of a regression."""

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
from harness.stats import accuracy, intervals, paired
from harness.stats.intervals import Interval
from harness.tasks import propose as gates
from harness.tasks import shapes
from harness.tasks.answers import Answers
from harness.tasks.host import GivenLabels, HostTask, LabelSet
from harness.tasks.quantity import Quantity
from harness.tasks.question import Candidate, Question, Rank
from harness.tasks.rows import Facts, Group, row, skipped
from harness.tasks.shared import whole_set
from suites.accuracy.tasks.regression.task import Regression
from suites.accuracy.tasks.unfit import unfit


def _targets_and_predictions(answers: Answers, labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Targets and predictions, shape (n, outputs)."""
    predicted = answers.outputs[answers.position].reshape(len(answers), -1).astype(np.float64)
    targets = labels.reshape(len(labels), -1).astype(np.float64)
    if predicted.shape != targets.shape:
        raise DataError(f"predictions of shape {predicted.shape} do not fit targets of shape {targets.shape}")
    return targets, predicted


def _errors(facts: Facts) -> Iterator[Measurement]:
    targets, predicted = _targets_and_predictions(facts.answers, facts.labels)
    measured = accuracy.regression_metrics(targets, predicted)
    with np.errstate(all="ignore"):
        errors = np.abs(targets - predicted).mean(axis=1)
        squares = np.square(targets - predicted).mean(axis=1)
    if not np.isfinite(squares).all():
        # One prediction that is not finite makes every mean infinite.
        for metric, value in (("mae", math.inf), ("rmse", math.inf), ("r2", -math.inf)):
            yield row(metric, Interval(value, value, value, measured.n))
        return
    yield row("mae", intervals.clustered_mean(errors), per_sample=errors)
    mean_square = intervals.clustered_mean(squares)
    low, high = max(0.0, mean_square.low), mean_square.high
    yield row("rmse", Interval(measured.rmse, math.sqrt(low), math.sqrt(high), measured.n))
    if math.isnan(measured.r2):
        yield skipped("r2", "the targets do not vary")
    else:
        # The variance of the targets is a constant: all sides have the same targets.
        variance = float(np.square(targets - targets.mean(axis=0)).mean())
        yield row("r2", Interval(measured.r2, 1 - high / variance, 1 - low / variance, measured.n))


def _error_increase(facts: Facts) -> Iterator[Measurement]:
    """Mean increase of the absolute error, as a share of the reference's mean absolute error."""
    targets, predicted = _targets_and_predictions(facts.answers, facts.labels)
    _, expected = _targets_and_predictions(facts.base, facts.labels)
    with np.errstate(all="ignore"):
        errors, base = (np.abs(targets - y).mean(axis=1) for y in (predicted, expected))
    scale = float(base.mean())
    if not 0 < scale < math.inf:
        raise DataError(f"the reference's mean absolute error is {scale:g}; no share of it is defined")
    if not np.isfinite(errors).all():
        yield row("error_increase", Interval(math.inf, math.inf, math.inf, errors.size), facts.reference)
        return
    increase = paired.paired_mean_difference(base / scale, errors / scale)
    yield row("error_increase", increase, facts.reference, per_sample=(errors - base) / scale)


class RegressionMetrics(HostTask):
    """Errors, and their paired increase as a share of the reference's error."""

    task = Regression()
    metrics: ClassVar = {
        "mae": whole_set("1", "lower"),
        "rmse": whole_set("1", "lower", role=Role.RESULT, column=Column("rmse")),
        "r2": whole_set("1", "higher"),
        "error_increase": whole_set("1", "lower", role=Role.LOSS),
    }
    under_shift = ("mae", "error_increase")
    quantities: ClassVar = {
        "mae": Quantity("has a mean absolute error of {:.3g}"),
        "error_increase": Quantity("errs more by {:.3g} %", 100),
    }
    groups = (
        Group(("mae", "rmse", "r2"), _errors, labels=True, outputs=True),
        Group(("error_increase",), _error_increase, against=True, labels=True, outputs=True),
    )

    def truth(self, given: GivenLabels) -> LabelSet:
        """Take numbers as they are."""
        return LabelSet(given.labels, given.names)

    def candidates(self, question: Question) -> list[Candidate]:
        """List outputs with as many numbers as there are targets; whole numbers last, names never."""
        if question.labels is None:
            single = [name for name, y in question.outputs.items() if question.asked or shapes.width(y) == 1]
            return [Candidate(self.task.reading(name)) for name in single]
        whole = question.labels.dtype.kind in "iub"
        if not question.asked and (question.names or (whole and question.targets > 1)):
            return []  # several classes a sample, or codes: never a regression in silence
        text = "labels are whole numbers and the output is one value: a regression" if whole else ""
        fitting = [
            name
            for name, y in question.outputs.items()
            if y.dtype.kind == "f" and shapes.width(y) == question.targets
        ]
        if question.asked and not fitting:
            raise unfit(question)
        return [Candidate(replace(self.task.reading(name), text=text), Rank.LAST) for name in fitting]

    def propose(self, context: ProposalContext) -> list[ProposedGate]:
        """Propose how much the error may increase."""
        if not context.labelled:
            return []
        limit = gates.Limit(
            5.0, "of the float model's error; the number of samples needed is known after a run"
        )
        mean = gates.Limit(0.0, "0 is predicting the mean")
        table: dict[str, Any] = {"variant": "float32", "case": CLEAN}
        proposed = [
            gates.gate("float32 better than the mean", "r2", table, {"min": 0.0}, mean),
            gates.gate("float32 as on the host", "error_increase", gates.FLOAT, {"max": "5 %"}, limit),
        ]
        if context.quantizes:
            table = {**gates.INT8_CLEAN, "on_inconclusive": "warn"}
            proposed.append(gates.gate("int8 error, clean", "error_increase", table, {"max": "5 %"}, limit))
        return proposed
