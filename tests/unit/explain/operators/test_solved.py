"""The weights with which a layer computes are solved from its results: as many differ as were changed."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.explain.operators.alone import Alone
from harness.explain.operators.solved import Solved, solve

RANDOM = np.random.default_rng(0)
#: Operator, its attributes, shapes of weights and input, and the operator behind it.
LAYERS = {
    "conv": ("Conv", {"pads": [1, 1, 1, 1], "strides": [2, 2]}, (4, 3, 3, 3), (1, 3, 14, 14), "Relu"),
    "grouped": ("Conv", {"group": 2, "dilations": [2, 2]}, (4, 2, 3, 3), (1, 4, 12, 12), ""),
    "gemm": ("Gemm", {"transB": 1}, (5, 8), (64, 8), "Relu"),
    "product": ("MatMul", {}, (8, 5), (64, 8), ""),
}


def part(name: str, weights: np.ndarray, behind: str = "") -> onnx.ModelProto:
    kind, attributes, _, shape, activation = LAYERS[name]
    constants = [numpy_helper.from_array(weights, "w")]
    inputs = ["x", "w"]
    if kind != "MatMul":
        filters = len(weights)
        constants.append(numpy_helper.from_array(np.linspace(0.1, 0.3, filters, dtype=np.float32), "b"))
        inputs.append("b")
    nodes = [helper.make_node(kind, inputs, ["y"], name="layer", **attributes)]
    if behind or activation:
        nodes.append(helper.make_node(behind or activation, ["y"], ["z"]))
    graph = helper.make_graph(
        nodes, "part", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)], constants,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def results(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.stack([session.run(None, {"x": one})[0] for one in x]).astype(np.float64)


def layer(name: str, changed: np.ndarray, weights: np.ndarray, x: np.ndarray, behind: str = "") -> Alone:
    right, wrong = (part(name, one, behind) for one in (weights, changed))
    return Alone("layer", right, {"x": x}, results(right, x), results(wrong, x))


def made(name: str, calls: int = 6) -> tuple[np.ndarray, np.ndarray]:
    _, _, shape, size, _ = LAYERS[name]
    weights = RANDOM.normal(0, 1, shape).astype(np.float32)
    return weights, RANDOM.normal(0, 1, (calls, *size)).astype(np.float32)


@pytest.mark.parametrize("name", LAYERS)
def test_as_many_weights_differ_as_were_changed(name: str) -> None:
    weights, x = made(name)
    changed = weights.copy()
    changed.reshape(-1)[[1, 3]] += 0.5
    expected = np.linalg.norm(changed - weights) / np.linalg.norm(weights)
    one = layer(name, changed, weights, x)
    solved = solve(one, is_reference_wrong=False)
    filters = weights.shape[1] if name == "product" else len(weights)
    assert solved == Solved(filters, 0, weights.size, 2, pytest.approx(expected, rel=1e-3))
    swapped = Alone(one.name, one.part, one.feeds, one.second, one.first)
    assert solve(swapped, is_reference_wrong=True) == solved
    equal = solve(layer(name, weights, weights, x), is_reference_wrong=False)
    assert equal is not None
    assert (equal.differing, equal.zero) == (0, 0)


def test_a_filter_without_weights_is_told_from_one_with_others() -> None:
    weights, x = made("conv")
    changed = weights.copy()
    changed[1] = 0
    solved = solve(layer("conv", changed, weights, x), is_reference_wrong=False)
    assert solved is not None
    assert solved.text == "1 of 4 filters are 0"


def test_a_channel_that_is_always_0_says_nothing() -> None:
    weights, x = made("conv")
    x[:, :, 2] = 0
    solved = solve(layer("conv", 1.5 * weights, weights, x), is_reference_wrong=False)
    assert solved is not None
    assert solved.weights == 4 * 2 * 9
    assert solved.text.endswith("solved weights differ, by 50.0% of their size")


def test_nothing_is_said_of_other_layers_or_with_too_few_results() -> None:
    weights, x = made("conv")
    assert solve(layer("conv", 2 * weights, weights, x, "Sigmoid"), is_reference_wrong=False) is None
    weights, x = made("gemm")
    few = x[:1, :12]
    one = layer("gemm", 2 * weights, weights, np.concatenate([few, few[:, :1].repeat(52, 1)], axis=1))
    assert solve(one, is_reference_wrong=False) is None
