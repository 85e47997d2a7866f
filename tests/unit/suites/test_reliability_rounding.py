"""What rounding explains of a difference between two runs, by precision and output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.artifact import Artifact, Quantization
from harness.core.job import Options
from harness.core.suite import SummaryContext
from suites.reliability.rounding import BITS, explained, over
from suites.reliability.rows import compare, shortest_format


def short(y: np.ndarray, bits: int) -> np.ndarray:  # type: ignore[type-arg]
    """Round to so many bits of the significand."""
    mantissa, exponent = np.frexp(y)
    return np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits).astype(np.float32)


def context(precision: str = "", **more: Any) -> SummaryContext:
    steps = {"a": Quantization(0.5, 0)}
    artifact = Artifact("v", "onnx", (), Path(), output_quantization=steps, precision=precision)
    bounds = {"rounding": {"a": 1e-4, "b": 2.0}, "short_rounding": {"a": 0.8, "b": 8.0}, **more}
    return SummaryContext(artifact, Options(), "regression", None, lambda *_: None, False, {}, **bounds)


@pytest.mark.parametrize(
    ("declared", "storage", "bounds", "name"),
    [
        ("f32", "", {"a": 1e-4, "b": 2.0}, "f32"),
        ("F32", "f16", {"a": 0.1001, "b": 3.0}, "f16"),
        ("tf32", "", {"a": 0.1001, "b": 3.0}, "tf32"),
        ("bf16", "f16", {"a": 0.8001, "b": 10.0}, "bf16"),
        ("f16+bf16", "", {"a": 0.8001, "b": 10.0}, "bf16"),
        ("default", "", {"a": 0.8001, "b": 10.0}, "bf16"),
        ("", "", {"a": 0.8001, "b": 10.0}, "bf16"),
    ],
)
def test_the_coarsest_precision_explains_most(
    declared: str, storage: str, bounds: dict[str, float], name: str
) -> None:
    explains, precision = explained(context(), declared, storage)
    assert (explains, precision) == (pytest.approx(bounds), name)


def test_a_file_of_integers_is_explained_by_what_was_derived_and_else_by_two_steps() -> None:
    derived = {"a": 3.0}
    assert explained(context("int8", rounding=derived), "bf16", "") == (derived, "int8")
    assert explained(context("int8", rounding={}), "bf16", "") == ({"a": 1.0}, "int8")


def test_nothing_is_explained_where_nothing_was_derived() -> None:
    assert explained(context(rounding={}), "f32", "")[0] == {}
    assert explained(context(short_rounding={}), "bf16", "")[0] == {}


def test_differences_are_counted_in_bounds_by_output() -> None:
    differences = np.array([[0.0, 0.0, 3.0], [0.5, 2.0, 0.0], [np.inf, 0.0, np.inf]])
    ratios, limits = over(differences, ("a", "exact", "label"), {"a": 0.25, "exact": 0.0})
    assert limits.tolist() == [0.25, 0.0, np.inf]
    assert ratios.tolist() == [[0.0, 0.0, 0.0], [2.0, np.inf, 0.0], [np.inf, 0.0, 0.0]]
    renamed, _ = over(differences[:, :2], ("output:0", "output:1"), {"a": 0.25, "b": 1.0})
    assert renamed[1].tolist() == [2.0, 2.0]


def test_two_answers_are_compared_output_by_output() -> None:
    a = {"q": np.array([[0.0, 0.5]]), "y": np.array([[4.0]], np.float32), "label": np.array(["x"])}
    b = {"q": np.array([[0.25, 0.5]]), "y": np.array([[3.0]], np.float32), "label": np.array(["y"])}
    compared = compare(a, b)
    assert compared["by_output"].tolist() == [[0.25, 1.0, 0.0]]
    assert compared["difference"].tolist() == [1.0]
    assert compared["bit_equal"].tolist() == [False]


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
