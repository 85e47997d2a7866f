"""How outputs are read as answers, and what answers are worth: against numpy by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from harness.core import tasks
from harness.core.errors import DataError, UsageError
from harness.core.tasks import NO_ANSWER, TASKS, Form
from harness.core.tasks.classification import Classification
from harness.stats import accuracy

CLASSES = Classification()


@pytest.mark.parametrize(
    ("settings", "values", "classes"),
    [
        ({}, [[0.1, 0.9], [0.8, 0.2]], [1, 0]),
        ({}, [[np.nan, 0.9], [0.8, 0.2]], [NO_ANSWER, 0]),
        ({}, [[0.5, 0.5], [np.inf, 0.0]], [0, NO_ANSWER]),
        ({}, [[[0.1, 0.9]], [[0.2, 0.8]]], [1, 1]),
        ({"threshold": 0.5}, [[0.1], [0.9], [np.nan]], [0, 1, NO_ANSWER]),
        ({"threshold": 0.5}, [0.1, 0.5, 0.9], [0, 0, 1]),
        ({"integers": True, "width": 1}, [[3.0], [7.0]], [3, 7]),
        ({"integers": True, "width": 2}, [[3.0, 5.0], [7.0, 2.0]], [1, 0]),
    ],
)
def test_classes_of_an_output(settings: dict[str, Any], values: list[object], classes: list[int]) -> None:
    reading = CLASSES.reading("y", **settings)
    assert CLASSES.answers(reading, np.array(values)).tolist() == classes


@pytest.mark.parametrize(
    ("settings", "values"),
    [({}, [[0.1], [0.9]]), ({}, np.zeros((2, 3, 3))), ({"threshold": 0.0}, [[0.1, 0.9]]),
     ({"integers": True}, [[1, 2]])],
)  # fmt: skip
def test_an_output_of_another_shape_is_refused(settings: dict[str, Any], values: Any) -> None:
    with pytest.raises(DataError, match="the output y has shape"):
        CLASSES.answers(CLASSES.reading("y", **settings), np.array(values))


@given(arrays.arrays(np.float32, (7, 4), elements=st.floats(-3, 3, width=32) | st.just(np.nan)))
def test_the_class_is_that_of_the_statistics(scores: Any) -> None:
    answers = CLASSES.answers(CLASSES.reading("y"), scores)
    np.testing.assert_array_equal(answers, accuracy.predictions(scores))
    labels = np.arange(7) % 4
    np.testing.assert_array_equal(CLASSES.score(answers, labels), accuracy.right_answers(scores, labels))


def test_no_answer_is_the_same_as_no_other() -> None:
    one = np.array([NO_ANSWER, 1, 2])
    assert CLASSES.same(one, one).tolist() == [0, 1, 1]


def test_the_best_constant_answers() -> None:
    assert CLASSES.constant(np.array([2, 1, 1, 0])).mean() == 0.5
    regression = tasks.named("regression")
    targets = np.array([[0.0, 1.0], [1.0, 1.0], [5.0, 4.0]])
    assert regression.constant(targets).tolist() == [-0.5, 0.0, -3.5]
    assert regression.score(targets + [[1.0, 3.0]] * 3, targets).tolist() == [-2.0] * 3
    assert regression.score(np.full((3, 2), np.nan), targets).tolist() == [-np.inf] * 3


def test_each_task_is_found_by_its_name() -> None:
    assert all(tasks.named(name).name == name for name in TASKS)
    assert tasks.named("regression").reading("y").form is Form.VALUES
    with pytest.raises(UsageError, match="no task 'clasification'"):
        tasks.named("clasification")
