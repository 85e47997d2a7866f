"""Metrics of a regression."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.core.measurement import Measurement
from harness.stats import accuracy, intervals, paired
from harness.stats.intervals import Interval
from suites.accuracy.answers import Answers
from suites.accuracy.rows import Facts, Group, row, skipped


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


GROUPS = (
    Group(("mae", "rmse", "r2"), _errors, labels=True, outputs=True),
    Group(("error_increase",), _error_increase, against=True, labels=True, outputs=True),
)
