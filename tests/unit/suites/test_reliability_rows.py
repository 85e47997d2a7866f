from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from harness.core.artifact import Quantization, TensorSpec
from harness.core.contracts import Unsupported
from harness.core.errors import BackendError
from harness.core.feeding import Feeding
from harness.core.preprocess import Preprocess
from suites.reliability.rows import compare, digest, run_all


class Runs:
    """Returns the same outputs at every call."""

    def __init__(self, **outputs: Any) -> None:
        self._outputs = outputs

    def run(self, feeds: Any) -> Any:
        return self._outputs


def against(a: Any, b: Any) -> dict[str, np.ndarray[Any, Any]]:
    return cast(Any, compare({"y": np.asarray(a)}, {"y": np.asarray(b)}))


def feeding(spec: TensorSpec) -> Feeding:
    return Feeding((TensorSpec("x", (None, 1), "float32"),), (spec,), {"x": Preprocess()})


floats = arrays(np.float32, (5, 2), elements=st.floats(-100, 100, width=32))


@given(floats, floats)
def test_differences_are_those_of_numpy(a: np.ndarray, b: np.ndarray) -> None:
    metrics = against(a, b)
    gap = np.abs(a.astype(float) - b.astype(float)).max(axis=1)
    assert np.array_equal(metrics["difference"], gap)
    assert np.array_equal(
        metrics["bit_equal"], [x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True)]
    )
    for ratio, distance, row in zip(metrics["relative_difference"], gap, a, strict=True):
        scale = float(np.abs(row).max())
        assert ratio == (distance / scale if scale else (np.inf if distance else 0))


@given(floats)
def test_equal_rows_have_no_difference(a: np.ndarray) -> None:
    metrics = against(a, a.copy())
    assert metrics["bit_equal"].all()
    assert not metrics["difference"].any()
    assert not metrics["relative_difference"].any()


def test_one_ulp_is_not_bit_equal() -> None:
    a = np.ones((2, 2), np.float32)
    b = a.copy()
    b[1, 0] = np.nextafter(np.float32(1), np.float32(2))
    metrics = against(a, b)
    assert metrics["bit_equal"].tolist() == [True, False]
    assert metrics["difference"].tolist() == [0.0, 2.0**-23]


def test_nan_equals_nan_and_differs_infinitely_from_a_number() -> None:
    a = np.array([[np.nan, 1], [np.nan, 1], [np.inf, 1], [np.inf, 1]], np.float32)
    b = np.array([[np.nan, 1], [0, 1], [np.inf, 1], [-np.inf, 1]], np.float32)
    assert against(a, b)["difference"].tolist() == [0.0, np.inf, 0.0, np.inf]


def test_integers_are_compared_as_the_real_numbers_that_they_stand_for() -> None:
    spec = TensorSpec("y", (None, 2), "int8", Quantization(0.5, 3))
    one, other = (
        run_all(cast(Any, Runs(y=np.array([[3, code]], np.int8))), feeding(spec), [{}], 1) for code in (7, 9)
    )
    metrics = compare(one, other)
    assert metrics["difference"].tolist() == [1.0]
    assert metrics["relative_difference"].tolist() == [0.5]
    assert metrics["bit_equal"].tolist() == [False]


def test_strings_are_equal_or_not() -> None:
    labels = np.array([["cat", "a"], ["dog", "b"]], dtype=object)
    other = np.array([["cat", "a"], ["cow", "b"]], dtype=object)
    assert against(labels, other)["bit_equal"].tolist() == [True, False]
    assert digest({"y": labels}) == digest({"y": labels.copy()}) != digest({"y": other})


def test_output_without_an_entry_a_row_cannot_be_compared() -> None:
    for y in (np.zeros((3, 2), np.float32), np.array(1, np.float32)):
        spec = TensorSpec("y", y.shape, "float32")
        with pytest.raises(Unsupported, match="no axis of 4 entries"):
            run_all(cast(Any, Runs(y=y)), feeding(spec), [{}], 4)
    spec = TensorSpec("y", (None, 2), "float32")
    with pytest.raises(BackendError, match="returned 3 rows of the output y for 4 samples"):
        run_all(cast(Any, Runs(y=np.zeros((3, 2), np.float32))), feeding(spec), [{}], 4)
    with pytest.raises(Unsupported, match="the other time"):
        against(np.zeros((2, 2)), np.zeros((2, 3)))


@pytest.mark.parametrize(
    "other",
    [
        {"y": np.array([[1, 2]], np.float32) + np.float32(1e-7)},
        {"y": np.array([[1, 2]], np.float64)},
        {"y": np.array([1, 2], np.float32)},
        {"z": np.array([[1, 2]], np.float32)},
        {"y": np.array([[1, 2]], np.float32), "z": np.zeros(1)},
    ],
)
def test_digest_sees_names_dtypes_shapes_and_bytes(other: dict[str, np.ndarray]) -> None:
    assert digest({"y": np.array([[1, 2]], np.float32)}) != digest(other)


def test_digest_does_not_depend_on_the_order_or_the_layout_in_memory() -> None:
    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros(1)
    assert digest({"a": a, "b": b}) == digest({"b": b, "a": np.asfortranarray(a)})
