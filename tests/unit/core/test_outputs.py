"""Each way to return something else than the session lists is an error of the backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.artifact import TensorSpec
from harness.core.errors import BackendError
from harness.core.feeding import Feeding
from harness.core.outputs import check_outputs, same_dtype
from harness.core.preprocess import Preprocess

SPECS = (TensorSpec("scores", (None, 3), "float32"), TensorSpec("label", (None,), "int64"))


def outputs(rows: int = 8, **changed: Any) -> dict[str, Any]:
    return {"scores": np.zeros((rows, 3), np.float32), "label": np.zeros(rows, np.int64)} | changed


def feeding(*specs: TensorSpec, size: int | None = None) -> Feeding:
    return Feeding((TensorSpec("x", (size, 4), "float32"),), specs, {"x": Preprocess()}, backend="ort")


def test_what_the_session_lists_is_taken() -> None:
    check_outputs(outputs(), SPECS, 8)
    answers = feeding(*SPECS).answers(outputs(), 8)
    assert {name: y.shape for name, y in answers.items()} == {"scores": (8, 3), "label": (8,)}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"scores": np.zeros((8, 3))}, "ort returned float64 for the output scores, which is float32"),
        ({"scores": np.zeros((8, 3), np.complex64)}, "ort returned complex64 for the output scores"),
        ({"scores": np.zeros((8, 3), object)}, "ort returned object for the output scores"),
        ({"scores": np.full((8, 3), "1.0")}, "for the output scores, which is float32"),
        ({"scores": [[0.0] * 3] * 8}, "ort returned the output scores as a list, not an array"),
        (
            {"scores": np.zeros((8, 4), np.float32)},
            "the shape [8, 4] for the output scores, which has [?, 3]",
        ),
        ({"scores": np.zeros((8, 3, 1), np.float32)}, "the shape [8, 3, 1] for the output scores"),
        ({"more": np.zeros(8)}, "ort returned more, which its session does not list"),
        (
            {"scores": np.zeros((16, 3), np.float32)},
            "ort returned 16 rows of the output scores for 8 samples",
        ),
        ({"label": np.zeros(7, np.int64)}, "ort returned 7 rows of the output label for 8 samples"),
        ({"label": np.zeros(0, np.int64)}, "ort returned 0 rows of the output label for 8 samples"),
    ],
)
def test_anything_else_is_an_error_that_names_backend_and_output(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(BackendError) as caught:
        feeding(*SPECS).answers(outputs(**changed), 8)
    assert says in caught.value.what
    assert caught.value.next_step


def test_a_missing_output_is_named() -> None:
    with pytest.raises(BackendError, match="returned no output label"):
        feeding(*SPECS).answers({"scores": np.zeros((8, 3), np.float32)}, 8)


def test_complex_numbers_are_refused_although_the_session_lists_them() -> None:
    spec = TensorSpec("y", (None,), "complex64")
    with pytest.raises(BackendError, match="no real numbers"):
        check_outputs({"y": np.zeros(2, np.complex64)}, (spec,), 2)


@given(st.integers(1, 9), st.integers(0, 20), st.booleans())
def test_only_as_many_rows_as_were_fed_are_taken(rows: int, returned: int, is_known: bool) -> None:
    """Also where the axis was decided by an earlier call, and where classes are as many as samples."""
    spec = TensorSpec("y", (None, rows), "float32")
    fed = feeding(spec)
    if is_known:
        assert fed.answers({"y": np.zeros((11, rows), np.float32)}, 11)["y"].shape == (11, rows)
    y = np.zeros((returned, rows), np.float32)
    if returned == rows:
        assert fed.answers({"y": y}, rows)["y"].shape == (rows, rows)
    else:
        with pytest.raises(BackendError, match=f"{returned} rows of the output y for {rows} sample"):
            fed.answers({"y": y}, rows)


@pytest.mark.parametrize("returned", [2, 8])
def test_a_fixed_batch_has_its_rows(returned: int) -> None:
    spec = TensorSpec("y", (4, 3), "float32")
    with pytest.raises(
        BackendError, match=rf"the shape \[{returned}, 3\] for the output y, which has \[4, 3\]"
    ):
        feeding(spec, size=4).answers({"y": np.zeros((returned, 3), np.float32)}, 3)


def test_a_size_of_one_sample_in_the_file_may_be_that_of_the_batch() -> None:
    """Converters write the shapes of one sample; the runtime resizes them."""
    spec = TensorSpec("y", (1, 3), "float32")
    assert feeding(spec).answers({"y": np.zeros((5, 3), np.float32)}, 5)["y"].shape == (5, 3)


@pytest.mark.parametrize(
    ("dtype", "name", "same"),
    [
        (np.dtype("float32"), "float32", True),
        (np.dtype("float64"), "float32", False),
        (np.dtype("U5"), "object", True),
        (np.dtype(object), "object", True),
        (np.dtype("float32"), "bfloat17", False),
    ],
)
def test_dtypes_are_compared_by_their_names(dtype: np.dtype[Any], name: str, same: bool) -> None:
    assert same_dtype(dtype, name) == same
