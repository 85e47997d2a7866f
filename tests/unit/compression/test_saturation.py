"""16-bit overflow: found where the instruction has it, prevented at the least cost, and real on CPUs."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx.helper import make_node as node

from harness.compression.canonical import canonicalise, initializers
from harness.compression.quantize import quantize
from harness.compression.saturation import (
    largest_pairs,
    overflowing,
    portable_bounds,
    saturating,
    sums_in_16_bits,
)

from .compression_graphs import run_openvino
from .graphs import graph, run_onnx

Array = np.ndarray[Any, Any]


def integers(weights: Array, bounds: Array) -> Array:
    return np.rint(weights * (127 / bounds.astype(np.float64))[:, np.newaxis])


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(np.int8, st.tuples(st.integers(1, 3), st.integers(1, 6)), elements=st.integers(-127, 127)))
def test_overflow_against_the_instruction(weights: Array) -> None:
    """``vpmaddubsw`` on every two weights of a filter, with every activation at its largest or at zero."""
    for filter_, overflows in zip(weights.astype(int), overflowing(weights, 0), strict=True):
        sums = [
            a * x + b * y
            for x, y in itertools.combinations([*filter_, 0], 2)
            for a, b in itertools.product((0, 255), repeat=2)
        ]
        assert overflows == (max(sums) > 32767 or min(sums) < -32768)


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(np.float32, (3, 5), elements=st.floats(-8, 8, width=32)).filter(
        lambda w: np.abs(w).max(1).all()
    )
)
def test_widened_scales_cannot_overflow_and_the_others_stay(weights: Array) -> None:
    plain = np.abs(weights).max(axis=1)
    bounds = portable_bounds(weights, 0, plain)
    reached = overflowing(integers(weights, plain), 0)
    np.testing.assert_array_equal(bounds > plain, reached)
    after = integers(weights, bounds)
    assert not overflowing(after, 0).any()
    assert (np.abs(after).max(axis=1) >= 63).all()  # never worse than 7 bits


def test_pairs_along_another_axis() -> None:
    weights = np.array([[5, -1], [4, -7], [-3, -6]])
    np.testing.assert_array_equal(largest_pairs(weights, 1), [9, 13])
    np.testing.assert_array_equal(largest_pairs(np.array([[3], [-4]]), 0), [3, 4])


@pytest.mark.parametrize(
    ("group", "shape", "paired"),
    [(1, (4, 2, 3, 3), True), (4, (4, 1, 3, 3), False), (2, (4, 1, 3, 3), True), (1, (4, 1, 3, 3), True)],
    ids=["full", "depthwise", "multiplier", "one channel"],
)
def test_which_convolutions_add_in_16_bits(group: int, shape: tuple[int, ...], paired: bool) -> None:
    conv = node("Conv", ["x", "w"], ["y"], group=group)
    assert sums_in_16_bits(conv, np.zeros(shape)) is paired


def overflowing_model(kind: str, group: int) -> onnx.ModelProto:
    """Weights near their largest, of one sign in each filter: with bright inputs every sum overflows."""
    random = np.random.default_rng(0)
    channels = 16
    shape = (channels, channels) if kind == "Gemm" else (channels, channels // group, 3, 3)
    weights = random.uniform(0.8, 1, shape) * random.choice([-1, 1], (channels, *[1] * (len(shape) - 1)))
    constants = {"w": weights.astype(np.float32), "b": random.standard_normal(channels).astype(np.float32)}
    attributes: dict[str, Any] = {"transB": 1} if kind == "Gemm" else {"group": group}
    inputs = {"x": ["n", channels] if kind == "Gemm" else ["n", channels, 3, 3]}
    return canonicalise(graph([node(kind, ["x", "w", "b"], ["y"], **attributes)], constants, inputs))


def bright(model: onnx.ModelProto) -> dict[str, Array]:
    dims = model.graph.input[0].type.tensor_type.shape.dim
    shape = [8, *(dim.dim_value for dim in dims[1:])]
    return {"x": np.random.default_rng(1).uniform(0.9, 1, shape).astype(np.float32)}


@pytest.mark.parametrize("activations", ["uint8", "int8"])
@pytest.mark.parametrize(("kind", "group"), [("Conv", 1), ("Conv", 4), ("Conv", 16), ("Gemm", 1)])
def test_portable_model_is_right_on_this_cpu(kind: str, group: int, activations: str) -> None:
    """On AVX2 without VNNI this fails by a third of the range without widening."""
    model = overflowing_model(kind, group)
    feeds = bright(model)
    result = quantize(model, [feeds], {"activations": activations})
    expected = run_onnx(model, feeds)["y"]
    step = result.report["output_quantization"]["y"]["scale"]
    for run in (run_onnx, run_openvino):
        assert np.abs(run(result.model, feeds)["y"] - expected).max() < 3 * step


@pytest.mark.parametrize("per_channel", [True, False])
def test_report_names_what_was_widened_and_what_can_overflow(per_channel: bool) -> None:
    model = overflowing_model("Conv", 1)
    options = {"per_channel": per_channel}
    safe = quantize(model, [bright(model)], options)
    risky = quantize(model, [bright(model)], {**options, "portable": False})
    name = model.graph.node[0].input[1]
    facts = safe.report["weights"][name]
    assert (safe.report["overflow"], risky.report["overflow"]) == ([], [model.graph.node[0].name])
    assert facts["widened_filters"] == facts["filters"] == 16
    assert facts["sqnr_db_before"] == risky.report["weights"][name]["sqnr_db"] > facts["sqnr_db"]
    assert "widened_filters" not in risky.report["weights"][name]
    for result, most in ((safe, 128), (risky, 254)):
        stored = next(v for v in initializers(result.model).values() if v.dtype == np.int8 and v.ndim == 4)
        pairs = largest_pairs(stored, 0)
        assert most - 6 <= pairs.max() <= most
        assert stored.min() >= -127


def test_depthwise_keeps_its_eight_bits() -> None:
    model = overflowing_model("Conv", 16)
    report = quantize(model, [bright(model)], {}).report
    assert report["overflow"] == []
    assert "widened_filters" not in report["weights"][model.graph.node[0].input[1]]


def _quantized(kind: str, activations: type, weights: Array) -> onnx.ModelProto:
    """A model of one quantized product: QDQ, QLinearMatMul, or MatMulInteger."""
    zero = {np.uint8: onnx.TensorProto.UINT8, np.int8: onnx.TensorProto.INT8}[activations]
    values: dict[str, Array] = {
        "s": np.float32(0.1), "z": np.zeros((), activations), "w": weights, "zw": np.zeros((), weights.dtype),
    }  # fmt: skip
    nodes = [node("QuantizeLinear", ["x", "s", "z"], ["q"])]
    if kind == "qdq":
        nodes += [
            node("DequantizeLinear", ["q", "s", "z"], ["a"]),
            node("DequantizeLinear", ["w", "s", "zw"], ["b"]),
            node("MatMul", ["a", "b"], ["y"], name="product"),
        ]  # fmt: skip
    elif kind == "operator":
        inputs = ["q", "s", "z", "w", "s", "zw", "s", "z"]
        nodes.append(node("QLinearMatMul", inputs, ["y"], name="product"))
    else:
        nodes.append(node("MatMulInteger", ["q", "w"], ["y"], name="product"))
    inputs_ = [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 2])]
    output = {"qdq": onnx.TensorProto.FLOAT, "operator": zero}.get(kind, onnx.TensorProto.INT32)
    return onnx.helper.make_model(
        onnx.helper.make_graph(
            nodes, "g", inputs_, [onnx.helper.make_tensor_value_info("y", output, ["n", 2])],
            [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
        )
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["qdq", "operator", "integer"])
def test_operators_of_signed_weights_with_8_bits_are_named(kind: str) -> None:
    wide, narrow = np.array([[100, 1], [100, 1]]), np.array([[64, 1], [64, 1]])
    assert saturating(_quantized(kind, np.uint8, wide.astype(np.int8))) == ("product",)
    assert saturating(_quantized(kind, np.uint8, narrow.astype(np.int8))) == ()
    assert saturating(_quantized(kind, np.uint8, wide.T.astype(np.int8))) == ()  # 101 a filter
    assert saturating(_quantized(kind, np.int8, wide.astype(np.int8))) == ("product",)
    assert saturating(_quantized(kind, np.uint8, wide.astype(np.uint8))) == ()
