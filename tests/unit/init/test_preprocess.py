"""How samples are brought into the model's layout: axes are moved, values are never reshaped into place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.core import preprocess
from harness.core.artifact import TensorSpec
from harness.core.errors import DataError
from harness.data.datasets import Dataset
from harness.init.preprocess import fits, guesses

DTYPES = ["uint8", "float32", "int64"]


def ways(
    sample: tuple[int, ...], wanted: tuple[int | None, ...], dtype: str = "float32", layout: str = ""
) -> list[str]:
    spec = TensorSpec("x", (None, *wanted), "float32")
    fitting = fits("x", np.zeros((2, *sample), dtype), spec, channels_first=True, layout=layout)
    return [f"{fit.step.layout}{list(fit.step.shape) or ''}" for fit in fitting]


@pytest.mark.parametrize("dtype", DTYPES)
def test_channels_are_moved_and_not_reshaped(dtype: str) -> None:
    assert ways((12, 10, 3), (3, 12, 10), dtype) == ["NCHW"]
    assert ways((3, 12, 10), (12, 10, 3), dtype) == ["NHWC"]
    assert ways((12, 10, 3), (12, 10, 3), dtype) == ["same"]
    with pytest.raises(DataError, match="do not fit"):
        ways((12, 10, 3), (3, 10, 12), dtype)
    with pytest.raises(DataError, match="do not fit"):
        ways((6, 20, 3), (3, 12, 10), dtype)


def test_open_sizes_leave_several_layouts_and_one_can_be_asked_for() -> None:
    assert ways((8, 8, 8), (8, 8, 8)) == ["same", "NCHW", "NHWC"]
    assert ways((8, 8, 8), (8, 8, 8), layout="NHWC") == ["NHWC"]
    assert ways((5, 6, 3), (3, None, None)) == ["NCHW"]


def test_axes_of_size_one_come_and_go() -> None:
    assert ways((28, 28), (1, 28, 28), "uint8") == ["same[1, 28, 28]"]
    assert ways((28, 28, 1), (28, 28), "uint8") == ["same[28, 28]"]
    assert ways((28, 28, 1), (1, 28, 28), "uint8") == ["NCHW"]


def test_a_vector_and_an_image_are_both_orders_of_the_values() -> None:
    assert ways((784,), (1, 28, 28)) == ["same[1, 28, 28]"]
    assert ways((8, 8, 1), (64,)) == ["same[64]"]
    assert ways((4, 4, 3), (48,), "uint8") == ["same[48]", "NCHW[48]", "NHWC[48]"]


def test_series_are_transposed_and_grey_images_are_not() -> None:
    assert ways((20, 3), (3, 20)) == ["NCHW"]
    assert ways((20, 20), (20, 20)) == ["same", "NCHW"]
    assert ways((20, 20), (20, 20), "uint8") == ["same"]


@given(
    st.tuples(st.integers(2, 5), st.integers(2, 5), st.integers(2, 5)),
    st.sampled_from(["same", "NCHW", "NHWC"]),
    st.sampled_from(DTYPES),
)
def test_the_layout_of_the_data_is_among_the_fits(
    size: tuple[int, int, int], layout: str, dtype: str
) -> None:
    """Whatever layout the data came in, one fit gives back exactly what the model takes."""
    model_input = np.arange(2 * np.prod(size)).reshape(2, *size)
    undo = {
        "same": model_input,
        "NCHW": np.moveaxis(model_input, 1, -1),
        "NHWC": np.moveaxis(model_input, -1, 1),
    }
    raw = undo[layout].astype(dtype)
    spec = TensorSpec("x", (None, *size), "float32")
    made = [preprocess.apply(raw, fit.step) for fit in fits("x", raw, spec, channels_first=True)]
    assert any(np.array_equal(x, model_input.astype(dtype)) for x in made)


WIDE = np.arange(256).reshape(2, 128)


@pytest.mark.parametrize(
    ("raw", "takes", "white"),
    [
        (WIDE.reshape(2, 1, 16, 8), (1, 16, 8), 255), (WIDE, (1, 16, 8), 255), (WIDE, (128,), 255),
        (WIDE % 17, (128,), 16), (WIDE % 5, (128,), 0), (WIDE.reshape(128, 2), (2,), 0),
        (WIDE / 2, (128,), 0), (WIDE.reshape(2, 2, 64) - 1, (2, 64), 0),
        (WIDE.reshape(2, 2, 64) % 2, (2, 64), 0),
    ],
    ids=[
        "image", "flat image", "wide table", "16 grey levels", "counts", "narrow table", "fractions",
        "negative", "bits",
    ],
)  # fmt: skip
def test_numbers_like_pixels_are_also_divided_by_white_without_calibration_samples(
    raw: NDArray[Any], takes: tuple[int, ...], white: int
) -> None:
    samples = Dataset({"x": raw}, None, np.arange(len(raw)))
    none = samples.take(np.arange(0))
    by_input = {"x": fits("x", raw, TensorSpec("x", (None, *takes), "float32"), channels_first=True)}
    scales = {guess.steps["x"].scale for guess in guesses(by_input, none, samples)}
    assert scales == ({1.0} if not white else {1.0, 1 / white})
