from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import DataError
from harness.data.datasets import Dataset, check_labels, content_sha256, split_by_hash, stratified_order


def dataset(values: list[int], labels: list[int] | None = None) -> Dataset:
    rows = np.array(values, dtype=np.int64)[:, np.newaxis] * np.array([1, 7])
    return Dataset(
        {"b": rows, "a": rows[:, :1] + 3},
        None if labels is None else np.array(labels),
        np.arange(len(values)),
    )


@given(st.lists(st.integers(0, 30), min_size=2, max_size=60).filter(lambda v: len(set(v)) > 1), st.randoms())
def test_the_split_is_by_content_alone(values: list[int], random: object) -> None:
    try:
        split = split_by_hash(dataset(values))
    except DataError:
        # Only when no group of equal samples fits into the share that may calibrate.
        budget = max(1, len(values) // 5)
        assert sum(values.count(v) > budget for v in set(values)) >= len(set(values)) - 1
        return
    calibration, test = (part.inputs["b"][:, 0].tolist() for part in (split.calibration, split.test))
    assert sorted(calibration + test) == sorted(values)
    assert test
    assert not set(calibration) & set(test)
    assert len(calibration) <= max(1, len(values) // 5)
    random.shuffle(values)  # type: ignore[attr-defined]
    again = split_by_hash(dataset(values))
    assert sorted(again.calibration.inputs["b"][:, 0].tolist()) == sorted(calibration)


def test_the_split_takes_no_more_than_asked_and_keeps_ids() -> None:
    whole = dataset(list(range(2000)), [v % 3 for v in range(2000)])
    split = split_by_hash(whole)
    assert (len(split.calibration), len(split.test)) == (200, 1800)
    for part in (split.calibration, split.test):
        np.testing.assert_array_equal(part.inputs["b"], whole.inputs["b"][part.ids])
        np.testing.assert_array_equal(part.labels, part.ids % 3)


def test_every_input_counts_in_the_hash() -> None:
    same = np.zeros((4, 3), dtype=np.float32)
    differing = np.arange(4, dtype=np.float32)
    split = split_by_hash(Dataset({"x": same, "y": differing}, None, np.arange(4)))
    assert len(split.calibration) == 1
    with pytest.raises(DataError, match="cannot be split"):
        split_by_hash(Dataset({"x": same, "y": same}, None, np.arange(4)))


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=120),
    seed=st.integers(0, 3),
    labelled=st.booleans(),
)
def test_the_order_is_a_permutation_that_ignores_the_order_given(
    labels: list[int], seed: int, labelled: bool
) -> None:
    ids = np.arange(len(labels)) * 3 + 1
    classes = np.array(labels) if labelled else None
    order = stratified_order(classes, ids, seed=seed)
    assert sorted(order.tolist()) == list(range(len(labels)))
    backwards = stratified_order(None if classes is None else classes[::-1], ids[::-1], seed=seed)
    np.testing.assert_array_equal(ids[::-1][backwards], ids[order])


@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=120))
def test_every_prefix_is_nearly_balanced(labels: list[int]) -> None:
    classes = np.array(labels)
    order = stratified_order(classes, np.arange(len(labels)), seed=0)
    share = np.bincount(classes, minlength=5) / len(labels)
    for taken in range(1, len(labels) + 1):
        have = np.bincount(classes[order[:taken]], minlength=5)
        assert np.abs(have - share * taken).max() <= 2.5  # half a sample for each of five classes


def test_the_seed_changes_the_order() -> None:
    ids = np.arange(50)
    assert (stratified_order(None, ids, seed=0) != stratified_order(None, ids, seed=1)).any()
    values = np.linspace(0, 1, 50)  # a regression has no strata
    np.testing.assert_array_equal(stratified_order(values, ids, seed=0), stratified_order(None, ids, seed=0))


def test_the_order_never_changes() -> None:
    labels = np.arange(12) % 3
    order = stratified_order(labels, np.arange(12), seed=0)
    assert order.tolist() == [11, 1, 0, 2, 9, 10, 8, 6, 7, 4, 3, 5]


def test_the_content_hash_sees_dtype_shape_and_bytes_and_nothing_else() -> None:
    array = np.arange(12, dtype=np.int32).reshape(3, 4)
    same = content_sha256(array)
    assert content_sha256(np.asfortranarray(array)) == same
    assert content_sha256(array.astype(">i4")) == same
    assert content_sha256(array[::1]) == same
    changed = array.copy()
    changed[2, 3] += 1
    others = {
        content_sha256(a) for a in (changed, array.reshape(4, 3), array.astype(np.uint32), array.T.copy())
    }
    assert len(others) == 4
    assert same not in others


def test_labels_outside_the_classes_are_named() -> None:
    with pytest.raises(DataError, match=r"1 of 3 labels are outside 0\.\.9: sample 2") as caught:
        check_labels(dataset([1, 2, 3], [1, 2, 10]), 10, where="x.csv")
    assert "counted from 1" in caught.value.cause
    with pytest.raises(DataError, match="sample 0"):
        check_labels(dataset([1, 2, 3], [-1, 2, 3]), 10, where="x.csv")
    check_labels(dataset([1, 2, 3], [0, 9, 3]), 10, where="x.csv")
    check_labels(dataset([1, 2, 3]), 10, where="x.csv")
    values = Dataset({"a": np.zeros((2, 1))}, np.array([0.5, 1.0]), np.arange(2))
    with pytest.raises(DataError, match="whole numbers"):
        check_labels(values, 10, where="x.csv")


def test_image_files_go_with_their_samples() -> None:
    names = tuple(Path(f"{number}.png") for number in range(40))
    pixels = np.arange(40, dtype=np.uint8)[:, np.newaxis]
    split = split_by_hash(Dataset({"x": pixels}, None, np.arange(40), files=names))
    for part in (split.calibration, split.test):
        assert [int(file.stem) for file in part.files] == part.inputs["x"][:, 0].tolist()
