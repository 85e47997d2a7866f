"""Which output is scored, and how one number a sample is read as a class."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.core.errors import DataError
from harness.core.job import Samples, Status
from harness.tasks.answers import Answers
from suites.accuracy.tasks.classification import classes
from tests.unit.suites.test_accuracy_summarise import FLOAT, LABELS, RNG, N, planted, rows, samples

FEATURES = RNG.normal(size=(N, 12)).astype(np.float32)


def named(measured: Samples, **values: Any) -> Samples:
    return replace(measured, values={**measured.values, **values})


@pytest.mark.parametrize("keep", ["outputs", "reduced"])
def test_the_output_that_is_named_is_scored_also_where_the_file_has_another_order(keep: str) -> None:
    base, scores = planted(harmful=9, beneficial=4)
    host = named(samples(FEATURES, base, keep=keep, names=("features", "logits"), scored=1), scored="logits")
    device = named(samples(scores, FEATURES, keep=keep, names=("logits", "features")), scored="logits")
    metrics = rows(device, {"float32": host})
    assert metrics["accuracy", ""].value == 175 / N
    assert metrics["accuracy_loss", FLOAT].value == 2.5


def test_an_output_that_the_reference_does_not_have_is_an_error() -> None:
    base, _ = planted(harmful=9, beneficial=4)
    metrics = rows(named(samples(base), scored="logits"), {"float32": named(samples(base), scored="logits")})
    assert metrics["accuracy", ""].status is Status.ERROR
    assert "none of the name that is scored" in metrics["accuracy", ""].reason


def test_class_indices_are_compared_and_have_no_confidence() -> None:
    answers = LABELS.copy()
    answers[:20] += 1
    indices = named(samples(answers), dtypes=["int64"])
    metrics = rows(indices, {"float32": indices})
    assert metrics["accuracy", ""].value == (N - 20) / N
    assert metrics["ece", ""].status is Status.SKIPPED


@pytest.mark.parametrize("threshold", [0.5, 0.0])
def test_one_score_is_a_class_above_the_threshold(threshold: float) -> None:
    truth = LABELS % 2
    scores = (threshold + np.where(truth == 1, 0.25, -0.25)).astype(np.float32)[:, None]
    scores[:10] = 2 * np.float32(threshold) - scores[:10]  # the other side
    scored = named(samples(scores), threshold=threshold)
    metrics = rows(scored, {"float32": scored}, labels=truth)
    assert metrics["accuracy", ""].value == (N - 10) / N
    assert metrics["ece", ""].status is Status.OK


def test_a_threshold_is_for_one_score() -> None:
    with pytest.raises(DataError, match="not one score"):
        classes.count(Answers.read(named(samples(FEATURES), threshold=0.5)))
