"""What each option of the int8 pass changes, and what it leaves as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from harness.compression.calibration import METHODS, Histogram
from harness.compression.canonical import canonicalise, initializers
from harness.compression.export import export_tflite
from harness.compression.quantize import quantize
from harness.compression.weights import sqnr_db
from harness.core.errors import UnsupportedOperator

from .graphs import Feeds, feeds_on_grid, residual_cnn, run_onnx, run_tflite

FEEDS: list[Feeds] = [
    {"x": np.random.default_rng(i).standard_normal((2, 1, 16, 16)).astype(np.float32)} for i in range(8)
]


@pytest.fixture(scope="module")
def cnn() -> onnx.ModelProto:
    return canonicalise(residual_cnn(1))


def zero_points(model: onnx.ModelProto) -> dict[str, np.ndarray[Any, Any]]:
    constants = initializers(model)
    return {n.input[0]: constants[n.input[2]] for n in model.graph.node if n.op_type == "QuantizeLinear"}


@pytest.mark.parametrize("activations", ["uint8", "int8", "uint16", "int16"])
def test_activations_have_the_type_that_was_asked_for(cnn: onnx.ModelProto, activations: str) -> None:
    result = quantize(cnn, FEEDS, {"activations": activations})
    zeros = zero_points(result.model)
    assert {value.dtype for value in zeros.values()} == {np.dtype(activations)}
    assert result.report["output_quantization"]["y"]["dtype"] == activations
    assert activations != "int16" or not any(value.any() for value in zeros.values())
    ratio = sqnr_db(run_onnx(cnn, FEEDS[0])["y"], run_onnx(result.model, FEEDS[0])["y"])
    assert ratio is not None
    assert ratio > 25


def test_signed_activations_are_the_same_numbers_as_unsigned_ones(cnn: onnx.ModelProto) -> None:
    unsigned, signed = (quantize(cnn, FEEDS, {"activations": kind}).model for kind in ("uint8", "int8"))
    first, second = zero_points(unsigned), zero_points(signed)
    assert {name: int(value) - 128 for name, value in first.items()} == {n: int(v) for n, v in second.items()}
    feeds = feeds_on_grid(unsigned, np.random.default_rng(8), 4)
    tflite = [run_tflite(export_tflite(model, name="m"), feeds)["y"] for model in (unsigned, signed)]
    np.testing.assert_array_equal(*tflite)


def test_sixteen_bits_lose_less_and_tflite_says_no(cnn: onnx.ModelProto) -> None:
    ratios = []
    expected = run_onnx(cnn, FEEDS[0])["y"]
    for activations in ("uint8", "int16"):
        model = quantize(cnn, FEEDS, {"activations": activations, "portable": activations == "uint8"}).model
        ratios.append(sqnr_db(expected, run_onnx(model, FEEDS[0])["y"]) or 0)
    assert ratios[1] > ratios[0] + 3
    with pytest.raises(UnsupportedOperator, match="int16"):
        export_tflite(model, name="m")


def test_one_scale_a_layer(cnn: onnx.ModelProto) -> None:
    model = quantize(cnn, FEEDS, {"per_channel": False}).model
    constants = initializers(model)
    scales = [constants[n.input[1]] for n in model.graph.node if n.op_type == "DequantizeLinear"]
    assert {scale.size for scale in scales} == {1}
    feeds = feeds_on_grid(model, np.random.default_rng(8), 4)
    exported = run_tflite(export_tflite(model, name="m"), feeds)["y"]
    np.testing.assert_array_equal(exported, run_onnx(model, feeds)["y"])


def error(values: np.ndarray[Any, Any], low: float, high: float) -> float:
    step = (high - low) / 255
    return float(((np.rint(np.clip(values, low, high) / step) * step - values) ** 2).sum())


def test_mse_loses_the_least_squared_error() -> None:
    values = np.random.default_rng(0).laplace(size=100_000)  # heavy tails: worth cutting
    histogram = Histogram()
    for part in np.split(values, 10):
        histogram.add(part, count=True)
    losses = {name: error(values, *method(histogram)) for name, method in METHODS.items()}
    assert losses["mse"] < 0.9 * losses["minmax"]
    best = min(error(values, -reach, reach) for reach in np.linspace(2, 15, 100))
    assert losses["mse"] < 1.05 * best


def test_mse_cuts_nothing_from_even_values() -> None:
    histogram = Histogram()
    histogram.add(np.linspace(0, 6, 10_000), count=True)
    assert METHODS["mse"](histogram) == (0.0, 6.0)


@pytest.mark.parametrize("seed", range(5))
def test_histogram_counts_as_numpy_does(seed: int) -> None:
    histogram = Histogram()
    values = np.maximum(np.random.default_rng(seed).standard_normal(10_000), 0).astype(np.float32)
    histogram.add(values, count=True)
    bins = len(histogram.counts)
    exact = np.floor(values.astype(np.longdouble) / histogram.reach * (bins // 2)).astype(int) + bins // 2
    expected = np.bincount(np.minimum(exact, bins - 1), minlength=bins)
    assert np.abs(histogram.counts - expected).sum() <= 10  # values that float32 puts on an edge
    assert histogram.counts[bins // 2] >= histogram.zeros > 4_000
