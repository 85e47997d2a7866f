"""Int8 pools give the same on ONNX Runtime, OpenVINO and LiteRT, whatever pads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_node as node

from harness.compression.canonical import canonicalise
from harness.compression.export import export_tflite
from harness.compression.quantize import quantize
from harness.core.errors import UnsupportedOperator

from .compression_graphs import run_openvino
from .graphs import Array, graph, run_onnx, run_tflite

SIZE = 9


def normal(seed: int, *shape: int) -> Array:
    return np.random.default_rng([3, seed]).standard_normal(shape).astype(np.float32)


def pooled(*pools: dict[str, Any], relu: bool = False, kind: str = "AveragePool") -> onnx.ModelProto:
    """Convolution, pools, convolution."""
    nodes, last = [node("Conv", ["x", "w"], ["c"], pads=[1] * 4)], "c"
    if relu:
        nodes.append(node("Relu", ["c"], ["r"]))
        last = "r"
    for index, attributes in enumerate(pools):
        nodes.append(node(kind, [last], [f"p{index}"], f"pool{index}", **attributes))
        last = f"p{index}"
    nodes.append(node("Conv", [last, "v"], ["y"]))
    constants = {"w": normal(1, 4, 3, 3, 3), "v": normal(2, 5, 4, 1, 1)}
    return canonicalise(graph(nodes, constants, {"x": ["n", 3, SIZE, SIZE]}))


def sqnr_db(exact: Array, rounded: Array) -> float:
    error = exact.astype(np.float64) - rounded
    return float(10 * np.log10(np.square(exact.astype(np.float64)).sum() / np.square(error).sum()))


COUNTED = {"count_include_pad": 1, "kernel_shape": [3, 3]}
PADDED = {**COUNTED, "pads": [1] * 4}
POOLS: dict[str, list[dict[str, Any]]] = {
    "counted": [PADDED],
    "two in a row": [PADDED, PADDED],
    "stride": [{**PADDED, "strides": [2, 2]}],
    "one side": [{**COUNTED, "pads": [0, 1, 2, 0]}],
    "same upper": [{**COUNTED, "auto_pad": "SAME_UPPER", "strides": [2, 2]}],
    "same lower": [{**COUNTED, "auto_pad": "SAME_LOWER", "kernel_shape": [2, 2]}],
    "ceil without effect": [{**PADDED, "ceil_mode": 1, "strides": [2, 2]}],
    "counted without padding": [COUNTED],
    "not counted": [{"kernel_shape": [3, 3], "pads": [1] * 4}],
    "not counted, same": [{"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER"}],
}


@pytest.mark.parametrize("activations", ["uint8", "int8"])
@pytest.mark.parametrize("relu", [False, True], ids=["signed", "relu"])
@pytest.mark.parametrize("name", POOLS)
def test_average_pools_agree_in_int8(name: str, relu: bool, activations: str) -> None:
    model = pooled(*POOLS[name], relu=relu)
    calibration = [{"x": normal(seed, 1, 3, SIZE, SIZE)} for seed in range(10, 18)]
    result = quantize(model, calibration, {"activations": activations})
    assert result.report["quantized"]["AveragePool"] == len(POOLS[name])
    feed = {"x": normal(99, 4, 3, SIZE, SIZE)}
    expected = run_onnx(model, feed)["y"]
    reached = sqnr_db(expected, run_onnx(result.model, feed)["y"])
    assert reached > 20
    assert sqnr_db(expected, run_openvino(result.model, feed)["y"]) > reached - 2
    assert sqnr_db(expected, run_tflite(export_tflite(result.model, name="m"), feed)["y"]) > reached - 2


def test_ceil_mode_that_extends_a_window() -> None:
    """The divisor does not count what lies beyond the padding; in float32 OpenVINO 2026.4 counts it."""
    model = pooled({**PADDED, "ceil_mode": 1, "strides": [3, 3]})
    calibration = [{"x": normal(seed, 1, 3, SIZE, SIZE)} for seed in range(10, 18)]
    result = quantize(model, calibration, {}).model
    feed = {"x": normal(99, 4, 3, SIZE, SIZE)}
    expected = run_onnx(model, feed)["y"]
    reached = sqnr_db(expected, run_onnx(result, feed)["y"])
    assert reached > 20
    assert sqnr_db(expected, run_openvino(result, feed)["y"]) > reached - 2
    with pytest.raises(UnsupportedOperator, match="ceil_mode"):
        export_tflite(result, name="m")


@pytest.mark.parametrize("relu", [False, True], ids=["signed", "relu"])
@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [3, 3], "pads": [1] * 4},
        {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"kernel_shape": [2, 2], "ceil_mode": 1, "strides": [2, 2]},
    ],
    ids=["pads", "same", "ceil"],
)
def test_max_pools_agree_in_int8(attributes: dict[str, Any], relu: bool) -> None:
    model = pooled(attributes, relu=relu, kind="MaxPool")
    calibration = [{"x": normal(seed, 1, 3, SIZE, SIZE)} for seed in range(10, 18)]
    result = quantize(model, calibration, {}).model
    feed = {"x": normal(99, 4, 3, SIZE, SIZE)}
    expected = run_onnx(model, feed)["y"]
    reached = sqnr_db(expected, run_onnx(result, feed)["y"])
    assert reached > 20
    assert sqnr_db(expected, run_openvino(result, feed)["y"]) > reached - 2
    assert sqnr_db(expected, run_tflite(export_tflite(result, name="m"), feed)["y"]) > reached - 2


def test_padding_that_depends_on_a_dynamic_extent_stays_in_float() -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1] * 4),
        node(
            "AveragePool",
            ["c"],
            ["y"],
            "pool",
            count_include_pad=1,
            kernel_shape=[2, 2],
            auto_pad="SAME_UPPER",
        ),
    ]
    model = canonicalise(graph(nodes, {"w": normal(1, 4, 3, 3, 3)}, {"x": ["n", 3, "h", "w"]}))
    report = quantize(model, [{"x": normal(s, 1, 3, SIZE, SIZE)} for s in range(8)], {}).report
    assert "dynamic extent" in report["kept_float"]["pool"]
    assert report["float"] == {"AveragePool": 1}


def test_pool_of_what_is_never_negative_has_no_extra_operator() -> None:
    """Its zero point is the integer 0, which every runtime pads with."""
    model = pooled(PADDED, relu=True)
    calibration = [{"x": normal(seed, 1, 3, SIZE, SIZE)} for seed in range(10, 18)]
    assert "Pad" not in quantize(model, calibration, {}).report["quantized"]
