"""Weights on n levels and in blocks: against numpy, and why rounding to a step of n is no quantization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.helper import make_node as node

from harness.compression.canonical import canonicalise, initializers
from harness.compression.passes import Pass
from harness.compression.storage import expand
from harness.compression.weights import output_axis, sqnr_db, symbols, weight_layers, weight_only
from harness.core.errors import UnsupportedOperator, UsageError

from .graphs import feeds_of, graph, residual_cnn, run_onnx

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def cnn() -> onnx.ModelProto:
    return canonicalise(residual_cnn(1, channels=32))


def dense(model: onnx.ModelProto) -> Mapping[str, Array]:
    return {name: value for name, value in initializers(expand(model)).items() if value.ndim > 1}


def matmul(weights: Array) -> onnx.ModelProto:
    return canonicalise(
        graph([node("MatMul", ["x", "w"], ["y"])], {"w": weights}, {"x": ["n", len(weights)]})
    )


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 70_000), st.booleans(), st.integers(0, 2**32 - 1))
def test_symbols_against_numpy(n: int, symmetric: bool, seed: int) -> None:
    weights = normal(6, 7, seed=seed)
    result = symbols(matmul(weights), [], {"n": n, "symmetric": symmetric})
    low, high = (
        (-np.abs(weights).max(), np.abs(weights).max()) if symmetric else (weights.min(), weights.max())
    )
    levels = np.linspace(np.float64(low), np.float64(high), n)
    after = dense(result.model)["w"]
    assert np.abs(after[..., np.newaxis] - levels).min(axis=-1).max() < 1e-6  # each weight on a level
    assert np.abs(after - weights).max() <= (levels[1] - levels[0]) / 2 + 1e-6  # on the nearest one
    facts = result.report["weights"]["w"]
    assert facts["step"] == pytest.approx(levels[1] - levels[0])
    assert facts["levels"] == len(np.unique(after)) <= n


def test_rounding_to_a_step_of_n_destroys_weights() -> None:
    """``round(x / n) * n`` is often copied as quantization to n levels; its step is n, whatever the range."""
    weights = normal(32, 32) / 4
    copied = np.round(weights / 16) * 16
    assert not copied.any()  # all lie below n / 2
    levels = dense(symbols(matmul(weights), [], {"n": 16}).model)["w"]
    assert len(np.unique(levels)) > 10
    ratio = sqnr_db(weights, levels)
    assert sqnr_db(weights, copied) == 0.0
    assert ratio is not None
    assert ratio > 15


def test_constant_weights_keep_their_value() -> None:
    weights = np.full((8, 8), 0.25, np.float32)
    np.testing.assert_array_equal(dense(symbols(matmul(weights), [], {"n": 2}).model)["w"], weights)
    np.testing.assert_array_equal(dense(weight_only(matmul(weights), [], {}).model)["w"], weights)


@pytest.mark.parametrize("options", [{"n": 16}, {"n": 16, "expand": True}, {"n": 3, "symmetric": True}])
def test_symbols_on_a_cnn(cnn: onnx.ModelProto, options: dict[str, Any]) -> None:
    before = cnn.SerializeToString()
    result = symbols(cnn, [], options)
    assert cnn.SerializeToString() == before
    assert all(len(np.unique(value)) <= options["n"] for value in dense(result.model).values())
    small = result.report["bytes_after"] < 0.9 * result.report["bytes_before"]
    assert small == ("expand" not in options)
    assert symbols(cnn, [], options).model.SerializeToString() == result.model.SerializeToString()


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([4, 8]), st.integers(0, 40), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_blocks_against_numpy(bits: int, block: int, length: int, seed: int) -> None:
    weights = normal(length, 5, seed=seed)
    after = dense(weight_only(matmul(weights), [], {"bits": bits, "block": block}).model)["w"]
    largest = 2 ** (bits - 1) - 1
    for column, got in zip(weights.T, after.T, strict=True):
        for start in range(0, length, block or length):
            part = slice(start, start + (block or length))
            step = np.abs(column[part]).max() / largest
            np.testing.assert_allclose(got[part], np.rint(column[part] / step) * step, atol=step * 1e-4)


@pytest.mark.parametrize("bits", [4, 8])
def test_blocks_on_a_cnn(cnn: onnx.ModelProto, bits: int) -> None:
    result = weight_only(cnn, [], {"bits": bits})
    feeds = feeds_of(cnn, np.random.default_rng(2), 4)
    ratio = sqnr_db(run_onnx(cnn, feeds)["y"], run_onnx(result.model, feeds)["y"])
    assert ratio is not None
    assert ratio > {4: 10, 8: 35}[bits]
    large = weight_only(matmul(normal(128, 64)), [], {"bits": bits}).report["weights"]["w"]
    assert bits + 1 < large["bits_per_weight"] < bits + 1.5  # a float32 scale for 32 weights is one bit more
    again = weight_only(cnn, [], {"bits": bits})
    assert again.model.SerializeToString() == result.model.SerializeToString()


def test_smaller_blocks_lose_less(cnn: onnx.ModelProto) -> None:
    fine, coarse = (weight_only(cnn, [], {"block": block}).report["weights"]["head.w"] for block in (8, 0))
    assert fine["sqnr_db"] > coarse["sqnr_db"]
    assert fine["bytes"] > coarse["bytes"]


def test_a_weight_that_is_packed_already_is_left_alone(cnn: onnx.ModelProto) -> None:
    gemm = next(n for n in cnn.graph.node if n.op_type == "Gemm")
    first = weight_only(cnn, [], {"bits": 4, "layers": [gemm.name]}).model
    second = weight_only(first, [], {"bits": 8})
    assert gemm.input[1] not in second.report["weights"]
    np.testing.assert_array_equal(dense(second.model)[gemm.input[1]], dense(first)[gemm.input[1]])


@pytest.mark.parametrize(
    ("kind", "shape", "attributes", "axis"),
    [
        ("Conv", (4, 3, 1, 1), {}, 0),
        ("ConvTranspose", (3, 4, 1, 1), {}, 1),
        ("Gemm", (4, 3), {"transB": 1}, 0),
        ("Gemm", (3, 4), {}, 1),
        ("MatMul", (2, 3, 4), {}, 2),
        ("LSTM", (1, 16, 3), {"hidden_size": 4}, 1),
        ("Gather", (9, 3), {}, 0),
    ],
)
def test_axis_of_the_outputs(
    kind: str, shape: tuple[int, ...], attributes: dict[str, Any], axis: int
) -> None:
    assert output_axis(node(kind, ["x", "w"], ["y"], **attributes), normal(*shape)) == axis


def test_layers_in_the_order_of_the_graph(cnn: onnx.ModelProto) -> None:
    layers = weight_layers(cnn, where="here")
    assert [layer.node.op_type for layer in layers] == ["Conv"] * 7 + ["Gemm"]
    assert [layer.kind for layer in layers][:3] == ["Conv 3x3", "Conv 3x3 depthwise", "Conv 1x1"]


@pytest.mark.parametrize(
    ("run", "options", "words"),
    [
        (symbols, {"n": 1}, "whole number of at least 2"),
        (symbols, {"n": 4.0}, "whole number"),
        (symbols, {"levels": 4}, "known: n, symmetric"),
        (symbols, {"symetric": True}, "did you mean symmetric"),
        (symbols, {"expand": "no"}, "true or false"),
        (weight_only, {"bits": 5}, "must be one of 4, 8"),
        (weight_only, {"bits": True}, "must be one of 4, 8"),
        (weight_only, {"block": -1}, "whole number"),
        (weight_only, {"layers": ["Gem"]}, "layer"),
    ],
)
def test_bad_options_are_refused(
    cnn: onnx.ModelProto, run: Pass, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        run(cnn, [], options)


def test_control_flow_is_refused() -> None:
    model = matmul(normal(2, 2))
    model.graph.node[0].op_type = "Loop"
    with pytest.raises(UnsupportedOperator, match="Loop"):
        symbols(model, [], {})
