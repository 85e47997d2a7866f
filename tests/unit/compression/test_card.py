"""What a card tells is what numpy finds in the weights and the outputs."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from onnx.helper import make_node as node

from harness.compression import card
from harness.compression.canonical import canonicalise, initializers
from harness.compression.cluster import cluster
from harness.compression.dynamic import dynamic
from harness.compression.prune import prune
from harness.compression.quantize import quantize

from .graphs import Feeds, feeds_of, graph, residual_cnn, run_onnx


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return canonicalise(residual_cnn(0))


@pytest.fixture(scope="module")
def feeds(model: onnx.ModelProto) -> list[Feeds]:
    return [feeds_of(model, np.random.default_rng(seed), 1) for seed in range(8)]


def values_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {name: layer.values for name, layer in card.weights_of(model).items()}


def ratio_db(exact: np.ndarray, actual: np.ndarray) -> float:
    noise = np.square(exact.astype(np.float64) - actual).sum()
    return 10 * math.log10(np.square(exact.astype(np.float64)).sum() / noise)


def test_sparsity_and_unique_weights_are_counted(model: onnx.ModelProto, feeds: list[Feeds]) -> None:
    pruned = prune(model, feeds, {"sparsity": 0.5, "refit": False}).model
    described = card.describe(pruned, model, feeds)
    weights = values_of(pruned)
    assert described["weights"] == sum(values.size for values in weights.values())
    zeros = sum(int((values == 0).sum()) for values in weights.values())
    assert described["sparsity"] == pytest.approx(zeros / described["weights"])
    for layer in described["layers"]:
        values = weights[layer["layer"]]
        assert layer["unique_weights"] == len(set(values.ravel().tolist()))
        assert layer["sparsity"] == pytest.approx((values == 0).mean())


def test_packed_weights_are_unpacked_before_they_are_looked_at() -> None:
    model = canonicalise(residual_cnn(0, channels=32))  # smaller ones are not worth packing
    feeds = [feeds_of(model, np.random.default_rng(0), 1)]
    packed = cluster(model, feeds, {"k": 4}).model
    described = card.describe(packed, model, feeds)
    assert described["bits_per_weight"] < 16
    assert {layer["layer"] for layer in described["layers"]} == set(card.weights_of(model))
    assert all(layer["unique_weights"] <= 4 for layer in described["layers"] if layer["weights"] > 64)


def test_quantized_weights_are_those_that_are_multiplied(model: onnx.ModelProto, feeds: list[Feeds]) -> None:
    int8 = quantize(model, feeds, {}).model
    exact, rounded = (
        {name: layer.values for name, layer in card.weights_of(version).items()} for version in (model, int8)
    )
    assert set(exact) == set(rounded)
    for name, values in exact.items():
        step = np.abs(values).max() / 63  # portable weights have at least seven bits
        assert np.abs(values - rounded[name]).max() <= step
        assert len(np.unique(rounded[name])) <= 255 * values.shape[0]


def test_noise_of_the_output_is_that_of_the_runs(model: onnx.ModelProto, feeds: list[Feeds]) -> None:
    int8 = quantize(model, feeds, {}).model
    sqnr = card.output_sqnr_db(model, int8, feeds)
    (output,) = (value.name for value in model.graph.output)
    exact, actual = (np.concatenate([run_onnx(m, feed)[output] for feed in feeds]) for m in (model, int8))
    # The runtime fuses what the card runs unfused: a bit of rounding apart.
    assert sqnr[output] == pytest.approx(ratio_db(exact, actual), abs=1.0)
    assert all(value is None or value > 10 for value in sqnr.values())


def test_a_relu_within_the_rounding_is_compared_with_the_relu(feeds: list[Feeds]) -> None:
    rng = np.random.default_rng(0)
    nodes = [
        node("Gemm", ["x", "w", "b"], ["a"], transB=1, name="first"),
        node("Relu", ["a"], ["r"], name="relu"),
        node("Gemm", ["r", "v", "c"], ["y"], transB=1, name="second"),
    ]
    constants = {
        "w": rng.normal(size=(8, 8)),
        "b": np.zeros(8),
        "v": rng.normal(size=(3, 8)),
        "c": np.zeros(3),
    }
    model = canonicalise(
        graph(nodes, {name: value.astype(np.float32) for name, value in constants.items()}, {"x": ["n", 8]})
    )
    given = [feeds_of(model, np.random.default_rng(seed), 4) for seed in range(8)]
    sqnr = card.output_sqnr_db(model, quantize(model, given, {}).model, given)
    assert sqnr["r"] is not None
    assert sqnr["r"] > 25


def test_float_against_itself_lost_nothing(model: onnx.ModelProto, feeds: list[Feeds]) -> None:
    described = card.describe(model, model, feeds)
    assert all(layer["weight_sqnr_db"] is None for layer in described["layers"])
    assert all(layer["output_sqnr_db"] is None for layer in described["layers"])
    assert described["parameters"] == sum(value.size for value in initializers(model).values())


def test_notes_say_what_is_easily_overlooked() -> None:
    base = {
        "tflite": {},
        "steps": [],
        "refused": {},
        "speed": {"speed_up": 0.3, "ci_low": 0.2, "ci_high": 0.4},
    }
    assert "slower than float32 on ONNX Runtime: 0.30" in card.notes(base)[0]
    assert card.notes({**base, "speed": {"speed_up": 0.99, "ci_low": 0.9, "ci_high": 1.1}}) == []
    other = {
        **base, "speed": {}, "tflite": {"float_layers": ["erf"]}, "steps": [{"overflow": ["fc"]}],
        "refused": {"tflite": "no handler\nmore"},
    }  # fmt: skip
    notes = card.notes(other)
    assert [any(word in note for note in notes) for word in ("erf", "fc", "no tflite file: no handler")] == [
        True, True, True,
    ]  # fmt: skip
    assert not any("more" in note for note in notes)


def test_dynamic_int8_has_a_measured_speed(model: onnx.ModelProto, feeds: list[Feeds]) -> None:
    described = card.describe(dynamic(model, feeds, {}).model, model, feeds)
    assert {layer["operator"] for layer in described["layers"]} <= {"ConvInteger", "MatMulInteger"}
    assert described["speed"]["ci_low"] <= described["speed"]["speed_up"] <= described["speed"]["ci_high"]


@pytest.mark.parametrize("pass_", [quantize, dynamic])
def test_integers_are_the_same_parameters_in_the_same_layers(pass_, model: onnx.ModelProto, feeds) -> None:  # noqa: ANN001
    made = pass_(model, feeds, {}).model
    described, plain = card.describe(made, model, feeds), card.describe(model, model, feeds)
    # Scales and zero points are no parameters.
    assert described["parameters"] == plain["parameters"] == sum(v.size for v in initializers(model).values())
    float_layers = {layer["layer"]: layer for layer in plain["layers"]}
    for layer in described["layers"]:
        assert layer["layer"] in float_layers
        assert layer["unique_weights"] <= 256
        assert layer["weight_sqnr_db"] > 20
        assert layer["output_sqnr_db"] > 10
