"""Rows of one sequence stay together and in order: through the split, the order of the run, and limits."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.compression.states import with_states
from harness.config.load import check
from harness.config.schema import InputTable
from harness.config.validation import Validation
from harness.core.artifact import TensorSpec
from harness.core.errors import ConfigurationError, DataError
from harness.core.preprocess import Preprocess
from harness.data import sequences
from harness.data.datasets import Dataset, split_by_hash
from harness.data.fit import check_states
from harness.data.sets import PreparedData, prepare, step_of
from harness.store.cache import Cache
from tests.unit.core.test_in_order import STATE, U, W, recurrent

SPECS = (TensorSpec("x", (None, 3), "float32"), TensorSpec("h", (None, STATE), "float32"))


def dataset(values: list[int]) -> Dataset:
    rows = np.arange(len(values))
    return Dataset({"x": rows[:, None] + 0.5}, None, rows, metadata={"c": np.array(values)})


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(0, 3))
def test_whole_sequences_in_the_order_of_their_rows(values: list[int], seed: int) -> None:
    data = dataset(values)
    index = sequences.index_of(data, "c", "here")
    assert len(set(zip(values, index.tolist(), strict=True))) == len(set(values))
    order, lengths = sequences.order_of(index, None, data.ids, seed=seed)
    assert sorted(order.tolist()) == list(range(len(values)))
    assert sum(lengths) == len(values)
    start = 0
    for length in lengths:
        rows = order[start : start + length]
        assert len({values[row] for row in rows}) == 1
        assert (np.diff(rows) > 0).all()
        start += length


@given(st.lists(st.integers(0, 9), min_size=30, max_size=80))
def test_the_split_cuts_no_sequence(values: list[int]) -> None:
    data = dataset(values)
    index = sequences.index_of(data, "c", "here")
    if len(set(values)) < 2:
        with pytest.raises(DataError, match="sequences are not divided: 1 in the data"):
            split_by_hash(data, calibration_share=0.5, unit=index)
        return
    try:
        split = split_by_hash(data, calibration_share=0.5, unit=index)
    except DataError:  # the one sequence that would be left over is the only small one
        assert sorted(map(values.count, set(values)))[1] > len(values) // 2
        return
    assert not set(split.calibration.metadata["c"].tolist()) & set(split.test.metadata["c"].tolist())
    assert len(split.calibration) + len(split.test) == len(values)


def prepared(folder: Path, data: str = "", **arrays: Any) -> PreparedData:
    rng = np.random.default_rng(0)
    rows = 60
    arrays = {"x": rng.normal(size=(rows, 3)).astype(np.float32), "walk": np.arange(rows) % 12, **arrays}
    np.savez(folder / "data.npz", **arrays)
    text = f"""
    [model]
    name = "m"
    file = "m.onnx"
    task = "regression"
    [data]
    path = "data.npz"
    sequence = "walk"
    {data}
    [input.h]
    state = "h_out"
    """
    validation = check(tomllib.loads(text), Validation, where="here")
    return prepare(validation, folder, Cache(folder / "cache"), SPECS)


@pytest.mark.parametrize("split", ["", 'split = "first"\ncalibration_samples = 52'])
def test_sets_are_ordered_by_sequence(tmp_path: Path, split: str) -> None:
    data = prepared(tmp_path, split + "\nmax_samples = 23")
    (clean,) = data.sets
    assert clean.info.sequences
    assert clean.info.sequences_within(23) == [5, 5, 5, 5, 3]
    with np.load(tmp_path / "data.npz") as arrays:
        raw, walk = arrays["x"], arrays["walk"]
    x = np.load(Cache(tmp_path / "cache").array_path(clean.ref.inputs["x"]))
    positions = [int(np.flatnonzero((raw == row).all(axis=1))[0]) for row in x]
    of_run = np.split(np.array(positions), [5, 10, 15, 20])
    assert all(len(set(walk[rows])) == 1 and (np.diff(rows) > 0).all() for rows in of_run)
    calibration = walk[data.calibration.ids]
    assert set(calibration) & set(walk[positions]) == set()
    assert data.calibration_lengths == (5,) * (len(calibration) // 5)


def test_calibration_knows_the_state_of_each_row(tmp_path: Path) -> None:
    model = onnx.load(recurrent(tmp_path).path)
    data = with_states(model, prepared(tmp_path))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    feeds = list(data.calibration_feeds())
    assert len(feeds) == len(data.calibration) == 10
    h = np.zeros(STATE, np.float32)
    for row, fed in enumerate(feeds):
        h = np.zeros(STATE, np.float32) if row % 5 == 0 else h
        np.testing.assert_allclose(fed["h"][0], h, atol=1e-5)
        h = np.tanh(fed["x"][0] @ W + h @ U)
        np.testing.assert_allclose(session.run(["h_out"], fed)[0][0], h, atol=1e-5)
    plain = prepared(tmp_path)
    assert not any(fed["h"].any() for fed in plain.calibration_feeds())


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    prepared(tmp_path)
    text = '[model]\nname = "m"\nfile = "m.onnx"\n[data]\npath = "data.npz"\nsequence = "run"'
    validation = check(tomllib.loads(text), Validation, where="here")
    with pytest.raises(DataError, match="has no array 'run'"):
        prepare(validation, tmp_path, Cache(tmp_path), SPECS[:1])
    with pytest.raises(DataError, match="no sequence ends within the first 9 rows"):
        prepared(tmp_path, 'split = "first"\ncalibration_samples = 9')
    with pytest.raises(DataError, match="have no value in the column 'walk'"):
        prepared(tmp_path, walk=np.where(np.arange(60) < 3, np.nan, 1.0))
    with pytest.raises(ValueError, match="an input with a state has no samples, so it cannot have scale"):
        InputTable(state="h", scale=2.0)
    assert step_of(InputTable(state="h")) == Preprocess(value=0.0, state="h")
    assert step_of(InputTable(state="h", value=1.0)) == Preprocess(value=1.0, state="h")


def test_states_are_checked_before_anything_runs() -> None:
    outputs = (TensorSpec("y", (None, 2), "float32"), TensorSpec("h_out", (None, STATE), "float32"))
    check_states({"h": Preprocess(value=0.0, state="h_out")}, SPECS, outputs)
    for state, message in (("h_new", "outputs are y, h_out"), ("y", r"y has shape .*, h takes")):
        with pytest.raises(ConfigurationError, match=message) as refused:
            check_states({"h": Preprocess(value=0.0, state=state)}, SPECS, outputs)
        assert "input.h.state" in str(refused.value)
