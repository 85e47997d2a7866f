"""Parts of transformers and recurrent models, float and int8, on three runtimes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx.helper import make_node as node

from harness.compression.export import export_tflite

from .compression_graphs import Dims, Patterns, rows
from .graphs import Array, graph, run_tflite

pattern = Patterns()


@pattern(quantized=False)
def layer_normalization(d: Dims) -> onnx.ModelProto:
    constants = {"s": d.weights(d.c) + 1, "b": d.weights(d.c)}
    return graph([node("LayerNormalization", ["x", *constants], ["y"])], constants, rows(d))


@pattern(in_float=("LayerNormalization",))
def layer_normalization_between_products(d: Dims) -> onnx.ModelProto:
    nodes = [
        node("MatMul", ["x", "w"], ["m"]),
        node("LayerNormalization", ["m", "s"], ["l"], axis=-1, epsilon=1e-3),
        node("MatMul", ["l", "v"], ["y"]),
    ]
    return graph(nodes, {"w": d.weights(d.c, d.o), "s": d.weights(d.o) + 1, "v": d.weights(d.o, 3)}, rows(d))


@pattern(in_float=("Div", "Pow", "Sqrt"))
def layer_normalization_spelt_out(d: Dims) -> onnx.ModelProto:
    nodes = [
        node("ReduceMean", ["x"], ["m"], axes=[-1]),
        node("Sub", ["x", "m"], ["d"]),
        node("Pow", ["d", "two"], ["p"]),
        node("ReduceMean", ["p"], ["v"], axes=[-1]),
        node("Add", ["v", "epsilon"], ["e"]),
        node("Sqrt", ["e"], ["r"]),
        node("Div", ["d", "r"], ["n"]),
        node("Mul", ["n", "s"], ["y"]),
    ]
    return graph(nodes, {"two": np.float32(2), "epsilon": np.float32(0.1), "s": d.weights(d.c) + 1}, rows(d))


@pattern(lsb=1)
def batched_matmul(d: Dims) -> onnx.ModelProto:
    return graph([node("MatMul", ["x", "z"], ["y"])], {}, {**rows(d), "z": ["n", d.c, d.o]})


@pattern(lsb=1)
def matmul_relu_of_two(d: Dims) -> onnx.ModelProto:
    nodes = [node("MatMul", ["x", "z"], ["m"]), node("Relu", ["m"], ["y"])]
    return graph(nodes, {}, {**rows(d), "z": ["n", d.c, d.o]})


@pattern(lsb=1)
def attention(d: Dims) -> onnx.ModelProto:
    """Self-attention of two heads over a sequence."""
    width, constants, nodes = 2 * d.c, {}, []
    for name in "qkv":
        constants[f"w{name}"], constants[f"b{name}"] = d.weights(width, width), d.weights(width)
        nodes += [
            node("MatMul", ["x", f"w{name}"], [f"{name}0"]),
            node("Add", [f"{name}0", f"b{name}"], [f"{name}1"]),
            node("Reshape", [f"{name}1", "heads"], [f"{name}2"]),
            node("Transpose", [f"{name}2"], [name], perm=[0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]),
        ]
    nodes += [
        node("MatMul", ["q", "k"], ["s"]),
        node("Mul", ["s", "scale"], ["t"]),
        node("Softmax", ["t"], ["p"]),
        node("MatMul", ["p", "v"], ["o"]),
        node("Transpose", ["o"], ["r"], perm=[0, 2, 1, 3]),
        node("Reshape", ["r", "joined"], ["j"]),
        node("MatMul", ["j", "wo"], ["y"]),
    ]
    constants |= {
        "heads": np.array([-1, d.h, 2, d.c]), "joined": np.array([-1, d.h, width]),
        "scale": np.float32(1 / np.sqrt(d.c)), "wo": d.weights(width, width),
    }  # fmt: skip
    return graph(nodes, constants, {"x": ["n", d.h, width]})


def recurrent(d: Dims, op: str, gates: int, directions: int, **attributes: object) -> onnx.ModelProto:
    hidden = d.o
    constants: dict[str, Array] = {
        "w": d.weights(directions, gates * hidden, d.c),
        "r": d.weights(directions, gates * hidden, hidden),
        "b": d.weights(directions, 2 * gates * hidden),
    }
    outputs = ("y", "h") if op == "GRU" else ("y", "h", "cell")
    made = node(op, ["x", *constants], list(outputs), hidden_size=hidden, **attributes)
    return graph([made], constants, {"x": [d.h, "n", d.c]}, outputs)


@pattern(quantized=False)
def lstm(d: Dims) -> onnx.ModelProto:
    return recurrent(d, "LSTM", 4, 1)


@pattern(quantized=False)
def lstm_both_ways(d: Dims) -> onnx.ModelProto:
    return recurrent(d, "LSTM", 4, 2, direction="bidirectional")


@pattern(quantized=False)
def lstm_reverse(d: Dims) -> onnx.ModelProto:
    return recurrent(d, "LSTM", 4, 1, direction="reverse")


@pattern(quantized=False)
def lstm_from_state(d: Dims) -> onnx.ModelProto:
    constants = {"w": d.weights(1, 4 * d.o, d.c), "r": d.weights(1, 4 * d.o, d.o)}
    made = node("LSTM", ["x", "w", "r", "", "", "h", "k"], ["", "y", "z"], hidden_size=d.o)
    inputs = {"x": [d.h, "n", d.c], "h": [1, "n", d.o], "k": [1, "n", d.o]}
    return graph([made], constants, inputs, ("y", "z"))


@pattern(quantized=False)
def gru(d: Dims) -> onnx.ModelProto:
    return recurrent(d, "GRU", 3, 1)


@pattern(quantized=False)
def gru_linear_before_reset(d: Dims) -> onnx.ModelProto:
    return recurrent(d, "GRU", 3, 2, linear_before_reset=1, direction="bidirectional")


test_pattern = pattern.tests(1)
test_pattern_many = pattern.tests(8, pytest.mark.full)


def test_columns_of_an_open_length_are_transposed() -> None:
    """With two open extents nothing can be reshaped, even where a transpose moves an axis of one alone."""
    nodes = [node("Transpose", ["x"], ["t"], perm=[0, 2, 1]), node("Sub", ["x", "t"], ["y"])]
    model = graph(nodes, {}, {"x": ["n", "length", 1]})
    x = np.arange(10, dtype=np.float32).reshape(2, 5, 1)
    actual = run_tflite(export_tflite(model, name="relative"), {"x": x})["y"]
    np.testing.assert_array_equal(actual, x - x.transpose(0, 2, 1))
