"""Samples go into every kind of file and come back row by row; numpy is the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.core.artifact import Artifact, File, Quantization, TensorSpec
from harness.core.errors import DataError
from harness.core.feeding import Feeding, sample_shape
from harness.core.preprocess import Preprocess

X = np.random.default_rng(0).normal(size=(11, 5, 3)).astype(np.float32)
WEIGHTS = np.random.default_rng(1).normal(size=(5, 3, 4)).astype(np.float32)
ORACLE = np.einsum("ntf,tfc->nc", X, WEIGHTS)


def artifact(**layout: Any) -> Artifact:
    return Artifact("float32", "onnx", (File("m", "0", 0),), Path(), **layout)


def spec(name: str, *shape: int | None, **more: Any) -> TensorSpec:
    return TensorSpec(name, shape, "float32", **more)


def run(feeding: Feeding, model: Any, size: int = 4) -> NDArray[Any]:
    """Feed all samples, and join the answers."""
    size, parts = feeding.size or size, []
    for start in range(0, len(X), size):
        rows = X[start : start + size]
        feeds = feeding.feeds({"x": rows})
        parts.append(feeding.answers({"y": model(**feeds)}, len(rows))["y"])
    return np.concatenate(parts)


@given(st.integers(1, 13), st.booleans())
def test_a_batch_of_any_size_gives_the_answers_of_the_rows(size: int, is_fixed: bool) -> None:
    extent = size if is_fixed else None
    feeding = Feeding([spec("x", extent, 5, 3)], [spec("y", extent, 4)], {"x": Preprocess()})
    fed = []

    def model(x: NDArray[Any]) -> NDArray[Any]:
        fed.append(len(x))
        return np.einsum("ntf,tfc->nc", x, WEIGHTS)

    np.testing.assert_allclose(run(feeding, model, size), ORACLE, rtol=1e-5)
    assert feeding.size == extent
    if is_fixed:
        assert set(fed) == {size}


@pytest.mark.parametrize("extent", [None, 1, 2, 6])
@pytest.mark.parametrize("out", [0, 1])
def test_samples_on_another_axis(extent: int | None, out: int) -> None:
    shapes = [extent, 4] if out == 0 else [7, extent, 4]
    feeding = Feeding([spec("x", 5, extent, 3)], [spec("y", *shapes)], {"x": Preprocess(batch_axis=1)})

    def model(x: NDArray[Any]) -> NDArray[Any]:
        assert x.shape == (5, extent or 1, 3)
        assert x.flags.c_contiguous
        y = np.einsum("tnf,tfc->nc", x, WEIGHTS)
        return y if out == 0 else np.stack([y] * 7)

    answers = run(feeding, model)
    np.testing.assert_allclose(answers if out == 0 else answers[:, 3], ORACLE, rtol=1e-5)


def test_a_model_without_a_batch_axis_takes_one_sample() -> None:
    feeding = Feeding([spec("x", 5, 3)], [spec("y", 4)], {"x": Preprocess(batch_axis=None)})
    assert feeding.size == 1
    np.testing.assert_allclose(run(feeding, lambda x: np.einsum("tf,tfc->c", x, WEIGHTS)), ORACLE, rtol=1e-5)


def test_outputs_with_as_many_rows_as_objects_are_filled_up_to_their_room() -> None:
    steps = {"x": Preprocess(batch_axis=None, output_rows=3)}
    specs = [spec("boxes", None, 4), TensorSpec("labels", (None,), "int64"), spec("fixed", 2)]
    feeding = Feeding([spec("x", 1, 5)], specs, steps)
    for rows in (0, 1, 3):
        boxes, labels = np.ones((rows, 4), np.float32), np.full(rows, 7, np.int64)
        real = feeding.answers({"boxes": boxes, "labels": labels, "fixed": np.ones(2, np.float32)}, 1)
        assert real["boxes"].shape == (1, 3, 4)
        np.testing.assert_array_equal(real["boxes"][0, :, 0], [1.0] * rows + [0.0] * (3 - rows))
        np.testing.assert_array_equal(real["labels"][0], [7] * rows + [0] * (3 - rows))
        assert real["fixed"].shape == (1, 2)
    too_many = {
        "boxes": np.ones((4, 4), np.float32),
        "labels": np.full(4, 7),
        "fixed": np.ones(2, np.float32),
    }
    with pytest.raises(DataError, match="boxes has 4 rows for a sample, and there is room for 3") as caught:
        feeding.answers(too_many, 1)
    assert caught.value.next_step == "set output_rows to 4 or more"


def test_the_layout_of_the_file_comes_after_the_axis_of_the_samples() -> None:
    turned = artifact(input_permutation={"x": (2, 1, 0)}, output_permutation={"y": (1, 0)})
    feeding = Feeding([spec("x", 3, 2, 5)], [spec("y", 4, 2)], {"x": Preprocess(batch_axis=1)}, turned)
    assert feeding.size == 2
    np.testing.assert_allclose(
        run(feeding, lambda x: np.einsum("fnt,tfc->cn", x, WEIGHTS)), ORACLE, rtol=1e-5
    )


def test_constants_fill_their_input_and_open_dimensions_take_the_batch() -> None:
    specs = [spec("alpha"), spec("x", None, 5, 3), TensorSpec("h", (2, None, 3), "int64")]
    steps = {"alpha": Preprocess(value=0.5), "x": Preprocess(), "h": Preprocess(value=0)}
    feeds = Feeding(specs, (), steps).feeds({"x": X})
    assert feeds["alpha"].shape == ()
    assert (feeds["alpha"], feeds["alpha"].dtype) == (0.5, np.float32)
    assert (feeds["h"].shape, feeds["h"].dtype, feeds["h"].any()) == ((2, 11, 3), np.int64, False)
    np.testing.assert_array_equal(feeds["x"], X)


def test_integers_stand_for_real_numbers_and_are_taken_as_they_are() -> None:
    step = Quantization(0.5, 3)
    feeding = Feeding(
        [TensorSpec("x", (None, 2), "int8", step)], [TensorSpec("y", (None, 2), "int8", step)],
        {"x": Preprocess()},
    )  # fmt: skip
    real = np.array([[1.0, -2.0]], np.float32)
    codes = feeding.feeds({"x": real})["x"]
    np.testing.assert_array_equal(codes, np.array([[5, -1]], np.int8))
    np.testing.assert_array_equal(feeding.feeds({"x": codes})["x"], codes)
    np.testing.assert_array_equal(feeding.answers({"y": codes}, 1)["y"], real)


def test_an_axis_that_has_as_many_entries_by_chance_is_not_the_samples() -> None:
    # The state of a recurrent network: layers, samples, units.
    feeding = Feeding([spec("x", None, 5, 3)], [spec("h", 2, None, 6)], {"x": Preprocess()})
    for rows in (1, 3, 2):
        feeds = feeding.feeds({"x": X[:rows]})
        state = np.broadcast_to(feeds["x"][None, :, 0, :1], (2, rows, 6))
        got = feeding.answers({"h": state}, rows)["h"]
        assert got.shape == (rows, 2, 6)
        np.testing.assert_array_equal(got[:, 0, 0], X[:rows, 0, 0])


@pytest.mark.parametrize("shape", [(), (3,), (7, 7)])
def test_an_output_without_an_entry_for_each_sample_is_refused(shape: tuple[int, ...]) -> None:
    feeding = Feeding([spec("x", None, 5, 3)], [TensorSpec("y", (), "float32")], {"x": Preprocess()})
    with pytest.raises(DataError, match=r"output y of shape .* has no axis of 4 entries"):
        feeding.answers({"y": np.zeros(shape, np.float32)}, 4)


def test_two_axes_of_the_batch_are_not_guessed_between() -> None:
    feeding = Feeding([spec("x", 5, 4, 3)], [spec("y", 4, 4)], {"x": Preprocess(batch_axis=1)})
    with pytest.raises(DataError, match="several axes of 4 entries"):
        feeding.answers({"y": np.zeros((4, 4), np.float32)}, 4)


def test_inputs_that_take_different_numbers_of_samples_are_refused_by_name() -> None:
    with pytest.raises(DataError, match="x 4, z 2") as caught:
        Feeding([spec("x", 4, 3), spec("z", 2, 3)], (), {"x": Preprocess(), "z": Preprocess()})
    assert "batch_axis" in caught.value.next_step
    with pytest.raises(DataError, match=r"x has no axis 2: its shape is \[4, \?\]"):
        Feeding([spec("x", 4, None)], (), {"x": Preprocess(batch_axis=2)})


@pytest.mark.parametrize(("axis", "expected"), [(0, (3, 2)), (1, (None, 2)), (None, (None, 3, 2))])
def test_the_shape_of_a_sample(axis: int | None, expected: tuple[int | None, ...]) -> None:
    assert sample_shape(spec("x", None, 3, 2), Preprocess(batch_axis=axis)) == expected
