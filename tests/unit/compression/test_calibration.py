"""Ranges of activations: exact, streamed, and bounded in memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.helper import make_node as node

from harness.compression.calibration import _BINS, METHODS, Histogram, activation_ranges
from harness.compression.canonical import canonicalise
from harness.core.errors import DataError, ModelError

from .graphs import Feeds, graph

SHAPE = (1, 1, 64, 64)
POOL = canonicalise(graph([node("MaxPool", ["x"], ["y"], kernel_shape=[1, 1])], {}, {"x": list(SHAPE)}))


def normal(seed: int, scale: float = 1.0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return (np.random.default_rng(seed).standard_normal(SHAPE) * scale).astype(np.float32)


def ranges(feeds: list[Feeds] | Iterator[Feeds], method: str) -> dict[str, tuple[float, float]]:
    return activation_ranges(POOL, feeds, method, ["MaxPool"])[0]


def test_minmax_sees_every_value() -> None:
    feeds = [{"x": normal(i, 1 + (i == 40))} for i in range(41)]
    everything = np.concatenate([feed["x"] for feed in feeds])
    assert ranges(feeds, "minmax")["y"] == (everything.min(), everything.max())


@pytest.mark.parametrize("method", ["entropy", "percentile"])
@pytest.mark.parametrize("first", [True, False])
def test_histogram_methods_cut_an_outlier(method: str, first: bool) -> None:
    feeds = [{"x": normal(i)} for i in range(64)]
    feeds[0 if first else -1]["x"].flat[0] = 1000.0
    low, high = ranges(feeds, method)["y"]
    assert -8 < low < -2
    assert 2 < high < 8


@pytest.mark.parametrize("method", METHODS)
def test_range_lies_within_what_was_seen(method: str) -> None:
    feeds = [{"x": np.maximum(normal(i), 0)} for i in range(4)]
    low, high = ranges(feeds, method)["y"]
    assert low == 0.0
    assert 1.0 < high <= max(feed["x"].max() for feed in feeds)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=6), st.integers(0, 99))
def test_histogram_counts_all_values_whatever_their_order_of_size(scales: list[float], seed: int) -> None:
    histogram, values = Histogram(), []
    for index, scale in enumerate(scales):
        values.append(np.random.default_rng([seed, index]).standard_normal(50) * scale)
        histogram.add(values[-1], count=True)
    everything = np.concatenate(values)
    assert histogram.counts.sum() == everything.size
    assert histogram.counts.size == _BINS
    expected = np.histogram(everything, _BINS, (-histogram.reach, histogram.reach))[0]
    assert np.abs(np.cumsum(histogram.counts) - np.cumsum(expected)).max() <= 1  # a value on an edge


def test_percentile_agrees_with_numpy() -> None:
    values = np.random.default_rng(0).exponential(size=400_000)
    histogram = Histogram()
    for part in np.split(values, 8):
        histogram.add(part, count=True)
    low, high = METHODS["percentile"](histogram)
    width = 2 * histogram.reach / _BINS
    expected = np.percentile(values, [0.0005, 99.9995])
    assert abs(low - expected[0]) <= width
    assert abs(high - expected[1]) <= 2 * width


@pytest.mark.parametrize("method", METHODS)
def test_memory_is_flat_in_the_number_of_feeds(method: str) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        ranges(({"x": normal(i)} for i in range(count)), method)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak_bytes

    peak(2)
    assert peak(60) - peak(10) < 2 * normal(0).nbytes


def test_entropy_keeps_a_brightness_that_many_pixels_have() -> None:
    """Ink of 255 on paper of 0, as scanned digits are: the ink is no outlier."""
    random = np.random.default_rng(0)
    ink = np.where(
        random.random(SHAPE) < 0.1,
        255,
        np.where(random.random(SHAPE) < 0.05, random.integers(0, 256, SHAPE), 0),
    )
    assert ranges([{"x": ink.astype(np.float32)}], "entropy")["x"] == (0.0, 255.0)


def test_zeros_on_the_way_are_no_fault() -> None:
    feeds = [{"x": normal(0) * 0}, {"x": normal(1)}]
    for method in METHODS:
        assert ranges(feeds, method)["y"][1] > 1


def test_activation_that_overflows_is_named() -> None:
    model = canonicalise(graph([node("Mul", ["x", "x"], ["y"])], {}, {"x": list(SHAPE)}))
    with pytest.raises(ModelError, match=r"'y' is not finite on calibration feed 1"):
        activation_ranges(model, [{"x": normal(0)}, {"x": normal(0, 1e30)}], "minmax", ["Mul"])


def test_a_model_without_an_operator_to_quantize_is_refused_by_name() -> None:
    model = canonicalise(graph([node("Abs", ["x"], ["y"])], {}, {"x": list(SHAPE)}))
    with pytest.raises(ModelError, match="no operator that can be quantized") as caught:
        activation_ranges(model, [{"x": normal(0)}], "minmax", ["Conv"])
    assert "Abs" in caught.value.cause


BAD: dict[str, tuple[list[Feeds], str]] = {
    "empty": ([], "empty"),
    "constant": ([{"x": np.ones(SHAPE, np.float32)}] * 3, "are equal"),
    "shape": ([{"x": np.ones((1, 64, 64, 1), np.float32)}], r"\(1, 64, 64, 1\)"),
    "rank": ([{"x": np.ones((1, 64, 64), np.float32)}], r"\(1, 64, 64\)"),
    "dtype": ([{"x": np.ones(SHAPE, np.uint8)}], "uint8"),
    "name": ([{"image": np.ones(SHAPE, np.float32)}], "image"),
    "nan": ([{"x": np.full(SHAPE, np.nan, np.float32)}], "NaN"),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_calibration_data_are_refused(fault: str) -> None:
    feeds, words = BAD[fault]
    with pytest.raises(DataError, match=words):
        ranges(feeds, "minmax")


def test_only_float_tensors_around_the_operators_are_taken() -> None:
    assert isinstance(POOL, onnx.ModelProto)
    assert set(ranges([{"x": normal(0)}], "minmax")) == {"x", "y"}
