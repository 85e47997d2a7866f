"""Activations that 8 bits would destroy are found by their effect, whatever makes them, and stay in float."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.helper import make_node as node

from harness.compression.calibration import activation_ranges, octaves
from harness.compression.canonical import canonicalise
from harness.compression.card import notes, output_sqnr_db
from harness.compression.export import export_tflite
from harness.compression.quantize import quantize
from harness.compression.resolution import Effect, Grid
from harness.core.errors import ModelError

from .graphs import Array, Feeds, graph, residual_cnn, run_onnx, run_tflite

LENGTH, WIDTH = 6, 8
LOWEST = float(np.finfo(np.float32).min)


def normal(seed: int, *shape: int) -> Array:
    return np.random.default_rng([7, seed]).standard_normal(shape).astype(np.float32)


def sqnr_db(exact: Array, rounded: Array) -> float:
    counted = np.isfinite(exact) & (np.abs(exact) < 1e3)
    error = exact[counted].astype(np.float64) - rounded[counted]
    signal, noise = (float(np.square(x.astype(np.float64)).sum()) for x in (exact[counted], error))
    return 10 * np.log10(signal / noise) if noise else np.inf


def feeds(count: int = 12, *shape: int) -> list[Feeds]:
    return [{"x": normal(seed, 1, *(shape or (LENGTH, WIDTH)))} for seed in range(count)]


def attention(
    *masking: onnx.NodeProto, outputs: tuple[str, ...] = ("y",), **constants: Any
) -> onnx.ModelProto:
    """Self-attention whose scores ``a`` become ``am`` by the nodes given."""
    nodes = [
        node("MatMul", ["x", "q"], ["s"]),
        node("Transpose", ["x"], ["xt"], perm=[0, 2, 1]),
        node("MatMul", ["s", "xt"], ["a"]),
        *masking,
        node("Softmax", ["am"], ["p"], axis=-1),
        node("MatMul", ["p", "x"], ["o"]),
        node("Flatten", ["o"], ["f"]),
        node("MatMul", ["f", "w"], ["y"]),
    ]
    weights = {"q": normal(100, WIDTH, WIDTH) / 3, "w": normal(101, LENGTH * WIDTH, 5)}
    return graph(nodes, {**weights, **constants}, {"x": ["n", LENGTH, WIDTH]})


def causal(low: float) -> Array:
    return np.where(np.triu(np.ones((LENGTH, LENGTH)), 1) > 0, np.float32(low), 0).astype(np.float32)


def added(low: float) -> onnx.ModelProto:
    return attention(node("Add", ["a", "m"], ["am"]), m=causal(low))


def added_twice(low: float) -> onnx.ModelProto:
    """As a causal mask and a padding mask, whose sum overflows for the lowest float."""
    return attention(
        node("Add", ["a", "m"], ["b"]), node("Add", ["b", "m2"], ["am"]), m=causal(low), m2=causal(low)
    )


def added_before_reshape(low: float) -> onnx.ModelProto:
    return attention(
        node("Add", ["a", "m"], ["b"]),
        node("Unsqueeze", ["b", "axis"], ["u"]),
        node("Squeeze", ["u", "axis"], ["am"]),
        m=causal(low),
        axis=np.array([1]),
    )


def chosen(low: float) -> onnx.ModelProto:
    return attention(node("Where", ["keep", "a", "low"], ["am"]), keep=causal(1) == 0, low=np.float32(low))


def multiplied(low: float) -> onnx.ModelProto:
    """The mask of one sample, computed by the model: (1 - mask) · low."""
    return attention(
        node("Sub", ["one", "open"], ["closed"]),
        node("Mul", ["closed", "low"], ["m"]),
        node("Add", ["a", "m"], ["am"]),
        one=np.float32(1),
        open=np.where(causal(1) > 0, np.float32(0), np.float32(1)),
        low=np.float32(low),
    )


MASKS = [
    (make, low)
    for make in (added, added_twice, added_before_reshape, chosen, multiplied)
    for low in (-np.inf, LOWEST, -1e30, -1e9, -1e4)
    if make is not multiplied or np.isfinite(low)  # 0 · inf is NaN in float, too
]


@pytest.mark.parametrize(("make", "low"), MASKS)
@pytest.mark.filterwarnings("ignore:invalid value encountered in multiply")
def test_masked_scores_stay_in_float(make: Callable[[float], onnx.ModelProto], low: float) -> None:
    model = canonicalise(make(low))
    result = quantize(model, feeds(), {})
    assert "am" in result.report["kept_float"]
    feed = {"x": normal(99, 16, LENGTH, WIDTH)}
    expected = run_onnx(model, feed)["y"]
    assert sqnr_db(expected, run_onnx(result.model, feed)["y"]) > 20
    assert result.report["quantized"]["MatMul"] == 4
    if make is not chosen:
        assert sqnr_db(expected, run_tflite(export_tflite(result.model, name="m"), feed)["y"]) > 20
    card = {"steps": [result.report], "tflite": {}, "refused": {}}
    assert any("kept in float" in note and "am" in note for note in notes(card))
    assert all(
        value is None or np.isfinite(value)
        for value in output_sqnr_db(model, result.model, feeds(2)).values()
    )


def test_mild_mask_is_quantized() -> None:
    assert quantize(canonicalise(added(-12.0)), feeds(), {}).report["kept_float"] == {}


@pytest.mark.parametrize("fill", [-np.inf, LOWEST, -1e9])
def test_padding_before_a_max_pool_stays_in_float(fill: float) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"]),
        node("Pad", ["c", "widths", "fill"], ["p"]),
        node("MaxPool", ["p"], ["m"], kernel_shape=[3, 3]),
        node("Conv", ["m", "v"], ["y"]),
    ]
    constants = {
        "w": normal(1, 4, 3, 3, 3), "v": normal(2, 4, 4, 1, 1),
        "widths": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "fill": np.float32(fill),
    }  # fmt: skip
    model = canonicalise(graph(nodes, constants, {"x": ["n", 3, 8, 8]}))
    result = quantize(model, feeds(8, 3, 8, 8), {})
    feed = {"x": normal(99, 8, 3, 8, 8)}
    expected = run_onnx(model, feed)["y"]
    assert sqnr_db(expected, run_onnx(result.model, feed)["y"]) > 20
    assert sqnr_db(expected, run_tflite(export_tflite(result.model, name="m"), feed)["y"]) > 20


@pytest.mark.parametrize("fill", [-9.0, 0.0, 9.0])
def test_fill_value_outside_the_range_of_the_input(fill: float) -> None:
    """The range of the result has it; TFLite's PADV2 once clamped it to that of the input."""
    nodes = [node("Pad", ["x", "widths", "fill"], ["p"]), node("Conv", ["p", "w"], ["y"])]
    constants = {
        "w": normal(1, 4, 3, 3, 3), "widths": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "fill": np.float32(fill),
    }  # fmt: skip
    model = canonicalise(graph(nodes, constants, {"x": ["n", 3, 8, 8]}))
    result = quantize(model, feeds(8, 3, 8, 8), {}).model
    feed = {"x": normal(99, 8, 3, 8, 8)}
    expected = run_onnx(model, feed)["y"]
    assert sqnr_db(expected, run_onnx(result, feed)["y"]) > 20
    assert sqnr_db(expected, run_tflite(export_tflite(result, name="m"), feed)["y"]) > 20


def test_small_denominators_stay_in_float() -> None:
    """A LayerNorm of single operators, on rows whose variances differ by a factor of 400."""
    nodes = [
        node("ReduceMean", ["x"], ["mean"], axes=[-1]),
        node("Sub", ["x", "mean"], ["d"]),
        node("Mul", ["d", "d"], ["square"]),
        node("ReduceMean", ["square"], ["variance"], axes=[-1]),
        node("Add", ["variance", "epsilon"], ["positive"]),
        node("Sqrt", ["positive"], ["deviation"]),
        node("Div", ["d", "deviation"], ["n"]),
        node("MatMul", ["n", "w"], ["y"]),
    ]
    constants = {"epsilon": np.float32(1e-5), "w": normal(1, WIDTH, 5)}
    model = canonicalise(graph(nodes, constants, {"x": ["n", LENGTH, WIDTH]}))
    scales = np.geomspace(1, 20, LENGTH).astype(np.float32)[:, None]
    calibration = [{"x": feed["x"] * scales} for feed in feeds()]
    result = quantize(model, calibration, {})
    assert {"square", "variance", "positive"} <= set(result.report["kept_float"])
    feed = {"x": np.concatenate([feed["x"] for feed in calibration])}
    assert sqnr_db(run_onnx(model, feed)["y"], run_onnx(result.model, feed)["y"]) > 18


@pytest.mark.parametrize(
    ("low", "high"), [(0.1, 0.9), (None, -0.5), (0.25, None)], ids=["both", "high", "low"]
)
def test_clip_whose_bounds_exclude_zero_stays_in_float(low: float | None, high: float | None) -> None:
    bounds = {name: np.float32(v) for name, v in (("low", low), ("high", high)) if v is not None}
    names = [name if name in bounds else "" for name in ("low", "high")]
    nodes = [
        node("MatMul", ["x", "w"], ["s"]), node("Clip", ["s", *names], ["c"], "clip"),
        node("MatMul", ["c", "v"], ["y"]),
    ]  # fmt: skip
    constants = {"w": normal(1, WIDTH, WIDTH), "v": normal(2, WIDTH, 5), **bounds}
    model = canonicalise(graph(nodes, constants, {"x": ["n", LENGTH, WIDTH]}))
    result = quantize(model, feeds(), {})
    assert list(result.report["kept_float"]) == ["clip"]
    feed = {"x": normal(99, 16, LENGTH, WIDTH)}
    expected = run_onnx(model, feed)["y"]
    assert sqnr_db(expected, run_onnx(result.model, feed)["y"]) > 20
    assert sqnr_db(expected, run_tflite(export_tflite(result.model, name="m"), feed)["y"]) > 20


def test_features_of_different_size_stay_in_float() -> None:
    """One column is ten thousand times larger than the others, and its weights as much smaller."""
    size = np.array([1e4, *[1] * (WIDTH - 1)], np.float32)
    model = canonicalise(
        graph(
            [node("MatMul", ["x", "w"], ["y"])],
            {"w": normal(1, WIDTH, 5) / size[:, None]},
            {"x": ["n", WIDTH]},
        )
    )
    result = quantize(model, [{"x": normal(seed, 1, WIDTH) * size} for seed in range(50)], {})
    assert list(result.report["kept_float"]) == ["x"]
    feed = {"x": normal(99, 64, WIDTH) * size}
    assert sqnr_db(run_onnx(model, feed)["y"], run_onnx(result.model, feed)["y"]) > 25


def test_plain_network_is_quantized_whole() -> None:
    calibration = feeds(8, 1, 16, 16)
    assert quantize(canonicalise(residual_cnn(1)), calibration, {}).report["kept_float"] == {}


@pytest.mark.parametrize("activations", ["uint8", "int8", "uint16", "int16"])
def test_rounding_noise_is_no_lost_value(activations: str) -> None:
    """Gates of nearly 0 and nearly 1: the small ones have no level and do not matter."""
    nodes = [
        node("MatMul", ["x", "w"], ["s"]), node("Sigmoid", ["s"], ["g"]), node("Mul", ["g", "x"], ["r"]),
        node("MatMul", ["r", "v"], ["y"]),
    ]  # fmt: skip
    constants = {"w": 20 * normal(1, WIDTH, WIDTH), "v": normal(2, WIDTH, 5)}
    model = canonicalise(graph(nodes, constants, {"x": ["n", LENGTH, WIDTH]}))
    assert quantize(model, feeds(), {"activations": activations}).report["kept_float"] == {}


def test_masked_output_stays_in_float() -> None:
    """The scores of classes that a sample may not have are -1e9: they are an output of the model."""
    nodes = [node("MatMul", ["x", "w"], ["s"]), node("Add", ["s", "m"], ["y"])]
    mask = np.where(np.arange(5) == 3, np.float32(-1e9), np.float32(0))
    model = canonicalise(graph(nodes, {"w": normal(1, WIDTH, 5), "m": mask}, {"x": ["n", WIDTH]}))
    result = quantize(model, [{"x": normal(seed, 1, WIDTH)} for seed in range(20)], {})
    assert "y" in result.report["kept_float"]
    feed = {"x": normal(99, 16, WIDTH)}
    assert sqnr_db(run_onnx(model, feed)["y"], run_onnx(result.model, feed)["y"]) > 20


def test_nan_is_still_an_error() -> None:
    nodes = [node("Log", ["x"], ["l"]), node("Add", ["l", "one"], ["y"])]
    model = canonicalise(graph(nodes, {"one": np.float32(1)}, {"x": [1, 4]}))
    with pytest.raises(ModelError, match="not finite"):
        activation_ranges(model, [{"x": np.array([[1, 2, -3, 4]], np.float32)}], "minmax", ["Add"])


@pytest.mark.parametrize("operator", ["Mul", "MatMul"])
def test_infinite_weight_is_still_an_error(operator: str) -> None:
    weights = normal(1, 4, 4)
    weights[0, 0] = np.inf
    model = graph([node(operator, ["x", "w"], ["y"])], {"w": weights}, {"x": ["n", 4]})
    with pytest.raises(ModelError, match="NaN or infinity"):
        quantize(model, [{"x": normal(2, 1, 4)}], {})


def test_octaves_count_every_magnitude() -> None:
    values = np.array([0.0, 1.0, -1.5, 2.0, 1e30, -1e-30], np.float32)
    counts = octaves(values)
    assert counts.sum() == values.size
    assert counts[0] == 1
    assert counts[127] == 2
    assert counts[128] == 1


def test_effect_rounds_only_what_is_named() -> None:
    """Oracle: numpy."""
    model = canonicalise(graph([node("Mul", ["x", "two"], ["y"])], {"two": np.float32(2)}, {"x": ["n", 4]}))
    x = normal(1, 1, 4)
    grid = Grid(0.1, 100)
    effect = Effect(model, {"x": grid, "y": grid}, [{"x": x}])
    assert effect.db([]) == np.inf
    rounded = (np.clip(np.rint(x / np.float32(0.1)) + 100, 0, 255) - 100) * 0.1
    assert effect.db(["x"]) == pytest.approx(sqnr_db(2 * x, 2 * rounded), abs=1e-3)


def test_a_tensor_without_axes_keeps_its_rank() -> None:
    nodes = [
        node("ReduceMean", ["x"], ["m"], keepdims=0), node("Unsqueeze", ["m", "axes"], ["u"]),
        node("Add", ["x", "u"], ["y"]),
    ]  # fmt: skip
    model = canonicalise(graph(nodes, {"axes": np.array([0, 1])}, {"x": [1, 4]}))
    effect = Effect(model, {"m": Grid(0.1, 100)}, [{"x": normal(1, 1, 4)}])
    assert np.isfinite(effect.db(["m"]))


def test_effect_is_the_worst_of_several_outputs() -> None:
    nodes = [node("Mul", ["x", "two"], ["y"]), node("Add", ["x", "two"], ["z"])]
    model = helper.make_model(
        helper.make_graph(
            nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in "yz"],
            [helper.make_tensor("two", TensorProto.FLOAT, [], [2.0])],
        ),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=8,
    )  # fmt: skip
    effect = Effect(model, {"y": Grid(10.0, 0), "z": Grid(1e-4, 0)}, [{"x": np.ones((1, 2), np.float32)}])
    assert effect.db(["y"]) == pytest.approx(0)
    assert effect.db(["y", "z"]) == pytest.approx(0)
