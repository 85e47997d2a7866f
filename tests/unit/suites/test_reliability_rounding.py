"""The bound of rounding, against differences that numpy makes in the precision itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suites.reliability.rounding import BITS, explained, over_bound
from suites.reliability.rows import compare, shortest_format


def short(y: np.ndarray, bits: int) -> np.ndarray:  # type: ignore[type-arg]
    """Round to so many bits of the significand."""
    mantissa, exponent = np.frexp(y)
    return np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits).astype(np.float32)


@pytest.mark.parametrize(
    ("declared", "storage", "integers", "bound", "name"),
    [
        ("f32", "", "", 4096 * 2.0**-24, "f32"),
        ("F32", "f16", "", 16 * 2.0**-11, "f16"),
        ("bf16", "", "", 16 * 2.0**-8, "bf16"),
        ("bf16", "f16", "", 16 * 2.0**-8, "bf16"),
        ("f16+bf16", "", "", 16 * 2.0**-8, "bf16"),
        ("tf32", "", "", 16 * 2.0**-11, "tf32"),
        ("default", "", "", 16 * 2.0**-8, "bf16"),
        ("", "", "", 16 * 2.0**-8, "bf16"),
        ("f32", "", "int8", 2 / 127, "int8"),
        ("bf16", "", "int16", 2 / 32767, "int16"),
    ],
)
def test_the_coarsest_precision_explains_most(
    declared: str, storage: str, integers: str, bound: float, name: str
) -> None:
    assert explained(declared, storage, integers) == (bound, name)


@given(st.integers(0, 2**32 - 1), st.sampled_from([("f32", 24), ("bf16", 8), ("f16", 11)]))
@settings(max_examples=40, deadline=None)
def test_another_order_of_the_sums_stays_within_the_bound(seed: int, precision: tuple[str, int]) -> None:
    """Twelve layers of 256 products each, added forwards and backwards, each layer's result rounded."""
    name, bits = precision
    rng = np.random.default_rng(seed)
    one = other = rng.normal(size=(4, 256)).astype(np.float32)
    for _ in range(12):
        w = (rng.normal(size=(256, 256)) / 16).astype(np.float32)
        one, other = (
            short(np.maximum(np.add.accumulate(p, axis=1, dtype=np.float32)[:, -1], 0) * 1.4, bits)
            for p in (one[:, :, None] * w, (other[:, :, None] * w)[:, ::-1])
        )
    compared = compare({"y": one}, {"y": other})
    bound, _ = explained(name, "", "")
    over = over_bound(compared["float_difference"], compared["step_difference"], bound)  # type: ignore[arg-type]
    assert over.max() < 1
    # The fault that the bound has to see: a hundredth of the largest answer, ten times that in bfloat16.
    fault = {"f32": 0.01, "f16": 0.01, "bf16": 0.1}[name] * np.abs(one).max(axis=1, keepdims=True)
    compared = compare({"y": one}, {"y": one + fault})
    over = over_bound(compared["float_difference"], compared["step_difference"], bound)  # type: ignore[arg-type]
    assert over.min() > 1


def test_steps_are_counted_in_steps_and_integers_beside_floats_are_not() -> None:
    a = {"q": np.array([[0.0, 0.5]]), "y": np.array([[4.0]], np.float32), "label": np.array([3])}
    b = {"q": np.array([[0.25, 0.5]]), "y": np.array([[3.0]], np.float32), "label": np.array([4])}
    compared = compare(a, b, {"q": 0.125})
    assert compared["step_difference"] == [2.0]
    assert compared["float_difference"] == [0.25]
    assert compared["difference"] == [1.0]
    assert over_bound(np.array([0.25]), np.array([2.0]), 0.5) == [1.0]


@pytest.mark.parametrize(("bits", "name"), [(8, "bf16"), (11, "f16"), (12, ""), (24, "")])
def test_a_shorter_format_shows_in_the_answers(bits: int, name: str) -> None:
    y = short(np.random.default_rng(0).normal(size=(8, 10)).astype(np.float32), bits)
    assert shortest_format({"y": y}) == name
    assert BITS.get(name, bits) == bits


@pytest.mark.parametrize(
    "y",
    [
        np.arange(64, dtype=np.float32),  # whole numbers
        np.float32([0.25, 0.5, 0.75, 0.125] * 20),  # few different ones
        (np.arange(64) / 64).astype(np.float32),  # shorter than the format
        np.arange(64, dtype=np.int64),
        np.full(64, np.nan, np.float32),
    ],
    ids=["whole", "few", "short", "integers", "nan"],
)
def test_answers_that_are_short_by_themselves_say_nothing(y: np.ndarray) -> None:  # type: ignore[type-arg]
    assert shortest_format({"y": y}) == ""
