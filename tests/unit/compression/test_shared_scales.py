"""Scales on which two honest kernels add alike, against both kernels written out in numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.helper import make_node as node

from harness.compression.shared_scales import Step, shared_steps

from .graphs import Array, graph

LEVELS = np.arange(256)


def add_in_float(a: Step, b: Step, total: Step) -> Array:
    """ONNX Runtime's kernel (mlas/lib/qladd.cpp): float32, halves to even."""
    ratio_a, ratio_b = (np.float32(s.scale) / np.float32(total.scale) for s in (a, b))
    fixed = np.float32(total.zero_point) - (
        ratio_a * np.float32(a.zero_point) + ratio_b * np.float32(b.zero_point)
    )
    levels = LEVELS.astype(np.float32)
    sums = np.add.outer(levels * ratio_a, levels * ratio_b + fixed)
    return np.clip(np.rint(sums), 0, 255).astype(np.int64)


def add_in_fixed_point(a: Step, b: Step, total: Step) -> Array:
    """XNNPACK's kernel (src/qs8-vadd): multipliers of 21 bits, halves up."""
    ratios = [np.float32(s.scale) / np.float32(total.scale) for s in (a, b)]
    shift = 20 - int(np.frexp(max(ratios))[1] - 1)
    multiplier_a, multiplier_b = (int(np.rint(np.float64(r) * 2.0**shift)) for r in ratios)
    sums = np.add.outer((LEVELS - a.zero_point) * multiplier_a, (LEVELS - b.zero_point) * multiplier_b)
    return np.clip(total.zero_point + ((sums + (1 << (shift - 1))) >> shift), 0, 255)


def differing(a: Step, b: Step, total: Step) -> int:
    return int((add_in_float(a, b, total) != add_in_fixed_point(a, b, total)).sum())


RANGES = st.tuples(st.floats(-8, 0), st.floats(0.1, 8))
ADD = graph(
    [
        node("Conv", ["x", "w"], ["a"]),
        node("Conv", ["x", "w"], ["b"]),
        node("Add", ["a", "b"], ["s"]),
        node("Relu", ["s"], ["r"]),
        node("MaxPool", ["r"], ["p"], kernel_shape=[1, 1]),
        node("Conv", ["r", "w"], ["c"]),
        node("Add", ["c", "p"], ["y"]),
    ],
    {"w": np.ones((1, 1, 1, 1), np.float32)},
    {"x": [1, 1, 4, 4]},
)


@settings(max_examples=15, deadline=None)
@given(a=RANGES, b=RANGES, c=RANGES, y=RANGES, r=st.floats(0.5, 8))
def test_sums_are_exact_for_every_pair_of_integers(
    a: tuple[float, float], b: tuple[float, float], c: tuple[float, float], y: tuple[float, float], r: float
) -> None:
    ranges = {"x": (-1.0, 1.0), "a": a, "b": b, "r": (0.0, r), "c": c, "y": y}
    steps = shared_steps(ADD, ranges)
    for one, other, total in (("a", "b", "r"), ("c", "r", "y")):
        if {one, other, total} <= set(steps):
            assert differing(steps[one], steps[other], steps[total]) == 0
    for name, step in steps.items():
        usual = Step.of_range(*ranges[name])
        assert usual.scale * (1 - 1e-6) <= step.scale <= usual.scale * 1.015


def test_arbitrary_ranges_always_have_exact_steps() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        low, high = -random.uniform(0.5, 3, 5), random.uniform(0.5, 3, 5)
        ranges = dict(zip(["x", "a", "b", "c", "y"], zip(low, high, strict=True), strict=True))
        assert set(shared_steps(ADD, {**ranges, "r": (0.0, high.sum() / 3)})) == {
            "x",
            "a",
            "b",
            "r",
            "c",
            "y",
        }


def test_usual_scales_do_differ() -> None:
    """The kernels above disagree on scales as they come: the test before this one can fail."""
    steps = [Step.of_range(-1.7, 2.9), Step.of_range(-0.4, 3.3), Step.of_range(0, 5.1)]
    pairs = [
        differing(*(s.rescaled(s.scale * (1 + i / 97)) for i, s in enumerate(steps, k))) for k in range(8)
    ]
    assert sum(pairs) > 0


def test_step_covers_its_range_and_zero() -> None:
    step = Step.of_range(0.5, 2.0)
    assert (step.zero_point, step.low) == (0, 0.0)
    assert step.scale * 255 == pytest.approx(2.0)


def test_tensor_of_zeros_gets_a_step_all_the_same() -> None:
    assert Step.of_range(0.0, 0.0) == Step(1.0, 0, 0.0)


def test_sum_of_a_tensor_with_itself_is_left_alone() -> None:
    model = graph([node("Add", ["x", "x"], ["y"])], {}, {"x": [4]})
    assert set(shared_steps(model, {"x": (-1.0, 1.0), "y": (-2.0, 2.0)})) == {"x"}


def test_scales_too_far_apart_are_left_alone() -> None:
    ranges = {
        "x": (-1.0, 1.0),
        "a": (-1e-5, 1e-5),
        "b": (-9.0, 9.0),
        "r": (0.0, 9.0),
        "c": (0.0, 1.0),
        "y": (0.0, 9.0),
    }
    assert "a" not in shared_steps(ADD, ranges)
