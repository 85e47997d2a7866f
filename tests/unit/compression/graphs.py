"""Small ONNX graphs with random weights, and the two runtimes that must agree on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from ai_edge_litert.interpreter import Interpreter
from onnx import TensorProto, helper, numpy_helper, shape_inference

from harness.compression.export import TfliteExport

Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]
Shapes = Mapping[str, Sequence[int | str]]


def graph(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Array],
    inputs: Shapes,
    outputs: Sequence[str] = ("y",),
    opset: int = 17,
) -> onnx.ModelProto:
    """Return a float model; the shapes of its outputs are left to inference."""
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "pattern",
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s in inputs.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )
    return shape_inference.infer_shapes(model, data_prop=True)


def run_onnx(model: onnx.ModelProto, feeds: Feeds) -> Feeds:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def run_tflite(export: TfliteExport, feeds: Feeds) -> Feeds:
    """Run on LiteRT with its default delegate (XNNPACK), through the signature; in and out in ONNX layout."""
    interpreter = Interpreter(model_content=export.data, num_threads=1)
    arranged = {
        name: np.ascontiguousarray(value.transpose(export.input_permutation.get(name, range(value.ndim))))
        for name, value in feeds.items()
    }
    runner = interpreter.get_signature_runner("serving_default")
    results = runner(**arranged)
    for name, permutation in export.output_permutation.items():
        results[name] = results[name].transpose(np.argsort(permutation))
    return dict(results)


def feeds_of(model: onnx.ModelProto, random: np.random.Generator, batch: int) -> Feeds:
    return {
        value.name: random.standard_normal(
            [d.dim_value if d.HasField("dim_value") else batch for d in value.type.tensor_type.shape.dim]
        ).astype(np.float32)
        for value in model.graph.input
    }


def feeds_on_grid(model: onnx.ModelProto, random: np.random.Generator, batch: int) -> Feeds:
    """Feeds whose values are exactly those that the quantized input can hold, over its whole range."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    feeds = feeds_of(model, random, batch)
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] in feeds:
            scale, zero_point = constants[node.input[1]], constants[node.input[2]].astype(np.float32)
            levels = random.integers(0, 256, feeds[node.input[0]].shape).astype(np.float32)
            feeds[node.input[0]] = (levels - zero_point) * scale
    return feeds


def residual_cnn(seed: int, channels: int = 8) -> onnx.ModelProto:
    """A residual CNN with depthwise-separable blocks like the bundled digits model, 1×16×16 → 10."""
    random = np.random.default_rng(seed)
    constants: dict[str, Array] = {}
    nodes: list[onnx.NodeProto] = []

    def conv(x: str, y: str, shape: tuple[int, ...], relu: bool = True, **attributes: object) -> str:
        fan_in = int(np.prod(shape[1:]))
        constants[f"{y}.w"] = (random.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)
        for part, value in (
            ("scale", random.uniform(0.5, 1.5, shape[0])),
            ("shift", random.standard_normal(shape[0]) * 0.1),
            ("mean", random.standard_normal(shape[0]) * 0.1),
            ("variance", random.uniform(0.5, 1.5, shape[0])),
        ):
            constants[f"{y}.{part}"] = value.astype(np.float32)
        nodes.append(helper.make_node("Conv", [x, f"{y}.w"], [f"{y}.conv"], **attributes))
        normalization = [f"{y}.conv", *(f"{y}.{part}" for part in ("scale", "shift", "mean", "variance"))]
        nodes.append(helper.make_node("BatchNormalization", normalization, [y if not relu else f"{y}.bn"]))
        if relu:
            nodes.append(helper.make_node("Relu", [f"{y}.bn"], [y]))
        return y

    c = channels
    x = conv("x", "stem", (c, 1, 3, 3), pads=[1] * 4)
    for block in range(2):
        depthwise = conv(x, f"depthwise{block}", (c, 1, 3, 3), pads=[1] * 4, group=c)
        pointwise = conv(depthwise, f"pointwise{block}", (c, c, 1, 1), relu=False)
        nodes.append(helper.make_node("Add", [pointwise, x], [f"sum{block}"]))
        nodes.append(helper.make_node("Relu", [f"sum{block}"], [f"block{block}"]))
        x = conv(f"block{block}", f"down{block}", (c, 1, 3, 3), pads=[1] * 4, strides=[2, 2], group=c)
    constants["head.w"] = random.standard_normal((10, c)).astype(np.float32)
    constants["head.b"] = random.standard_normal(10).astype(np.float32)
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["features"]))
    nodes.append(helper.make_node("Gemm", ["features", "head.w", "head.b"], ["y"], transB=1))
    return graph(nodes, constants, {"x": ["batch", 1, 16, 16]})
