"""How outputs are read as answers, and what answers are worth: against numpy by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from harness import tasks
from harness.core.errors import DataError, UsageError
from harness.core.task import NO_ANSWER
from harness.stats import accuracy
from suites.accuracy.tasks.anomaly.task import Anomaly
from suites.accuracy.tasks.classification.task import Classification
from suites.accuracy.tasks.embedding import task as embedding
from suites.accuracy.tasks.embedding.task import Embedding, neighbours
from suites.accuracy.tasks.multi_label.task import MultiLabel

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
    assert CLASSES.read(reading, np.array(values)).tolist() == classes


@pytest.mark.parametrize(
    ("settings", "values"),
    [({}, [[0.1], [0.9]]), ({}, np.zeros((2, 3, 3))), ({"threshold": 0.0}, [[0.1, 0.9]]),
     ({"integers": True}, [[1, 2]])],
)  # fmt: skip
def test_an_output_of_another_shape_is_refused(settings: dict[str, Any], values: Any) -> None:
    with pytest.raises(DataError, match="the output y has shape"):
        CLASSES.read(CLASSES.reading("y", **settings), np.array(values))


@given(arrays.arrays(np.float32, (7, 4), elements=st.floats(-3, 3, width=32) | st.just(np.nan)))
def test_the_class_is_that_of_the_statistics(scores: Any) -> None:
    answers = CLASSES.read(CLASSES.reading("y"), scores)
    np.testing.assert_array_equal(answers, accuracy.predictions(scores))
    labels = np.arange(7) % 4
    np.testing.assert_array_equal(CLASSES.score(answers, labels), accuracy.right_answers(scores, labels))


def test_no_answer_is_the_same_as_no_other() -> None:
    one = np.array([NO_ANSWER, 1, 2])
    assert CLASSES.same(one, one).tolist() == [0, 1, 1]


def test_the_best_constant_answers() -> None:
    assert CLASSES.chance(np.array([2, 1, 1, 0])).mean() == 0.5
    regression = tasks.named("regression")
    targets = np.array([[0.0, 1.0], [1.0, 1.0], [5.0, 4.0]])
    assert regression.chance(targets).tolist() == [-0.5, 0.0, -3.5]
    assert regression.score(targets + [[1.0, 3.0]] * 3, targets).tolist() == [-2.0] * 3
    assert regression.score(np.full((3, 2), np.nan), targets).tolist() == [-np.inf] * 3


def test_each_task_is_found_by_its_name() -> None:
    assert all(tasks.named(name).name == name for name in tasks.names())
    with pytest.raises(UsageError, match="no task 'clasification'"):
        tasks.named("clasification")


LABELS = MultiLabel()
ANOMALY = Anomaly()
EMBEDDING = Embedding()


def test_several_labels_are_read_at_the_threshold() -> None:
    values = np.array([[0.1, 0.9, 0.5], [0.7, np.nan, 0.6]])
    answers = LABELS.read(LABELS.reading("y", threshold=0.5), values)
    assert answers.tolist() == [[0, 1, 0], [1, NO_ANSWER, 1]]
    truth = np.array([[0, 1, 1], [1, 0, 1]])
    assert LABELS.score(answers, truth).tolist() == [2 / 3, 2 / 3]
    assert LABELS.same(answers, answers).tolist() == [1, 2 / 3]
    assert LABELS.chance(truth).tolist() == pytest.approx([2 / 3, 2 / 3])
    with pytest.raises(DataError, match="not one score for each label"):
        LABELS.read(LABELS.reading("y", threshold=0.5), np.zeros((2, 3, 3)))


@given(st.integers(0, 1000))
def test_the_places_of_samples_are_counted_pair_by_pair(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, truth = np.round(rng.normal(size=12), 1), rng.permutation([0] * 7 + [1] * 5)
    places = ANOMALY.score(ANOMALY.read(ANOMALY.reading("y"), scores[:, None]), truth)
    for i in range(12):
        others = scores[truth != truth[i]]
        ahead = scores[i] - others if truth[i] else others - scores[i]
        assert places[i] == pytest.approx(((ahead > 0) + 0.5 * (ahead == 0)).mean())
    for kind in (0, 1):
        assert places[truth == kind].mean() == pytest.approx(places.mean())


def test_anomaly_scores_of_one_kind_have_no_score_and_moved_ones_are_not_the_same() -> None:
    assert np.isnan(ANOMALY.score(np.arange(3.0), np.zeros(3))).all()
    assert ANOMALY.same(np.array([0.0, 1, 2]), np.array([5.0, 6, 7])).tolist() == [1, 1, 1]
    assert ANOMALY.same(np.array([2.0, 1, 0]), np.array([5.0, 6, 7])).tolist() == [0, 1, 0]
    assert ANOMALY.same(np.array([np.nan, 1]), np.array([0.0, 1]))[0] == 0
    with pytest.raises(DataError, match="not one anomaly score"):
        ANOMALY.read(ANOMALY.reading("y"), np.zeros((3, 2)))


@given(st.integers(0, 1000), st.integers(2, 40))
def test_neighbours_are_the_nearest_by_cosine(seed: int, n: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(n, 4))
    answers = EMBEDDING.read(EMBEDDING.reading("e"), vectors.astype(np.float32))
    nearest = neighbours(answers, 5)
    for i in range(n):
        cosine = answers @ answers[i]
        cosine[i] = -2
        expected = np.argsort(-cosine, kind="stable")[: min(5, n - 1)]
        assert nearest[i].tolist() == [*expected, *[NO_ANSWER] * (5 - len(expected))]


def test_a_vector_without_direction_is_nobody_s_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 0.0], [np.nan, 1.0], [0.0, 1.0], [0.1, 0.9]])
    answers = EMBEDDING.read(EMBEDDING.reading("e"), vectors)
    assert neighbours(answers, 1)[:, 0].tolist() == [1, 0, NO_ANSWER, NO_ANSWER, 5, 4]
    monkeypatch.setattr(embedding, "_CHUNK", 7)  # row by row
    assert neighbours(answers, 1)[:, 0].tolist() == [1, 0, NO_ANSWER, NO_ANSWER, 5, 4]
    truth = np.array([0, 0, 1, 1, 1, 2])
    assert EMBEDDING.score(answers, truth).tolist() == [1, 1, 0, 0, 0, 0]
    assert EMBEDDING.same(answers, answers).tolist() == [1, 1, 0, 0, 1, 1]
    assert EMBEDDING.chance(truth).tolist() == [0.2, 0.2, 0.4, 0.4, 0.4, 0.0]


def test_equal_vectors_keep_their_order() -> None:
    """A matrix product rounds by the place in the matrix: nearly equal similarities must not flip."""
    vectors = np.repeat(np.random.default_rng(0).normal(size=(1, 64)), 33, axis=0)
    nearest = neighbours(EMBEDDING.read(EMBEDDING.reading("e"), vectors), 1)[:, 0]
    assert nearest.tolist() == [1, *[0] * 32]
