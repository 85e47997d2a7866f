"""Reads an ONNX model as the writer wants it: constants known, patterns fused, quantization on the values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from harness.compression.export.integers import annotate_quantization, use_integers
from harness.compression.export.parts import Graph, Node, Value, users_of
from harness.compression.export.patterns import fuse_patterns
from harness.core.errors import ModelError

# Operators with a fused activation in TFLite.
_FUSES_ACTIVATION = frozenset(
    {"Add", "AveragePool", "Conv", "ConvTranspose", "Div", "Gemm", "MatMul", "MaxPool", "Mul", "Sub"}
)
_FUSED_BOUNDS = {(0.0, np.inf): "RELU", (0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}


def read_graph(model: onnx.ModelProto) -> Graph:
    """Read a canonical ONNX model, float or QDQ.

    Raises
    ------
    ModelError
        The shapes cannot be inferred.
    UnsupportedOperator
        The model has a custom operator.
    """
    nodes, values = _read(model)
    inputs = tuple(value.name for value in model.graph.input if values[value.name].data is None)
    outputs = tuple(value.name for value in model.graph.output)
    nodes = _forward_identities(nodes, values, outputs)
    nodes = fuse_patterns(nodes, values, outputs)
    nodes = _fuse_activations(nodes, values, outputs)
    annotate_quantization(nodes, values)
    nodes = use_integers(nodes, values, outputs)
    return Graph(tuple(_live(nodes, outputs)), values, inputs, outputs)


def _read(model: onnx.ModelProto) -> tuple[list[Node], dict[str, Value]]:
    try:
        graph = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    except shape_inference.InferenceError as error:
        raise ModelError(
            f"the shapes of the model cannot be inferred: {error}",
            where=f"graph {model.graph.name!r}",
            next_step="canonicalise the model before exporting it",
        ) from error
    values: dict[str, Value] = {}
    for info in [*graph.value_info, *graph.output, *graph.input]:
        kind = info.type.tensor_type
        shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
        values[info.name] = Value(info.name, shape, np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)))
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = []
    for index, proto in enumerate(graph.node):
        attributes = {a.name: _plain(helper.get_attribute_value(a)) for a in proto.attribute}
        name = proto.name or f"{proto.op_type}_{index}"
        node = Node(proto.op_type, name, tuple(proto.input), tuple(proto.output), attributes)
        if proto.domain not in ("", "ai.onnx"):
            node.refuse(f"its domain is {proto.domain!r}")
        if proto.op_type != "Constant":
            nodes.append(node)
        elif "value" in attributes:
            constants[node.outputs[0]] = attributes["value"]
        else:
            kind_name, number = next(iter(attributes.items()))
            dtype = np.float32 if "float" in kind_name else np.int64
            constants[node.outputs[0]] = np.asarray(number, dtype)
    for name, data in constants.items():
        values[name] = Value(name, data.shape, data.dtype, data=data)
    return nodes, values


def _plain(attribute: object) -> object:
    if isinstance(attribute, onnx.TensorProto):
        return numpy_helper.to_array(attribute)
    return attribute.decode() if isinstance(attribute, bytes) else attribute


def _forward_identities(
    nodes: list[Node], values: Mapping[str, Value], outputs: tuple[str, ...]
) -> list[Node]:
    """Remove Identity and Dropout; one whose result is an output of the model becomes a copy."""
    same: dict[str, str] = {}
    result = []
    for node in nodes:
        moved = replace(node, inputs=tuple(same.get(name, name) for name in node.inputs))
        if node.op in ("Identity", "Dropout") and node.outputs[0] not in outputs:
            same[node.outputs[0]] = moved.inputs[0]
        elif node.op in ("Identity", "Dropout"):
            result.append(replace(moved, op="Identity", inputs=moved.inputs[:1], outputs=node.outputs[:1]))
        else:
            result.append(moved)
    return result


def bounds(node: Node, values: Mapping[str, Value]) -> tuple[float, float]:
    """Return the constant bounds of a Relu or Clip."""
    if node.op == "Relu":
        return 0.0, np.inf
    low_high = [-np.inf, np.inf]
    for position, name in enumerate(node.inputs[1:3]):
        if not name:
            continue
        data = values[name].data
        if data is None:
            node.refuse("a bound is computed by the model")
        low_high[position] = float(data.reshape(-1)[0])
    return low_high[0], low_high[1]


def _fuse_activations(nodes: list[Node], values: Mapping[str, Value], outputs: tuple[str, ...]) -> list[Node]:
    users = users_of(nodes)
    fused: dict[str, tuple[str, str]] = {}
    absorbed = set()
    producers = {name: node for node in nodes for name in node.outputs}
    for node in nodes:
        if node.op not in ("Relu", "Clip") or node.inputs[0] not in producers:
            continue
        producer, kind = producers[node.inputs[0]], _FUSED_BOUNDS.get(bounds(node, values))
        alone = len(users[node.inputs[0]]) == 1 and node.inputs[0] not in outputs
        if kind and alone and producer.op in _FUSES_ACTIVATION:
            fused[producer.name] = (kind, node.outputs[0])
            absorbed.add(node.name)
    return [
        replace(node, activation=fused[node.name][0], outputs=(fused[node.name][1],))
        if node.name in fused
        else node
        for node in nodes
        if node.name not in absorbed
    ]


def _live(nodes: list[Node], outputs: tuple[str, ...]) -> list[Node]:
    used = set(outputs)
    live = []
    for node in reversed(nodes):
        if used & set(node.outputs):
            live.append(node)
            used |= set(node.inputs)
    return live[::-1]
