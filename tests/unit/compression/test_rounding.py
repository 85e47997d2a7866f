"""A model that rounds at random: in proportion to the amplitude, and only where rounding occurs."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto
from onnx.helper import make_node as node

from harness.compression.quantize import quantize
from harness.compression.rounding import AMPLITUDE, SUMS, RandomRounding, Unexplained, with_random_rounding

from .graphs import Array, feeds_of, graph

RNG = np.random.default_rng(5)
UNIT = 2.0**-24


def run(rounded: RandomRounding, x: Array, amplitude: float, repeats: int = 1, sums: float = 1.0) -> Array:
    """Outputs of `repeats` runs, stacked."""
    session = ort.InferenceSession(rounded.model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"x": x, AMPLITUDE: np.array(amplitude, np.float32)}
    if not rounded.integers:
        feeds[SUMS] = np.array(sums, np.float32)
    return np.stack([np.asarray(session.run(None, feeds)[0], np.float64) for _ in range(repeats)])


def spread(model: onnx.ModelProto, x: Array, amplitude: float, sums: float = 1.0) -> float:
    rounded = with_random_rounding(model)
    return float(np.sqrt(np.mean(np.square(run(rounded, x, amplitude, 200, sums) - run(rounded, x, 0.0)))))


def product(k: int) -> onnx.ModelProto:
    weights = np.ones((k, 8), np.float32) / np.float32(np.sqrt(k))
    return graph([node("MatMul", ["x", "w"], ["y"])], {"w": weights}, {"x": ["n", k]})


def conv_net() -> onnx.ModelProto:
    constants = {
        "w": RNG.normal(size=(4, 3, 3, 3)).astype(np.float32) / 5, "b": np.zeros(4, np.float32),
        "g": RNG.normal(size=(4, 5)).astype(np.float32),
    }  # fmt: skip
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], pads=[1] * 4), node("Relu", ["c"], ["r"]),
        node("GlobalAveragePool", ["r"], ["p"]), node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "g"], ["y"]),
    ]  # fmt: skip
    return graph(nodes, constants, {"x": ["n", 3, 8, 8]})


def test_without_amplitude_the_outputs_are_those_of_the_model() -> None:
    model = conv_net()
    x = RNG.normal(size=(2, 3, 8, 8)).astype(np.float32)
    plain = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rounded = with_random_rounding(model)
    np.testing.assert_allclose(run(rounded, x, 0.0)[0], plain.run(None, {"x": x})[0], rtol=1e-6, atol=1e-7)
    assert (rounded.integers, rounded.unit) == (False, UNIT)
    assert [value.name for value in model.graph.input] == ["x"], "the model itself is left as it is"


def test_the_error_of_a_sum_grows_with_the_root_of_its_length() -> None:
    for k in (16, 1024):
        x = np.ones((1, k), np.float32)
        y = np.sqrt(k)  # every result
        assert spread(product(k), x, 1e-4) == pytest.approx(1e-4 * np.sqrt(k) * y, rel=0.1)
        # In a format that adds in float32 only the result is rounded.
        assert spread(product(k), x, 1e-2, sums=0.0) == pytest.approx(1e-2 * y, rel=0.1)


def test_errors_are_in_proportion_to_the_amplitude() -> None:
    x = RNG.normal(size=(1, 3, 8, 8)).astype(np.float32)
    one, four = (spread(conv_net(), x, amplitude) for amplitude in (2.0**-14, 2.0**-12))
    assert four / one == pytest.approx(4, rel=0.15)


def test_an_elementwise_error_is_relative_to_each_result() -> None:
    model = graph([node("Exp", ["x"], ["y"])], {}, {"x": ["n", 2]})
    x = np.array([[0.0, 5.0]], np.float32)
    runs = run(with_random_rounding(model), x, 1e-3, 400)
    np.testing.assert_allclose(runs.std(axis=0)[0], 1e-3 * np.exp([0, 5]), rtol=0.15)


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([node("Relu", ["x"], ["y"])], "none of its results is rounded"),
        (
            [node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
             node("DequantizeLinear", ["q", "s", "z"], ["y"])],
            "DynamicQuantizeLinear",
        ),
        ([node("Cast", ["x"], ["b"], to=TensorProto.BFLOAT16), node("Exp", ["b"], ["e"]),
          node("Cast", ["e"], ["y"], to=TensorProto.FLOAT)], "bfloat16"),
    ],
)  # fmt: skip
def test_what_cannot_be_derived_is_said(nodes: list[onnx.NodeProto], reason: str) -> None:
    with pytest.raises(Unexplained, match=reason):
        with_random_rounding(graph(nodes, {}, {"x": ["n", 4]}, opset=18))


def test_integers_move_to_the_next_one_and_no_further() -> None:
    model = quantize(product(32), (feeds_of(product(32), RNG, 4) for _ in range(4)), {}).model
    rounded = with_random_rounding(model)
    assert rounded.integers
    x = RNG.normal(size=(4, 32)).astype(np.float32)
    runs = run(rounded, x, 1.0, 50)
    scales = {init.name: onnx.numpy_helper.to_array(init) for init in model.graph.initializer}
    last = next(node for node in model.graph.node if node.output[0] == model.graph.output[0].name)
    steps = np.rint((runs - run(rounded, x, 0.0)) / scales[last.input[1]])
    assert set(np.unique(np.abs(steps))) >= {0.0, 1.0}
    assert np.abs(steps).max() <= 4  # its own move, and those of the inputs


def test_half_precision_has_its_own_unit() -> None:
    model = graph(
        [node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16), node("Exp", ["h"], ["e"]),
         node("Cast", ["e"], ["y"], to=TensorProto.FLOAT)], {}, {"x": ["n", 4]},
    )  # fmt: skip
    rounded = with_random_rounding(model)
    assert rounded.unit == 2.0**-11
    onnx.checker.check_model(rounded.model)
    x = np.ones((1, 4), np.float32)
    assert run(rounded, x, 0.1, 20).std() > 0.01


def test_weights_in_files_of_their_own_are_named() -> None:
    model = product(4)
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    with pytest.raises(Unexplained, match="files of their own"):
        with_random_rounding(model)


def test_results_of_constants_alone_are_left() -> None:
    constants = {"a": np.ones(3, np.float32), "b": np.ones(3, np.float32)}
    nodes = [node("Mul", ["a", "b"], ["c"]), node("Relu", ["x"], ["r"]), node("Max", ["r", "c"], ["y"])]
    with pytest.raises(Unexplained, match="none of its results"):
        with_random_rounding(graph(nodes, constants, {"x": ["n", 3]}))
