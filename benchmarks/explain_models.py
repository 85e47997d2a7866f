"""Small models with layers chosen at random, for pairs in which nothing is wrong."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from harness.compression.canonical import canonicalise

SIZE, CHANNELS, CLASSES = 12, 3, 6


class _Builder:
    """A graph that grows, and the shape of its last value."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.channels, self.size = CHANNELS, SIZE

    def constant(self, array: NDArray[np.floating]) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array, np.float32), name))
        return name

    def node(self, kind: str, inputs: list[str], **attributes: object) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [f"{name}:y"], name=name, **attributes))
        return f"{name}:y"

    def convolution(self, x: str, count: int, extent: int, *, group: int = 1, stride: int = 1) -> str:
        depth = self.channels // group
        shape = (count, depth, extent, extent)
        weight = self.constant(self.random.normal(0, (2 / (depth * extent**2)) ** 0.5, shape))
        bias = self.constant(self.random.normal(0, 0.1, count))
        y = self.node(
            "Conv", [x, weight, bias], group=group, pads=[extent // 2] * 4, strides=[stride] * 2,
        )  # fmt: skip
        self.channels, self.size = count, -(-self.size // stride)
        return self.activation(y)

    def activation(self, x: str) -> str:
        kind = self.random.choice(
            ["Relu", "Clip", "HardSwish", "LeakyRelu", "none"], p=[0.5, 0.2, 0.1, 0.1, 0.1]
        )
        if kind == "none":
            return x
        if kind == "Clip":
            return self.node("Clip", [x, self.constant(np.array(0.0)), self.constant(np.array(6.0))])
        return self.node(str(kind), [x], **({"alpha": 0.1} if kind == "LeakyRelu" else {}))

    def block(self, x: str) -> str:
        """One of: a convolution, a depthwise one and a product, a sum, branches that are joined, a pool."""
        kind = self.random.choice(["plain", "depthwise", "sum", "joined", "pool"])
        count = int(self.random.choice([8, 12, 16]))
        if kind == "depthwise":
            y = self.convolution(x, self.channels, 3, group=self.channels)
            return self.convolution(y, count, 1)
        if kind == "sum":
            return self.node("Add", [x, self.convolution(x, self.channels, 3)])
        if kind == "joined":
            channels, size = self.channels, self.size
            one = self.convolution(x, count, 3)
            self.channels, self.size = channels, size
            two = self.convolution(x, count, 1)
            self.channels = 2 * count
            return self.node("Concat", [one, two], axis=1)
        if kind == "pool" and self.size >= 6 and self.size % 2 == 0:
            self.size //= 2
            pool = str(self.random.choice(["MaxPool", "AveragePool"]))
            return self.node(pool, [x], kernel_shape=[2, 2], strides=[2, 2])
        return self.convolution(x, count, 3, stride=2 if self.size >= 6 and self.random.random() < 0.3 else 1)

    def dense(self, x: str, depth: int, count: int) -> str:
        weight = self.constant(self.random.normal(0, (2 / depth) ** 0.5, (count, depth)))
        return self.node("Gemm", [x, weight, self.constant(self.random.normal(0, 0.1, count))], transB=1)


def model(seed: int) -> onnx.ModelProto:
    """A classifier of images, shape (n, 3, 12, 12), with three to five blocks and random weights."""
    build = _Builder(seed)
    x = build.convolution("x", 8, 3)
    for _ in range(int(build.random.integers(2, 5))):
        x = build.block(x)
    if build.random.random() < 0.7:
        x, depth = build.node("GlobalAveragePool", [x]), build.channels
    else:
        depth = build.channels * build.size**2
    x = build.node("Flatten", [x])
    if build.random.random() < 0.4:
        x, depth = build.node("Relu", [build.dense(x, depth, 24)]), 24
    x = build.dense(x, depth, CLASSES)
    graph = helper.make_graph(
        build.nodes, "random",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", CHANNELS, SIZE, SIZE])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["n", CLASSES])], build.constants,
    )  # fmt: skip
    return canonicalise(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))
