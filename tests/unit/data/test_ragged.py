"""Documents of different lengths as padded arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import DataError
from harness.data.ragged import documents, lengthened
from harness.data.sources import DataSource, load


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_tokens_in_a_row_and_padded_rows_are_the_same_documents(sizes: list[int]) -> None:
    lengths = np.array(sizes)
    flat = np.arange(1, lengths.sum() + 1, dtype=np.uint8)
    rows = np.zeros((len(sizes), max(sizes) + 2), np.uint8)
    start = 0
    for row, size in enumerate(sizes):
        rows[row, :size] = flat[start : start + size]
        start += size
    for array in (flat, rows):
        made, counts = documents({"input_ids": array}, lengths, ["input_ids"], "x.npz")
        np.testing.assert_array_equal(made["input_ids"], rows[:, : max(sizes)])
        assert made["input_ids"].dtype == np.uint8
        assert counts.tolist() == sizes


def test_what_follows_from_the_lengths_is_made() -> None:
    names = ["ids", "attention_mask", "position_ids", "token_type_ids"]
    made, _ = documents({"ids": np.arange(1, 6)}, np.array([2, 3]), names, "x.npz")
    assert made["ids"].tolist() == [[1, 2, 0], [3, 4, 5]]
    assert made["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert made["position_ids"].tolist() == [[0, 1, 2], [0, 1, 2]]
    assert made["token_type_ids"].tolist() == [[0, 0, 0], [0, 0, 0]]


def test_what_is_given_is_not_made() -> None:
    given_ids = np.array([7, 8, 9])
    arrays = {"ids": np.arange(3), "position_ids": given_ids}
    made, _ = documents(arrays, np.array([3]), ["ids", "position_ids"], "x.npz")
    assert made["position_ids"].tolist() == [[7, 8, 9]]


def test_features_of_frames_are_padded_too() -> None:
    made, _ = documents({"x": np.ones((5, 4), np.float32)}, np.array([2, 3]), ["x"], "x.npz")
    assert made["x"].shape == (2, 3, 4)
    assert made["x"].sum() == 20


def test_empty_documents_are_refused() -> None:
    with pytest.raises(DataError, match=r"1 of 3 documents are empty; the first is document 1 \(from 0\)"):
        documents({"ids": np.arange(5)}, np.array([2, 0, 3]), ["ids"], "x.npz")


def test_lengths_of_other_documents_are_refused() -> None:
    with pytest.raises(DataError, match=r"shape \(5,\), and 2 documents have 6 tokens, the longest 4"):
        documents({"ids": np.arange(5)}, np.array([2, 4]), ["ids"], "x.npz")
    with pytest.raises(DataError, match="not a whole number for each document"):
        documents({"ids": np.arange(5)}, np.array([2.0, 3.0]), ["ids"], "x.npz")


def test_an_archive_with_lengths_is_documents(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, ids=np.arange(1, 6, dtype=np.uint8), lengths=[2, 3], labels=np.arange(11, 16))
    source = DataSource(path=path, input_names=("input_ids", "attention_mask"))
    loaded = load(source)
    assert loaded.inputs["input_ids"].tolist() == [[1, 2, 0], [3, 4, 5]]
    assert loaded.inputs["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert loaded.labels is not None
    assert loaded.labels.tolist() == [[11, 12, 0], [13, 14, 15]]
    last = loaded.take(np.array([1]))
    assert last.lengths is not None
    assert last.lengths.tolist() == [3]


def test_documents_may_have_one_label_each(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, ids=np.arange(5), lengths=[2, 3], labels=[1, 0])
    loaded = load(DataSource(path=path, input_names=("ids",)))
    assert loaded.labels is not None
    assert loaded.labels.tolist() == [1, 0]


def test_an_input_called_lengths_is_an_input(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, ids=np.zeros((2, 3)), lengths=[2, 3])
    loaded = load(DataSource(path=path, input_names=("ids", "lengths")))
    assert set(loaded.inputs) == {"ids", "lengths"}
    assert loaded.lengths is None


def test_a_model_of_one_length_gets_padding() -> None:
    arrays = {"ids": np.array([[1, 2, 3]]), "position_ids": np.array([[0, 1, 2]]), "of_all": np.ones((1, 9))}
    made = lengthened(arrays, 3, 5, "x.npz")
    assert made["ids"].tolist() == [[1, 2, 3, 0, 0]]
    assert made["position_ids"].tolist() == [[0, 1, 2, 3, 4]]
    assert made["of_all"].shape == (1, 9)
    with pytest.raises(DataError, match="the longest document has 3 tokens, and the model takes 2"):
        lengthened(arrays, 3, 2, "x.npz")
