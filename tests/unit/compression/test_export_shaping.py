"""Operators that move elements, resize, reduce or normalise, float and int8, on three runtimes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx.helper import make_node as node

from harness.compression.export import export_tflite

from .compression_graphs import Dims, Patterns, after_conv, between_convs, image, rows, run_openvino
from .graphs import feeds_of, graph, run_onnx, run_tflite

pattern = Patterns()


@pattern(openvino_wrong="it concatenates two int8 convolutions of the same input wrongly")
def concat_of_convs(d: Dims) -> onnx.ModelProto:
    nodes = [node("Conv", ["x", "w3"], ["e"]), node("Concat", ["c", "e"], ["v"], axis=1)]
    return between_convs(d, *nodes, w3=d.weights(d.c, d.c, 1, 1), channels=d.o + d.c)


@pattern()
def concat_of_pools(d: Dims) -> onnx.ModelProto:
    pools = [node("MaxPool", ["c"], [f"p{k}"], kernel_shape=[k, k], pads=[k // 2] * 4) for k in (1, 3, 5)]
    return between_convs(d, *pools, node("Concat", ["p1", "p3", "p5"], ["v"], axis=1), channels=3 * d.o)


@pattern()
def concat_of_features(d: Dims) -> onnx.ModelProto:
    nodes = [
        node("Flatten", ["c"], ["f"]),
        node("Flatten", ["x"], ["g"]),
        node("Concat", ["f", "g"], ["y"], axis=1),
    ]
    return after_conv(d, *nodes)


@pattern()
def concat_with_constant(d: Dims) -> onnx.ModelProto:
    return graph(
        [node("Concat", ["x", "k"], ["y"], axis=1)], {"k": d.weights(2, 3, d.c)}, {"x": [2, d.h, d.c]}
    )


@pattern()
def split_channels(d: Dims) -> onnx.ModelProto:
    d = Dims(d.c, d.o + 1, d.h, d.w, d.seed)
    return after_conv(
        d, node("Split", ["c", "sizes"], ["y", "z"], axis=1), outputs=("y", "z"), sizes=np.array([1, d.o - 1])
    )


@pattern()
def split_and_add(d: Dims) -> onnx.ModelProto:
    d = Dims(d.c, 2 * d.o, d.h, d.w, d.seed)
    nodes = [node("Split", ["c"], ["s", "t"], axis=1), node("Add", ["s", "t"], ["v"])]
    return between_convs(d, *nodes, channels=d.o // 2)


@pattern()
def slice_space(d: Dims) -> onnx.ModelProto:
    numbers = {"starts": np.array([1, -3]), "ends": np.array([2**62, -1]), "axes": np.array([2, -1])}
    return between_convs(d, node("Slice", ["c", *numbers], ["v"]), **numbers)


@pattern()
def slice_backwards(d: Dims) -> onnx.ModelProto:
    numbers = {
        "starts": np.array([-1, 4]), "ends": np.array([-(2**62), 0]), "axes": np.array([1, 2]),
        "steps": np.array([-1, -2]),
    }  # fmt: skip
    return after_conv(d, node("Slice", ["c", *numbers], ["y"]), **numbers)


@pattern()
def slice_the_batch(d: Dims) -> onnx.ModelProto:
    numbers = {"starts": np.array([-2]), "ends": np.array([2**62]), "axes": np.array([0])}
    return after_conv(d, node("Slice", ["c", *numbers], ["y"]), **numbers)


@pattern()
def focus(d: Dims) -> onnx.ModelProto:
    """Pixels by four, as YOLO's first layer takes them."""
    constants = {"axes": np.array([2, 3]), "end": np.array([2**31] * 2), "two": np.array([2, 2])}
    nodes = []
    for row in (0, 1):
        for column in (0, 1):
            constants[f"s{row}{column}"] = np.array([row, column])
            nodes.append(node("Slice", ["x", f"s{row}{column}", "end", "axes", "two"], [f"p{row}{column}"]))
    nodes += [node("Concat", ["p00", "p10", "p01", "p11"], ["v"], axis=1), node("Conv", ["v", "w"], ["y"])]
    return graph(nodes, {**constants, "w": d.weights(d.o, 4 * d.c, 3, 3)}, {"x": ["n", d.c, 8, 6]})


@pattern(in_float=("Gather",))
def gather_channel(d: Dims) -> onnx.ModelProto:
    return after_conv(d, node("Gather", ["c", "i"], ["y"], axis=1), i=np.array(-1))


@pattern(in_float=("Gather",))
def gather_shuffled_channels(d: Dims) -> onnx.ModelProto:
    order = np.random.default_rng(d.seed).permutation(d.o)
    return after_conv(d, node("Gather", ["c", "i"], ["y"], axis=1), i=order)


@pytest.mark.xfail(
    reason="OpenVINO 2026.4.1 takes the channels of Gather -> Conv in a wrong order", strict=True
)
def test_openvino_gathers_channels_for_a_convolution() -> None:
    d = Dims(3, 4, 5, 5, 0)
    nodes = [node("Gather", ["x", "i"], ["g"], axis=1), node("Conv", ["g", "w"], ["y"])]
    model = graph(nodes, {"i": np.array([2, 0, 1]), "w": d.weights(4, 3, 1, 1)}, image(d))
    feeds = feeds_of(model, np.random.default_rng(0), batch=1)
    np.testing.assert_allclose(run_openvino(model, feeds)["y"], run_onnx(model, feeds)["y"], atol=1e-5)


def test_writer_gathers_channels_for_a_convolution() -> None:
    d = Dims(3, 4, 5, 5, 0)
    nodes = [node("Gather", ["x", "i"], ["g"], axis=1), node("Conv", ["g", "w"], ["y"])]
    model = graph(nodes, {"i": np.array([2, 0, 1]), "w": d.weights(4, 3, 1, 1)}, image(d))
    feeds = feeds_of(model, np.random.default_rng(0), batch=1)
    actual = run_tflite(export_tflite(model, name="gather"), feeds)["y"]
    np.testing.assert_allclose(actual, run_onnx(model, feeds)["y"], atol=1e-5)


@pattern(in_float=("Cast", "Clip", "Gather"))
def gather_table_by_cast(d: Dims) -> onnx.ModelProto:
    nodes = [
        node("Clip", ["x", "low", "high"], ["k"]),
        node("Cast", ["k"], ["i"], to=onnx.TensorProto.INT64),
        node("Gather", ["t", "i"], ["e"], axis=0),
        node("MatMul", ["e", "w"], ["y"]),
    ]
    constants = {
        "low": np.float32(0),
        "high": np.float32(3),
        "t": d.weights(4, d.c),
        "w": d.weights(d.c, d.o),
    }
    return graph(nodes, constants, {"x": ["n", d.h]})


@pattern()
def pad_zeros(d: Dims) -> onnx.ModelProto:
    return between_convs(
        d, node("Pad", ["c", "p"], ["v"]), p=np.array([0, 0, 1, 2, 0, 1, 0, 1]), channels=d.o + 1
    )


@pattern()
def pad_value(d: Dims) -> onnx.ModelProto:
    return between_convs(
        d, node("Pad", ["c", "p", "k"], ["v"]), p=np.array([0, 0, 1, 1, 0, 0, 1, 1]), k=np.float32(0.25)
    )


@pattern()
def pad_reflect(d: Dims) -> onnx.ModelProto:
    p = np.array([0, 0, 2, 1, 0, 0, 1, 3])
    return between_convs(d, node("Pad", ["c", "p"], ["v"], mode="reflect"), p=p)


@pattern()
def pad_edge(d: Dims) -> onnx.ModelProto:
    p = np.array([0, 0, 1, 1, 0, 0, 1, 0])
    return between_convs(d, node("Pad", ["c", "p"], ["v"], mode="edge"), p=p)


def resized(d: Dims, scale: tuple[float, float], **attributes: object) -> onnx.ModelProto:
    scales = np.array([1, 1, *scale], np.float32)
    return between_convs(d, node("Resize", ["c", "", "scales"], ["v"], **attributes), scales=scales)


@pattern()
def resize_nearest_twice(d: Dims) -> onnx.ModelProto:
    return resized(
        d, (2, 2), mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )


@pattern()
def resize_nearest_half_pixel(d: Dims) -> onnx.ModelProto:
    return resized(d, (3, 2), mode="nearest")


@pattern()
def resize_nearest_aligned(d: Dims) -> onnx.ModelProto:
    kind = "round_prefer_ceil"
    return resized(
        d, (2, 3), mode="nearest", coordinate_transformation_mode="align_corners", nearest_mode=kind
    )


@pattern(in_float=("Resize",))
def resize_linear_half_pixel(d: Dims) -> onnx.ModelProto:
    return resized(d, (2, 2), mode="linear", coordinate_transformation_mode="pytorch_half_pixel")


@pattern(in_float=("Resize",))
def resize_linear_aligned(d: Dims) -> onnx.ModelProto:
    return resized(d, (2, 3), mode="linear", coordinate_transformation_mode="align_corners")


@pattern(in_float=("Resize",))
def resize_linear_to_size(d: Dims) -> onnx.ModelProto:
    nodes = [node("Resize", ["x", "", "", "sizes"], ["v"], mode="linear"), node("Conv", ["v", "w"], ["y"])]
    return graph(
        nodes, {"sizes": np.array([2, d.c, 7, 4]), "w": d.weights(d.o, d.c, 1, 1)}, {"x": [2, d.c, d.h, d.w]}
    )


# ONNX Runtime without optimizations gives the same integers as LiteRT; its basic level moves them by up to 3.
@pattern(lsb=4, openvino_lsb=4, in_float=("ConvTranspose",))
def conv_transpose_twice(d: Dims) -> onnx.ModelProto:
    up = node("ConvTranspose", ["c", "u", "b2"], ["v"], strides=[2, 2])
    return between_convs(d, up, u=d.weights(d.o, 4, 2, 2), b2=d.weights(4), channels=4)


@pattern(quantized=False)
def conv_transpose_cut(d: Dims) -> onnx.ModelProto:
    up = node("ConvTranspose", ["x", "u"], ["v"], strides=[2, 2], pads=[1] * 4, output_padding=[1, 1])
    nodes = [up, node("Relu", ["v"], ["y"])]
    return graph(nodes, {"u": d.weights(d.c, d.o, 3, 3)}, {"x": [2, d.c, d.h, d.w]})


@pattern()
def depth_to_space(d: Dims) -> onnx.ModelProto:
    mode = ("DCR", "CRD")[d.seed % 2]
    d = Dims(d.c, 4 * d.o, d.h, d.w, d.seed)
    return between_convs(d, node("DepthToSpace", ["c"], ["v"], blocksize=2, mode=mode), channels=d.o // 4)


@pattern()
def channel_shuffle(d: Dims) -> onnx.ModelProto:
    d = Dims(d.c, 2 * d.o, d.h, d.w, d.seed)
    nodes = [
        node("Reshape", ["c", "s5"], ["r"]),
        node("Transpose", ["r"], ["t"], perm=[0, 2, 1, 3, 4]),
        node("Reshape", ["t", "s4"], ["v"]),
    ]
    half = d.o // 2
    shapes = {"s5": np.array([-1, 2, half, d.h, d.w]), "s4": np.array([-1, d.o, d.h, d.w])}
    return between_convs(d, *nodes, **shapes)


@pattern(in_float=("ReduceSum",))
def reduce_sum_over_space(d: Dims) -> onnx.ModelProto:
    return after_conv(d, node("ReduceSum", ["c", "axes"], ["y"], keepdims=0), axes=np.array([2, 3]))


@pattern(in_float=("ReduceMax",))
def reduce_max_over_channels(d: Dims) -> onnx.ModelProto:
    return after_conv(d, node("ReduceMax", ["c"], ["y"], axes=[1]))


@pattern(in_float=("GlobalMaxPool",))
def global_max_pool(d: Dims) -> onnx.ModelProto:
    return after_conv(d, node("GlobalMaxPool", ["c"], ["y"]))


@pattern()
def reduce_everything(d: Dims) -> onnx.ModelProto:
    return graph([node("ReduceMean", ["x"], ["y"], keepdims=0)], {}, rows(d))


@pattern()
def arg_max_over_channels(d: Dims) -> onnx.ModelProto:
    nodes = [node("ArgMax", ["c"], ["a"], axis=1, keepdims=d.seed % 2), node("Cast", ["a"], ["y"], to=1)]
    return after_conv(d, *nodes)


@pattern(in_float=("LogSoftmax",))
def log_softmax(d: Dims) -> onnx.ModelProto:
    return after_conv(d, node("LogSoftmax", ["c"], ["y"], axis=1))


test_pattern = pattern.tests(1)
test_pattern_many = pattern.tests(8, pytest.mark.full)
