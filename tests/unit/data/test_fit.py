"""Samples that do not fit the model are refused before anything runs, with what to change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.core.artifact import Quantization, TensorSpec
from harness.core.errors import ConfigurationError, DataError
from harness.core.preprocess import Preprocess, apply
from harness.data.fit import check_fit, check_indices

NCHW = TensorSpec("x", (None, 3, 8, 6), "float32")
IMAGES = np.zeros((5, 8, 6, 3), np.uint8)


def check(raw: NDArray[Any], spec: TensorSpec, **step: Any) -> None:
    check_fit({"x": raw}, {"x": Preprocess(**step)} if step else {}, [spec], where="d.npz")


@pytest.mark.parametrize(
    ("raw", "spec", "step"),
    [
        (IMAGES, NCHW, {"layout": "NCHW", "mean": (1.0, 2.0, 3.0)}),
        (np.zeros((5, 4)), TensorSpec("x", (None, 4), "float32"), {}),
        (np.zeros((5, 4)), TensorSpec("x", (2, None), "float32"), {"mean": (1.0,)}),
        (np.zeros((5, 4)), TensorSpec("x", (), "float32"), {}),  # the file does not tell its rank
        (np.zeros((5, 4)), TensorSpec("x", (None, 2, 2), "float32"), {"shape": (2, 2)}),
        (np.full((5, 4), 255), TensorSpec("x", (None, 4), "uint8"), {"dtype": "uint8"}),
        (np.full((5, 4), 3.0), TensorSpec("x", (None, 4), "int64"), {"dtype": "int64"}),
        (np.zeros((5, 4)), TensorSpec("x", (None, 4), "int8", Quantization(0.1, 0)), {}),
        (np.zeros(5), TensorSpec("x", (None,), "float32"), {"mean": (2.0,)}),
    ],
)
def test_what_fits(raw: NDArray[Any], spec: TensorSpec, step: dict[str, Any]) -> None:
    check(raw, spec, **step)


@pytest.mark.parametrize(
    ("raw", "spec", "step", "advice"),
    [
        (IMAGES, NCHW, {}, 'layout = "NCHW"'),
        (np.moveaxis(IMAGES, -1, 1), NCHW, {"layout": "NCHW"}, 'layout = "same"'),
        (IMAGES[..., :1], NCHW, {"layout": "NCHW"}, "3 channels"),
        (IMAGES, TensorSpec("x", (None, 1, 8, 6), "float32"), {"layout": "NCHW"}, 'colour = "L"'),
        (IMAGES[:, :4], NCHW, {"layout": "NCHW"}, "size = [8, 6]"),
        (np.zeros((5, 4)), TensorSpec("x", (None, 2, 2), "float32"), {}, "shape = [2, 2]"),
        (np.zeros((5, 4)), TensorSpec("x", (None, 5), "float32"), {}, "another model"),
    ],
)
def test_shapes(raw: NDArray[Any], spec: TensorSpec, step: dict[str, Any], advice: str) -> None:
    with pytest.raises(DataError, match="needs samples of shape") as caught:
        check(raw, spec, **step)
    assert advice in caught.value.next_step
    assert caught.value.where == "d.npz"


@pytest.mark.parametrize(
    ("raw", "spec", "step", "paths"),
    [
        (np.zeros((5, 4)), TensorSpec("x", (None, 4), "int64"), {}, {"input.x.dtype"}),
        (np.zeros((5, 4)), TensorSpec("x", (None, 4), "float16"), {"dtype": "float64"}, {"input.x.dtype"}),
        (np.full((5, 4), 0.5), TensorSpec("x", (None, 4), "int64"), {"dtype": "int64"}, {"input.x.dtype"}),
        (np.full((5, 4), 256), TensorSpec("x", (None, 4), "uint8"), {"dtype": "uint8"}, {"input.x.dtype"}),
        (np.full((5, 4), -1), TensorSpec("x", (None, 4), "uint8"), {"dtype": "uint8"}, {"input.x.dtype"}),
        (np.zeros((5, 4)), TensorSpec("x", (None, 4), "int8"), {"dtype": "int8", "scale": 2.0}, {"input.x"}),
        (IMAGES, NCHW, {"mean": (1.0, 2.0), "std": (1.0,) * 4, "shape": (3, 3)},
         {"input.x.mean", "input.x.std", "input.x.shape"}),
    ],
)  # fmt: skip
def test_tables(raw: NDArray[Any], spec: TensorSpec, step: dict[str, Any], paths: set[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check(raw, spec, **step)
    assert {problem.path for problem in caught.value.problems} == paths


def test_names() -> None:
    with pytest.raises(DataError, match="the data have the inputs y, and the model has x"):
        check_fit({"y": IMAGES}, {}, [NCHW], where="d")
    with pytest.raises(ConfigurationError, match="the model has no such input"):
        check_fit({"x": IMAGES}, {"x": Preprocess(layout="NCHW"), "z": Preprocess()}, [NCHW], where="d")


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.lists(st.integers(1, 4) | st.none(), min_size=1, max_size=3),
    st.booleans(),
)
def test_it_refuses_exactly_what_the_model_would(
    sample: list[int], takes: list[int | None], nchw: bool
) -> None:
    raw = np.zeros((2, *sample), np.float32)
    step = Preprocess(layout="NCHW" if nchw else "same")
    made = apply(raw, step).shape[1:]
    fits = len(made) == len(takes) and all(t in (None, m) for t, m in zip(takes, made, strict=True))
    spec = TensorSpec("x", (None, *takes), "float32")
    if fits:
        check_fit({"x": raw}, {"x": step}, [spec], where="d")
    else:
        with pytest.raises(DataError):
            check_fit({"x": raw}, {"x": step}, [spec], where="d")


def test_samples_on_another_axis_or_none_and_constants() -> None:
    raw = np.zeros((5, 7, 3))
    check(raw, TensorSpec("x", (7, None, 3), "float32"), batch_axis=1)
    check(raw, TensorSpec("x", (7, 3), "float32"), batch_axis=None)
    with pytest.raises(DataError, match=r"needs samples of shape \[5, 3\]"):
        check(raw, TensorSpec("x", (5, 2, 3), "float32"), batch_axis=1)
    both = [TensorSpec("x", (None, 7, 3), "float32"), TensorSpec("alpha", (), "float32")]
    check_fit({"x": raw}, {"alpha": Preprocess(value=0.5)}, both, where="d.npz")
    with pytest.raises(DataError, match="have the inputs x, and the model has alpha, x") as caught:
        check_fit({"x": raw}, {}, both, where="d.npz")
    assert "[input.NAME] value = NUMBER" in caught.value.next_step


def test_ids_beyond_the_table_are_refused() -> None:
    raw = {"ids": np.array([[0, 3], [4, 9]]), "x": np.zeros(2)}
    check_indices(raw, {"ids": 10, "elsewhere": 1}, np.arange(2), where="x.npz")
    for count, value in ((9, 9), (4, 4)):
        with pytest.raises(DataError, match=rf"ids are outside 0..{count - 1}: sample 21 .* has {value}"):
            check_indices(raw, {"ids": count}, np.array([20, 21]), where="x.npz")
    with pytest.raises(DataError, match=r"1 values of the input ids are outside 0..6: .* has -1"):
        check_indices({"ids": np.array([[-1, 3]])}, {"ids": 7}, np.arange(1), where="x.npz")
