"""Operators on each element, float and int8, on three runtimes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx.helper import make_node as node

from harness.compression.canonical import canonicalise
from harness.compression.export import export_tflite

from .compression_graphs import Dims, Patterns, after_conv, between_convs, image, rows
from .graphs import graph

pattern = Patterns()
HALF, ONE, ROOT = np.float32(0.5), np.float32(1), np.float32(np.sqrt(2))


def two_convs(d: Dims, op: str, **attributes: object) -> onnx.ModelProto:
    nodes = [node("Conv", ["x", "w2"], ["e"]), node(op, ["c", "e"], ["y"], **attributes)]
    return after_conv(d, *nodes, w2=d.weights(d.o, d.c, 1, 1) + np.float32(0.1))


@pattern()
def mul_of_two(d: Dims) -> onnx.ModelProto:
    return two_convs(d, "Mul")


@pattern()
def squeeze_and_excite(d: Dims) -> onnx.ModelProto:
    nodes = [
        node("GlobalAveragePool", ["c"], ["p"]),
        node("Conv", ["p", "w2"], ["q"]),
        node("Sigmoid", ["q"], ["g"]),
        node("Mul", ["c", "g"], ["y"]),
    ]
    return after_conv(d, *nodes, w2=d.weights(d.o, d.o, 1, 1))


@pattern(openvino_lsb=8)
def sub_of_two(d: Dims) -> onnx.ModelProto:
    return two_convs(d, "Sub")


@pattern()
def sub_from_constant(d: Dims) -> onnx.ModelProto:
    return after_conv(d, node("Sub", ["k", "c"], ["y"]), k=d.weights(1, d.o, 1, 1))


@pattern(in_float=("Div", "Exp"))
def div_by_positive(d: Dims) -> onnx.ModelProto:
    nodes = [node("Exp", ["c"], ["e"]), node("Div", ["c", "e"], ["y"])]
    return after_conv(d, *nodes)


@pattern(in_float=("Max", "Min"))
def max_and_min_of_two(d: Dims) -> onnx.ModelProto:
    nodes = [node("Max", ["c", "x"], ["m"]), node("Min", ["m", "x"], ["y"])]
    return after_conv(Dims(d.c, d.c, d.h, d.w, d.seed), *nodes)


@pattern(quantized=False)
def max_of_three(d: Dims) -> onnx.ModelProto:
    return graph([node("Max", ["x", "k", "j"], ["y"])], {"k": d.weights(d.c, 1, 1), "j": HALF}, image(d))


@pattern()
def sigmoid(d: Dims) -> onnx.ModelProto:
    return between_convs(d, node("Sigmoid", ["c"], ["v"]))


@pattern()
def silu(d: Dims) -> onnx.ModelProto:
    return between_convs(d, node("Sigmoid", ["c"], ["s"]), node("Mul", ["c", "s"], ["v"]))


@pattern()
def tanh(d: Dims) -> onnx.ModelProto:
    return between_convs(d, node("Tanh", ["c"], ["v"]))


@pattern(lsb=1)
def leaky_relu(d: Dims) -> onnx.ModelProto:
    return after_conv(d, node("LeakyRelu", ["c"], ["y"], alpha=0.1))


@pattern(in_float=("PRelu",))
def prelu_by_channel(d: Dims) -> onnx.ModelProto:
    return between_convs(d, node("PRelu", ["c", "s"], ["v"]), s=d.weights(d.o, 1, 1))


@pattern(in_float=("HardSigmoid",))
def hard_swish(d: Dims) -> onnx.ModelProto:
    return between_convs(d, node("HardSwish", ["c"], ["v"]))


@pattern(in_float=("HardSigmoid",))
def hard_sigmoid(d: Dims) -> onnx.ModelProto:
    return between_convs(d, node("HardSigmoid", ["c"], ["v"], alpha=0.25, beta=0.4))


@pattern(in_float=("Elu",))
def elu(d: Dims) -> onnx.ModelProto:
    return between_convs(d, node("Elu", ["c"], ["v"]))


def spelt_out_gelu(order: int) -> list[onnx.NodeProto]:
    first = [node("Div", ["c", "root"], ["d"]), node("Erf", ["d"], ["e"]), node("Add", ["e", "one"], ["p"])]
    last = [
        [node("Mul", ["c", "p"], ["m"]), node("Mul", ["m", "half"], ["v"])],
        [node("Mul", ["c", "half"], ["m"]), node("Mul", ["m", "p"], ["v"])],
        [node("Mul", ["half", "p"], ["m"]), node("Mul", ["m", "c"], ["v"])],
    ]
    return [*first, *last[order]]


@pytest.mark.parametrize("order", range(3))
def test_gelu_in_any_order_is_one_operator(order: int) -> None:
    model = between_convs(Dims(3, 4, 5, 5, 0), *spelt_out_gelu(order), root=ROOT, one=ONE, half=HALF)
    kinds = [op.kind for op in export_tflite(canonicalise(model), name="gelu").operators]
    assert kinds == ["CONV_2D", "GELU", "CONV_2D"]


# The sum 1 + erf meets one half where no scales agree, and the convolution behind doubles it.
@pattern(lsb=2, in_float=("Div", "Erf"))
def gelu_from_erf(d: Dims) -> onnx.ModelProto:
    return between_convs(d, *spelt_out_gelu(d.seed % 3), root=ROOT, one=ONE, half=HALF)


@pattern(in_float=("Pow",))
def gelu_from_tanh(d: Dims) -> onnx.ModelProto:
    nodes = [
        node("Pow", ["c", "three"], ["p"]),
        node("Mul", ["p", "k"], ["q"]),
        node("Add", ["c", "q"], ["r"]),
        node("Mul", ["r", "l"], ["s"]),
        node("Tanh", ["s"], ["t"]),
        node("Add", ["t", "one"], ["u"]),
        node("Mul", ["c", "u"], ["m"]),
        node("Mul", ["m", "half"], ["v"]),
    ]
    numbers = {"three": np.float32(3), "k": np.float32(0.044715), "l": np.float32(0.7978845608), "one": ONE}
    return between_convs(d, *nodes, half=HALF, **numbers)


@pattern(quantized=False)
def erf(d: Dims) -> onnx.ModelProto:
    return graph([node("Erf", ["x"], ["y"])], {}, rows(d))


@pattern(quantized=False)
def exp_neg_abs(d: Dims) -> onnx.ModelProto:
    nodes = [node("Abs", ["x"], ["a"]), node("Neg", ["a"], ["b"]), node("Exp", ["b"], ["y"])]
    return graph(nodes, {}, rows(d))


@pattern(quantized=False, positive=True)
def log_sqrt_pow(d: Dims) -> onnx.ModelProto:
    nodes = [node("Sqrt", ["x"], ["a"]), node("Log", ["a"], ["b"]), node("Pow", ["x", "b"], ["y"])]
    return graph(nodes, {}, rows(d))


@pattern(quantized=False, positive=True)
def reciprocal_of_constant_power(d: Dims) -> onnx.ModelProto:
    nodes = [node("Pow", ["x", "k"], ["a"]), node("Reciprocal", ["a"], ["y"])]
    return graph(nodes, {"k": np.float32(1.5)}, rows(d))


@pattern(quantized=False)
def sin_cos_floor_ceil(d: Dims) -> onnx.ModelProto:
    nodes = [node(op, ["x"], [op]) for op in ("Sin", "Cos", "Floor", "Ceil")]
    return graph([*nodes, node("Concat", ["Sin", "Cos", "Floor", "Ceil"], ["y"], axis=-1)], {}, rows(d))


@pattern(quantized=False)
def cast_there_and_back(d: Dims) -> onnx.ModelProto:
    nodes = [
        node("Mul", ["x", "k"], ["m"]),
        node("Cast", ["m"], ["i"], to=onnx.TensorProto.INT32),
        node("Cast", ["i"], ["y"], to=onnx.TensorProto.FLOAT),
    ]
    return graph(nodes, {"k": np.float32(7)}, rows(d))


test_pattern = pattern.tests(1)
test_pattern_many = pattern.tests(8, pytest.mark.full)
