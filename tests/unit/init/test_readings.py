"""Which output holds the answers, and how labels are read: by shape, dtype and value, never in silence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness import tasks
from harness.core.errors import DataError, UsageError
from harness.core.task import Reading
from harness.init import readings
from harness.init.chance import meant
from harness.init.class_order import in_best_order
from harness.init.readings import Asked
from harness.init.readings import readings as read

N, CLASSES = 12, 4
RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(N, CLASSES)).astype(np.float32)
LABELS = np.arange(N) % CLASSES


def found(outputs: dict[str, NDArray[Any]], labels: NDArray[Any] | None, **asked: str) -> list[Reading]:
    return read(outputs, labels, Asked(**asked), where="data.npz")


def test_the_output_whose_width_is_the_number_of_classes_comes_first() -> None:
    outputs = {"features": RNG.normal(size=(N, 64)).astype(np.float32), "logits": SCORES}
    assert [reading.output for reading in found(outputs, LABELS)] == ["logits", "features"]
    table = readings.table_of(found(outputs, LABELS)[0], "features")
    assert table == {"task": "classification", "output": "logits"}


def test_a_map_of_features_is_no_score() -> None:
    outputs = {"map": RNG.normal(size=(N, 2, 2)).astype(np.float32), "logits": SCORES}
    assert [reading.output for reading in found(outputs, LABELS)] == ["logits"]


def test_class_indices_and_scores_of_one_classifier() -> None:
    outputs = {"label": LABELS, "probabilities": SCORES}
    best, other = found(outputs, LABELS)
    assert (best.output, best.form, other.output, other.form) == ("probabilities", "scores", "label", "index")
    assert found({"label": LABELS}, LABELS)[0].form == "index"


@pytest.mark.parametrize(("values", "threshold"), [([0.1, 0.9], 0.5), ([-3.0, 2.0], 0.0)])
def test_one_score_is_a_class_above_a_threshold(values: list[float], threshold: float) -> None:
    labels = np.arange(N) % 2
    output = np.asarray(values, np.float32)[labels][:, None]
    (reading,) = found({"y": output}, labels)
    assert (reading.task, reading.threshold) == ("classification", threshold)
    assert readings.score(reading, {"y": output}, labels).all()


@pytest.mark.parametrize("dtype", ["int64", "float32", "bool"])
def test_one_hot_labels_are_classes(dtype: str) -> None:
    (reading,) = found({"y": SCORES}, np.eye(CLASSES)[LABELS].astype(dtype))
    assert (reading.task, reading.form) == ("classification", "scores")


@pytest.mark.parametrize("dtype", ["int64", "float32", "bool"])
@pytest.mark.parametrize(("low", "threshold"), [(0.0, 0.5), (-1.0, 0.0)])
def test_columns_of_0_and_1_are_several_labels(dtype: str, low: float, threshold: float) -> None:
    labels = RNG.integers(0, 2, (N, CLASSES))
    labels[0] = 1
    outputs = {"features": RNG.normal(size=(N, 9)).astype(np.float32), "y": np.where(labels, 0.9, low)}
    (reading,) = found(outputs, labels.astype(dtype))
    assert (reading.task, reading.output, reading.threshold) == ("multi-label", "y", threshold)
    assert f"above {threshold:g}" in reading.text
    truth = readings.truth(reading, labels.astype(dtype))
    assert readings.score(reading, outputs, truth).mean() == 1


def test_several_labels_are_no_regression_in_silence() -> None:
    labels = np.ones((N, CLASSES), np.int64)
    assert found({"y": SCORES}, labels)[0].task == "multi-label"
    with pytest.raises(DataError) as refused:
        found({"y": SCORES[:, :3]}, labels)
    assert "multi-label" in str(refused.value)
    assert found({"y": SCORES}, labels, task="regression")[0].task == "regression"


def test_an_error_that_only_orders_the_samples_is_an_anomaly_score() -> None:
    labels = (np.arange(40) % 4 == 0).astype(np.int64)
    errors = {"e": (3 + RNG.random(40) + 2 * labels).astype(np.float32)[:, None]}
    ways = found(errors, labels)
    assert [way.task for way in ways] == ["classification", "anomaly"]
    scored = [(way, readings.score(way, errors, labels), labels) for way in ways]
    assert meant(scored) == "anomaly"
    # Logits and probabilities are classes: where they fail, something is wrong.
    for values in (SCORES[:, :1], 1 / (1 + np.exp(-SCORES[:, :1]))):
        assert [way.task for way in found({"y": values}, np.arange(N) % 2)] == ["classification"]
    assert found({"y": SCORES[:, :1]}, np.arange(N) % 2, task="anomaly")[0].task == "anomaly"


def test_vectors_of_length_1_are_embeddings() -> None:
    vectors = RNG.normal(size=(N, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert found({"e": vectors}, LABELS)[0].task == "embedding"
    assert found({"e": vectors}, None)[0].task == "embedding"
    both = found({"e": vectors, "logits": SCORES}, LABELS)
    assert [(way.task, way.output) for way in both] == [("classification", "logits"), ("embedding", "e")]
    assert found({"e": 3 * vectors}, LABELS)[0].task == "classification"
    assert found({"e": 3 * vectors}, LABELS, task="embedding")[0].task == "embedding"


def test_sigmoids_without_labels_are_asked_for() -> None:
    values = 1 / (1 + np.exp(-SCORES))
    with pytest.raises(UsageError) as refused:
        found({"y": values}, None)
    assert "--task" in str(refused.value)
    assert found({"y": values}, None, task="multi-label")[0].threshold == 0.5
    with pytest.raises(UsageError, match="no task 'multilabel'"):
        found({"y": values}, None, task="multilabel")


def test_normal_samples_are_known_by_their_name() -> None:
    labels, names = np.array([0, 1, 2] * 4), ("crack", "Good", "scratch")
    with pytest.raises(DataError) as refused:  # names of classes are no numbers
        read({"e": SCORES[:, :1]}, labels, Asked(), where="folder", names=names)
    assert "--task anomaly" in str(refused.value)
    (reading,) = read({"e": SCORES[:, :1]}, labels, Asked("anomaly"), where="folder", names=names)
    assert readings.truth(reading, labels, names).tolist() == [1, 0, 1] * 4
    with pytest.raises(DataError, match="which of the classes a, b, c is normal"):
        read({"e": SCORES[:, :1]}, labels, Asked("anomaly"), where="folder", names=("a", "b", "c"))
    with pytest.raises(DataError, match="neither 0 nor 1"):
        found({"e": SCORES[:, :1]}, labels, task="anomaly")


def test_whole_numbers_of_one_output_are_a_regression_and_it_is_said() -> None:
    (reading,) = found({"y": SCORES[:, :1]}, np.arange(N) * 7)
    assert reading.task == "regression"
    assert "whole numbers" in reading.text


def test_real_targets_are_a_regression_of_the_output_that_has_as_many() -> None:
    outputs = {"features": RNG.normal(size=(N, 8)).astype(np.float32), "y": SCORES[:, :2]}
    (reading,) = found(outputs, RNG.normal(size=(N, 2)))
    assert (reading.task, reading.output) == ("regression", "y")


def test_labels_out_of_range_are_counted_over_the_whole_set() -> None:
    labels = LABELS.copy()
    labels[::4] = 7
    with pytest.raises(DataError, match=r"3 of 12 labels are outside 0\.\.3: sample 0 \(from 0\) has 7"):
        found({"y": SCORES}, labels)
    with pytest.raises(DataError) as refused:
        found({"y": SCORES}, LABELS + 1)
    assert "counted from 1?" in str(refused.value)


def test_what_cannot_be_decided_is_asked_for() -> None:
    outputs = {"a": SCORES, "b": SCORES}
    with pytest.raises(UsageError) as refused:
        found(outputs, None)
    assert "--output" in str(refused.value)
    assert found(outputs, None, output="b")[0].output == "b"
    with pytest.raises(UsageError, match="no output 'c'"):
        found(outputs, LABELS, output="c")


@given(
    st.permutations(["features", "logits", "index", "pooled"]),
    st.sampled_from(["int64", "int32", "uint8", "float64"]),
    st.booleans(),
    st.booleans(),
)
def test_the_scores_are_found_in_any_order_of_outputs_and_form_of_labels(
    order: list[str], dtype: str, one_hot: bool, column: bool
) -> None:
    outputs = {
        "features": RNG.normal(size=(N, 16)).astype(np.float32),
        "logits": SCORES,
        "index": SCORES.argmax(axis=1),
        "pooled": RNG.normal(size=(N, 2, 3)).astype(np.float32),
    }
    truth = SCORES.argmax(axis=1)
    truth[:CLASSES] = np.arange(CLASSES)  # every class occurs
    labels = np.eye(CLASSES)[truth] if one_hot else truth.reshape((N, 1) if column else (N,))
    labels = labels.astype(dtype)
    best = found({name: outputs[name] for name in order}, labels)[0]
    assert best.output == "logits"
    hits = readings.score(best, outputs, readings.truth(best, labels))
    assert hits.tolist() == (SCORES.argmax(axis=1) == truth).tolist()


def test_the_best_constant_answer() -> None:
    classes = tasks.named("classification").reading("y")
    assert readings.baseline(classes, np.array([0, 1, 1, 2])).mean() == 0.5
    values = tasks.named("regression").reading("y")
    assert readings.baseline(values, np.array([[0.0], [1.0], [5.0]])).tolist() == [-1.0, 0.0, -4.0]


@given(st.permutations(range(CLASSES)))
def test_a_planted_order_of_the_classes_is_found(order: list[int]) -> None:
    answers = np.arange(80) // 2 % CLASSES
    assert in_best_order(answers, np.array(order)[answers]).all()


def test_a_chance_order_gains_nothing_and_many_classes_take_no_memory() -> None:
    rng = np.random.default_rng(1)
    answers, labels = rng.integers(0, 50_000, (2, 200))
    assert in_best_order(answers, labels).mean() < 0.05
    few = rng.integers(0, 10, (2, 2000))
    assert in_best_order(few[0], few[1]).mean() < 0.15
