"""Convolutions, products, pools and what stands around them, float and int8, on three runtimes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx.helper import make_node as node

from .compression_graphs import Dims, Patterns, after_conv, image
from .graphs import graph

pattern = Patterns()


def conv_graph(
    d: Dims, kernel: int = 3, groups: int = 1, outputs: int = 0, bias: bool = True, **kw: object
) -> onnx.ModelProto:
    outputs = outputs or d.o
    constants = {"w": d.weights(outputs, d.c // groups, kernel, kernel)}
    if bias:
        constants["b"] = d.weights(outputs)
    return graph([node("Conv", ["x", *constants], ["y"], group=groups, **kw)], constants, image(d))


@pattern()
def conv_valid(d: Dims) -> onnx.ModelProto:
    return conv_graph(d)


@pattern()
def conv_without_bias(d: Dims) -> onnx.ModelProto:
    return conv_graph(d, bias=False)


@pattern()
def conv_padded(d: Dims) -> onnx.ModelProto:
    return conv_graph(d, pads=[1, 1, 1, 1])


@pattern()
def conv_stride_two_pads_one(d: Dims) -> onnx.ModelProto:
    return conv_graph(d, pads=[1, 1, 1, 1], strides=[2, 2])


@pattern()
def conv_asymmetric_pads(d: Dims) -> onnx.ModelProto:
    return conv_graph(d, pads=[0, 2, 1, 0], strides=[1, 2])


@pattern()
def conv_same_upper(d: Dims) -> onnx.ModelProto:
    return conv_graph(d, auto_pad="SAME_UPPER", strides=[2, 2])


@pattern()
def conv_same_lower(d: Dims) -> onnx.ModelProto:
    return conv_graph(d, auto_pad="SAME_LOWER", strides=[2, 2], kernel=4)


@pattern()
def conv_dilated(d: Dims) -> onnx.ModelProto:
    return conv_graph(d, dilations=[2, 2], pads=[2, 2, 2, 2])


@pattern()
def conv_depthwise(d: Dims) -> onnx.ModelProto:
    return conv_graph(d, groups=d.c, outputs=d.c, pads=[1, 1, 1, 1], strides=[2, 2])


@pattern()
def conv_depthwise_multiplier(d: Dims) -> onnx.ModelProto:
    return conv_graph(d, groups=d.c, outputs=2 * d.c)


@pattern()
def conv_depthwise_dilated(d: Dims) -> onnx.ModelProto:
    return conv_graph(d, groups=d.c, outputs=d.c, dilations=[2, 2], pads=[2, 2, 2, 2])


@pattern()
def conv_grouped(d: Dims) -> onnx.ModelProto:
    wide = Dims(2 * d.c, 2 * d.o, d.h, d.w, d.seed)
    return conv_graph(wide, groups=2)


@pattern()
def conv_batch_normalization_relu(d: Dims) -> onnx.ModelProto:
    statistics = [d.weights(d.o), d.weights(d.o, 1)[:, 0], d.weights(d.o) ** 2 + 0.5]
    constants = dict(zip(("beta", "mean", "variance"), statistics, strict=True))
    normalization = node("BatchNormalization", ["c", "gamma", *constants], ["n"])
    return after_conv(
        d, normalization, node("Relu", ["n"], ["y"]), gamma=np.ones(d.o, np.float32), **constants
    )


@pattern()
def conv_clip_to_six(d: Dims) -> onnx.ModelProto:
    return after_conv(d, node("Clip", ["c", "low", "high"], ["y"]), low=np.float32(0), high=np.float32(6))


@pattern()
def conv_clip_to_one(d: Dims) -> onnx.ModelProto:
    return after_conv(d, node("Clip", ["c", "low", "high"], ["y"]), low=np.float32(-1), high=np.float32(1))


@pattern()
def conv_clip_general(d: Dims) -> onnx.ModelProto:
    return after_conv(
        d, node("Clip", ["c", "low", "high"], ["y"]), low=np.float32(-0.3), high=np.float32(0.7)
    )


@pattern()
def residual_add_relu(d: Dims) -> onnx.ModelProto:
    square = Dims(d.c, d.c, d.h, d.w, d.seed)
    return after_conv(square, node("Add", ["c", "x"], ["s"]), node("Relu", ["s"], ["y"]))


@pattern()
def two_residual_adds(d: Dims) -> onnx.ModelProto:
    square = Dims(d.c, d.c, d.h, d.w, d.seed)
    second = node("Conv", ["s", "w", "b"], ["t"])
    return after_conv(square, node("Add", ["c", "x"], ["s"]), second, node("Add", ["s", "t"], ["y"]))


@pattern()
def three_way_add(d: Dims) -> onnx.ModelProto:
    convs = [node("Conv", ["x", f"w{i}"], [f"c{i}"]) for i in range(3)]
    sums = [node("Add", ["c0", "c1"], ["s"]), node("Add", ["s", "c2"], ["y"])]
    return graph([*convs, *sums], {f"w{i}": d.weights(d.o, d.c, 1, 1) * (i + 1) for i in range(3)}, image(d))


# A Relu whose input is read elsewhere stays an operator with two scales: ONNX Runtime goes through float.
@pattern(lsb=1)
def relu_beside_its_input(d: Dims) -> onnx.ModelProto:
    return after_conv(d, node("Relu", ["c"], ["r"]), node("Add", ["r", "c"], ["y"]))


@pattern()
def add_channel_constant(d: Dims) -> onnx.ModelProto:
    return graph([node("Add", ["x", "k"], ["y"])], {"k": d.weights(d.c, 1, 1)}, image(d))


@pattern()
def add_between_conv_and_pool(d: Dims) -> onnx.ModelProto:
    pool = node("MaxPool", ["x"], ["p"], kernel_shape=[1, 1])
    return after_conv(Dims(d.c, d.c, d.h, d.w, d.seed), pool, node("Add", ["p", "c"], ["y"]))


@pattern()
def batch_normalization_first(d: Dims) -> onnx.ModelProto:
    constants = {"gamma": d.weights(d.c) + 1, "beta": d.weights(d.c, 1)[:, 0], "mean": d.weights(d.c)}
    constants["variance"] = np.linspace(0.5, 2, d.c, dtype=np.float32)
    return graph([node("BatchNormalization", ["x", *constants], ["y"])], constants, image(d))


@pattern()
def max_pool(d: Dims) -> onnx.ModelProto:
    return graph([node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2])], {}, image(d))


@pattern()
def max_pool_padded(d: Dims) -> onnx.ModelProto:
    pool = node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    return graph([pool], {}, image(d))


@pattern()
def max_pool_ceil(d: Dims) -> onnx.ModelProto:
    pool = node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    return graph([pool], {}, image(d))


# ONNX Runtime averages in float32, TFLite in integers that round halves away from zero: halves differ by 1.
@pattern(lsb=1)
def average_pool(d: Dims) -> onnx.ModelProto:
    return graph([node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2])], {}, image(d))


@pattern(lsb=1)
def average_pool_same(d: Dims) -> onnx.ModelProto:
    pool = node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    return graph([pool], {}, image(d))


@pattern(lsb=1)
def average_pool_counts_padding(d: Dims) -> onnx.ModelProto:
    pool = node(
        "AveragePool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, count_include_pad=1
    )
    return graph([pool], {}, image(d))


@pattern()
def global_average_pool_gemm(d: Dims) -> onnx.ModelProto:
    nodes = [
        node("GlobalAveragePool", ["c"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "g", "h"], ["y"], transB=1),
    ]
    return after_conv(d, *nodes, g=d.weights(10, d.o), h=d.weights(10))


@pattern()
def reduce_mean_over_space(d: Dims) -> onnx.ModelProto:
    return after_conv(d, node("ReduceMean", ["c"], ["y"], axes=[2, 3], keepdims=0))


@pattern(lsb=1)
def reduce_mean_over_channels(d: Dims) -> onnx.ModelProto:
    return after_conv(d, node("ReduceMean", ["c"], ["y"], axes=[1], keepdims=1))


@pattern()
def flatten_gemm(d: Dims) -> onnx.ModelProto:
    weights = d.weights(5, d.o * d.h * d.w)
    return after_conv(d, node("Flatten", ["c"], ["f"]), node("Gemm", ["f", "g"], ["y"], transB=1), g=weights)


@pattern()
def flatten_relu_matmul_add(d: Dims) -> onnx.ModelProto:
    nodes = [
        node("MaxPool", ["c"], ["p"], kernel_shape=[2, 2]),
        node("Reshape", ["p", "shape"], ["f"]),
        node("MatMul", ["f", "g"], ["m"]),
        node("Add", ["m", "h"], ["y"]),
    ]
    size = d.o * (d.h - 1) * (d.w - 1)
    shape = np.array([-1, size])
    return after_conv(d, *nodes, shape=shape, g=d.weights(size, 5), h=d.weights(1, 5))


@pattern()
def flatten_is_the_output(d: Dims) -> onnx.ModelProto:
    return after_conv(d, node("Flatten", ["c"], ["y"]))


@pattern()
def gemm_scaled(d: Dims) -> onnx.ModelProto:
    gemm = node("Gemm", ["x", "w", "b"], ["y"], alpha=0.5, beta=2.0)
    return graph([gemm], {"w": d.weights(d.c, d.o), "b": d.weights(1, d.o)}, {"x": ["n", d.c]})


@pattern()
def two_gemms_relu(d: Dims) -> onnx.ModelProto:
    nodes = [
        node("Gemm", ["x", "v", "b"], ["g"], transB=1),
        node("Relu", ["g"], ["r"]),
        node("MatMul", ["r", "w"], ["y"]),
    ]
    constants = {"v": d.weights(d.o, d.c), "b": d.weights(d.o), "w": d.weights(d.o, 3)}
    return graph(nodes, constants, {"x": ["n", d.c]})


@pattern()
def matmul_add_on_sequences(d: Dims) -> onnx.ModelProto:
    nodes = [node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "b"], ["y"])]
    return graph(nodes, {"w": d.weights(d.c, d.o), "b": d.weights(d.o)}, {"x": ["n", d.h, d.c]})


@pattern(lsb=1)
def softmax_of_gemm(d: Dims) -> onnx.ModelProto:
    nodes = [node("Gemm", ["x", "w"], ["g"]), node("Softmax", ["g"], ["y"])]
    return graph(nodes, {"w": 3 * d.weights(d.c, d.o)}, {"x": ["n", d.c]})


@pattern(lsb=1)
def softmax_over_channels(d: Dims) -> onnx.ModelProto:
    return after_conv(d, node("Softmax", ["c"], ["y"], axis=1))


@pattern(lsb=1)
def softmax_over_rows(d: Dims) -> onnx.ModelProto:
    return after_conv(d, node("Softmax", ["c"], ["y"], axis=2))


@pattern()
def transpose_cancels(d: Dims) -> onnx.ModelProto:
    nodes = [node("Transpose", ["c"], ["t"], perm=[0, 2, 3, 1]), node("MatMul", ["t", "g"], ["y"])]
    return after_conv(d, *nodes, g=d.weights(d.o, 3))


@pattern()
def transpose_is_the_output(d: Dims) -> onnx.ModelProto:
    return after_conv(d, node("Transpose", ["c"], ["y"], perm=[0, 3, 1, 2]))


@pattern()
def squeeze_and_unsqueeze(d: Dims) -> onnx.ModelProto:
    nodes = [
        node("GlobalAveragePool", ["c"], ["p"]),
        node("Squeeze", ["p", "axes"], ["s"]),
        node("Unsqueeze", ["s", "one"], ["y"]),
    ]
    return after_conv(d, *nodes, axes=np.array([2, 3]), one=np.array([1]))


@pattern()
def constant_and_dropout(d: Dims) -> onnx.ModelProto:
    value = onnx.numpy_helper.from_array(d.weights(d.c, 1, 1))
    nodes = [
        node("Constant", [], ["k"], value=value),
        node("Dropout", ["x"], ["dropped"]),
        node("Mul", ["dropped", "k"], ["m"]),
        node("Identity", ["m"], ["y"]),
    ]
    return graph(nodes, {}, image(d))


@pattern()
def two_inputs_of_two_ranks(d: Dims) -> onnx.ModelProto:
    nodes = [
        node("Conv", ["x", "w"], ["c"]),
        node("GlobalAveragePool", ["c"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Add", ["f", "z"], ["y"]),
    ]
    return graph(nodes, {"w": d.weights(d.o, d.c, 1, 1)}, {**image(d), "z": ["n", d.o]})


@pattern()
def fixed_batch(d: Dims) -> onnx.ModelProto:
    model = conv_graph(d)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3
    return model


test_pattern = pattern.tests(1)
test_pattern_many = pattern.tests(8, pytest.mark.full)
