"""Labels of every dtype and shape become class indices, or are refused by what they are."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import DataError
from harness.data.datasets import Dataset, Split, split_by_hash, with_labels
from harness.data.labels import classes_of_labels, classes_of_text, joined
from harness.tasks import on_host
from suites.accuracy.tasks.multi_label.labels import labels_of_flags

CLASSES = np.array([0, 2, 1, 2, 0])

HOST = on_host("classification")


@pytest.mark.parametrize(
    ("labels", "noted"),
    [
        (CLASSES, False),
        (CLASSES.astype(np.uint8), False),
        (CLASSES.astype(">i2"), False),
        (CLASSES[:, None], True),
        (CLASSES[:, None, None], True),
        (CLASSES.astype(np.float32), True),
        (CLASSES[:, None].astype(np.float64), True),
        (np.eye(3)[CLASSES], True),
        (np.eye(3, dtype=np.uint8)[CLASSES], True),
        (np.eye(3, dtype=bool)[CLASSES], True),
        (np.asfortranarray(np.eye(3, dtype=np.float32)[CLASSES]), True),
        (np.eye(3)[CLASSES][:, None, :], True),
    ],
)
def test_every_way_to_write_classes(labels: npt.NDArray[Any], noted: bool) -> None:
    indices, note = classes_of_labels(labels)
    assert indices.dtype == np.int64
    assert indices.tolist() == CLASSES.tolist()
    assert bool(note) == noted
    assert not noted or str(labels.dtype) in note


def test_two_classes_as_booleans() -> None:
    assert classes_of_labels(np.array([True, False]))[0].tolist() == [1, 0]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30), st.integers(7, 9))
def test_one_hot_is_the_inverse_of_the_identity_matrix(classes: list[int], width: int) -> None:
    assert classes_of_labels(np.eye(width)[classes])[0].tolist() == classes


@pytest.mark.parametrize(
    ("labels", "says", "cause"),
    [
        (np.array([0, 1.5, 2, 2.5]), r"2 of 4 labels are not whole numbers: sample 1 \(from 0\) has 1.5", ""),
        (np.array([[0], [np.nan]]), "1 of 2 labels are not finite: sample 1", ""),
        (np.array([[1, 0, 1], [0, 1, 0]]), "not one-hot: 1 of 2 samples, first sample 0", "multi-label"),
        (np.array([[0, 0, 1], [0, 0, 0]]), "not one-hot: 1 of 2 samples, first sample 1", "0 ones"),
        (np.array([[0.2, 0.8], [1, 0]]), "not one-hot", "probabilities"),
        (np.array([[0.2, 7.5], [1, 0]]), "not one-hot", "sample 0 .* begins 0.2, 7.5"),
        (np.zeros((4, 3, 2), int), r"shape \(4, 3, 2\): 6 numbers per sample", "masks"),
        (np.array(["a", "b"]), "must be numbers", ""),
        (np.array([1j]), "must be numbers", ""),
        (np.float64(3), "must be numbers", ""),
        (np.array([2**60]), "too large", ""),
    ],
)
def test_what_is_not_a_class_is_named(labels: npt.NDArray[Any], says: str, cause: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        classes_of_labels(np.asarray(labels), where="x.npz")
    assert caught.value.where == "x.npz"
    assert caught.value.next_step
    assert re.search(cause, caught.value.cause)


def whole(labels: npt.NDArray[Any]) -> Dataset:
    rows = np.random.default_rng(0).normal(size=(len(labels), 2))
    return Dataset({"x": rows}, labels, np.arange(len(labels)))


def test_wrong_labels_are_counted_over_the_whole_source_and_not_over_a_part() -> None:
    labels = np.arange(150) % 5
    labels[::10] = -1
    split = split_by_hash(whole(labels))
    with pytest.raises(DataError, match=r"15 of 150 labels are outside 0\.\.4: sample 0 .* has -1") as caught:
        with_labels(split, HOST, 5, where="x.npz")
    assert "no label" in caught.value.cause


def test_both_parts_of_a_split_are_converted_in_their_order() -> None:
    classes = np.arange(60) % 3
    split = split_by_hash(whole(np.eye(3)[classes]))
    converted = with_labels(split, HOST, 3, where="x.npz")
    for part in (converted.calibration, converted.test):
        assert part.labels is not None
        assert part.labels.tolist() == classes[part.ids].tolist()
    assert len(converted.notes) == 1


def test_sets_of_two_sources_are_counted_each_by_itself() -> None:
    split = Split(whole(np.array([0, 1, 9])), whole(np.array([[0], [1]])))
    with pytest.raises(DataError, match="1 of 3 labels"):
        with_labels(split, HOST, 2, where="x.npz")
    assert (
        with_labels(Split(whole(np.array([0, 1])), split.test), HOST, 2, where="x.npz").test.labels
        is not None
    )


def test_samples_without_labels_stay_without() -> None:
    bare = Dataset({"x": np.zeros((3, 1))}, None, np.arange(3))
    split = with_labels(Split(bare.take(np.arange(0)), bare), HOST, 2, where="x.npz")
    assert split.test.labels is None
    assert split.notes == ()


def test_classes_that_are_counted_from_one_are_named() -> None:
    split = split_by_hash(whole(np.arange(30) % 3 + 1))
    with pytest.raises(DataError, match="10 of 30 labels") as caught:
        with_labels(split, HOST, 3, where="x.npz")
    assert "the labels are 1 to 3: classes counted from 1?" in caught.value.cause
    assert caught.value.next_step == "subtract 1 from every label"


@pytest.mark.parametrize(
    ("text", "indices", "names"),
    [
        (["dog", "cat", "dog "], [1, 0, 1], ("cat", "dog")),
        ([b"dog", b"cat"], [1, 0], ("cat", "dog")),
        (["10", "9", "2"], [10, 9, 2], ()),
        (["10", "9", "x"], [0, 1, 2], ("10", "9", "x")),
    ],
)
def test_text_is_numbered(text: list[Any], indices: list[int], names: tuple[str, ...]) -> None:
    numbered, class_names = classes_of_text(np.array(text))
    assert numbered.tolist() == indices
    assert class_names == names


def test_more_classes_than_outputs_are_named() -> None:
    data = Dataset({"x": np.zeros((3, 1))}, np.array([0, 1, 0]), np.arange(3), ("cat", "dog", "emu"))
    with pytest.raises(DataError, match="3 classes, and the model has 2 outputs") as caught:
        with_labels(Split(data.take(np.arange(0)), data), HOST, 2, where="photos")
    assert "emu" in caught.value.cause


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "float32"])
def test_several_labels_are_columns_of_0_and_1(dtype: str) -> None:
    flags = np.array([[0, 1, 1], [0, 0, 0]])
    assert labels_of_flags(flags.astype(dtype)).tolist() == flags.tolist()
    assert labels_of_flags(flags[:, None, :]).tolist() == flags.tolist()


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.array([0, 1, 1]), "columns of 0 and 1"),
        (np.array([[0, 1], [0, 2], [1, 3]]), r"2 of 3 labels are neither 0 nor 1: sample 1 \(from 0\)"),
        (np.array([[0.0, 1.0], [0.5, 0.0]]), "neither 0 nor 1"),
        (np.array([[0, 1], [1, 1]]), "2 labels a sample, and the model has 3 scores"),
    ],
)
def test_what_is_no_column_of_0_and_1_is_named(labels: npt.NDArray[Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        labels_of_flags(labels, 3)


def test_both_parts_of_a_split_are_read_as_the_task_takes_them() -> None:
    def part(ids: list[int], labels: npt.NDArray[Any]) -> Dataset:
        return Dataset({"x": np.zeros((len(ids), 1))}, labels, np.array(ids), ("bad", "good", "worse"))

    split = Split(part([3, 0], np.array([1, 0])), part([1, 2], np.array([2, 1])))
    anomalies = with_labels(split, on_host("anomaly"), where="folder")
    assert np.asarray(anomalies.calibration.labels).tolist() == [0, 1]
    assert np.asarray(anomalies.test.labels).tolist() == [1, 0]
    assert anomalies.test.class_names == ()
    assert "'good' is normal" in anomalies.notes[0]
    groups = with_labels(split, on_host("embedding"), 2, where="folder")
    assert np.asarray(groups.test.labels).tolist() == [2, 1], "no place of a score"
    targets = with_labels(split, on_host("regression"), where="folder")
    assert targets.test.labels is not None
    assert targets.test.labels.tolist() == [2, 1]
    assert targets.test.class_names == ("bad", "good", "worse")


def test_labels_of_several_lengths_are_filled_up() -> None:
    one, other = np.zeros((2, 3, 4)), np.ones((1, 1, 4))
    whole = joined([one, other])
    assert whole.shape == (3, 3, 4)
    assert whole[2, 1:].tolist() == [[-1.0] * 4] * 2
    assert joined([np.arange(2), np.arange(3)]).tolist() == [0, 1, 0, 1, 2]
