"""Reads an ONNX model as the writer wants it: constants known, activations fused, quantization on the values.

A Quantize/Dequantize pair is no operator but a note on a tensor: where every input of an operator comes
out of DequantizeLinear and its output only goes into QuantizeLinear, it works on the integers. The same
rule makes ONNX Runtime choose its integer kernels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, TypeVar, cast

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from harness.core.errors import ModelError, UnsupportedOperator

Array = np.ndarray[Any, Any]
Shape = tuple[int | None, ...]
T = TypeVar("T")

# Operators whose TFLite form can clamp its own output.
_FUSES_ACTIVATION = frozenset({"Conv", "Gemm", "MatMul", "Add", "Mul", "MaxPool", "AveragePool"})
_FUSED_BOUNDS = {(0.0, np.inf): "RELU", (0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}


@dataclass(frozen=True, slots=True)
class Quantization:
    """real = scale × (integer − zero_point); along ``axis`` where there are several scales."""

    scale: Array
    zero_point: Array
    axis: int = 0

    @property
    def per_channel(self) -> bool:
        """Whether there is a scale for each channel."""
        return self.scale.size > 1

    def same_as(self, other: Quantization | None) -> bool:
        """Whether the same integer stands for the same real value."""
        return (
            other is not None
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the graph: its ONNX shape (None: dynamic), and its data where it is constant."""

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    quantization: Quantization | None = None
    data: Array | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """An operator; ``activation`` is the clamp that was fused into it, in TFLite's word."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    activation: str = "NONE"

    def attribute(self, name: str, default: T) -> T:
        """Return an attribute, or the default of the standard where it is absent."""
        return cast("T", self.attributes.get(name, default))

    def refuse(self, why: str) -> NoReturn:
        """Raise the error that says which operator cannot be written, and the ways out."""
        raise UnsupportedOperator(
            f"the TFLite writer cannot hold {self.op}: {why}",
            where=f"node {self.name!r}",
            cause="an operator, or a form of it, that the exact writer has no rule for",
            next_step="run this variant on another backend (onnxruntime, openvino), "
            "or name a prebuilt .tflite in validation.toml",
        )


@dataclass(frozen=True, slots=True)
class Graph:
    """A model: nodes in the order of execution, every value by name."""

    nodes: tuple[Node, ...]
    values: Mapping[str, Value]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_graph(model: onnx.ModelProto) -> Graph:
    """Read a canonical ONNX model, float or QDQ.

    Raises
    ------
    ModelError
        The shapes cannot be inferred.
    UnsupportedOperator
        A custom operator.
    """
    nodes, values = _read(model)
    inputs = tuple(value.name for value in model.graph.input if values[value.name].data is None)
    outputs = tuple(value.name for value in model.graph.output)
    nodes = _forward_identities(nodes, values, outputs)
    nodes = _fuse_activations(nodes, values, outputs)
    _note_quantization(nodes, values)
    nodes = _take_integers(nodes, values, outputs)
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
            node.refuse(f"it is of the domain {proto.domain!r}")
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


def _users(nodes: list[Node]) -> dict[str, list[Node]]:
    users: dict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        for name in node.inputs:
            users[name].append(node)
    return users


def _forward_identities(
    nodes: list[Node], values: Mapping[str, Value], outputs: tuple[str, ...]
) -> list[Node]:
    """Leave out what only passes its input on; one that makes an output of the model stays as a copy."""
    same: dict[str, str] = {}
    kept = []
    for node in nodes:
        moved = replace(node, inputs=tuple(same.get(name, name) for name in node.inputs))
        if node.op in ("Identity", "Dropout") and node.outputs[0] not in outputs:
            same[node.outputs[0]] = moved.inputs[0]
        elif node.op in ("Identity", "Dropout"):
            kept.append(replace(moved, op="Identity", inputs=moved.inputs[:1], outputs=node.outputs[:1]))
        else:
            kept.append(moved)
    return kept


def bounds(node: Node, values: Mapping[str, Value]) -> tuple[float, float]:
    """Return the constant bounds of a Relu or Clip."""
    if node.op == "Relu":
        return 0.0, np.inf
    found = [-np.inf, np.inf]
    for position, name in enumerate(node.inputs[1:3]):
        if not name:
            continue
        data = values[name].data
        if data is None:
            node.refuse("a bound is computed by the model")
        found[position] = float(data.reshape(-1)[0])
    return found[0], found[1]


def _fuse_activations(nodes: list[Node], values: Mapping[str, Value], outputs: tuple[str, ...]) -> list[Node]:
    users = _users(nodes)
    fused: dict[str, tuple[str, str]] = {}
    absorbed = set()
    makers = {name: node for node in nodes for name in node.outputs}
    for node in nodes:
        if node.op not in ("Relu", "Clip") or node.inputs[0] not in makers:
            continue
        maker, kind = makers[node.inputs[0]], _FUSED_BOUNDS.get(bounds(node, values))
        alone = len(users[node.inputs[0]]) == 1 and node.inputs[0] not in outputs
        if kind and alone and maker.op in _FUSES_ACTIVATION:
            fused[maker.name] = (kind, node.outputs[0])
            absorbed.add(node.name)
    return [
        replace(node, activation=fused[node.name][0], outputs=(fused[node.name][1],))
        if node.name in fused
        else node
        for node in nodes
        if node.name not in absorbed
    ]


def _note_quantization(nodes: list[Node], values: dict[str, Value]) -> None:
    """Write scale and zero point on every integer tensor; unsigned ones become int8, the same reals."""
    for node in nodes:
        if node.op not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        name = node.outputs[0] if node.op == "QuantizeLinear" else node.inputs[0]
        value = values[name]
        if value.quantization is not None:
            continue
        scale = values[node.inputs[1]].data
        zero_point = values[node.inputs[2]].data if len(node.inputs) > 2 else np.zeros(1, value.dtype)
        if scale is None or zero_point is None:
            node.refuse("its scale or zero point is computed by the model")
        if value.dtype not in (np.uint8, np.int8, np.int32):
            node.refuse(f"quantization to {value.dtype}")
        shift = 128 if value.dtype == np.uint8 else 0
        zero_points = np.broadcast_to(
            zero_point.reshape(-1).astype(np.int64) - shift, scale.reshape(-1).shape
        )
        axis = node.attribute("axis", 1) % max(len(value.shape), 1)
        quantization = Quantization(
            scale.reshape(-1).astype(np.float32), zero_points, axis if scale.size > 1 else 0
        )
        data = value.data
        if data is not None and shift:
            data = (data.astype(np.int16) - shift).astype(np.int8)
        dtype = np.dtype(np.int8) if shift else value.dtype
        values[name] = replace(value, dtype=dtype, quantization=quantization, data=data)


def _take_integers(nodes: list[Node], values: dict[str, Value], outputs: tuple[str, ...]) -> list[Node]:
    """Let operators between Dequantize and Quantize work on the integers themselves."""
    users = _users(nodes)
    integer_of = {n.outputs[0]: n.inputs[0] for n in nodes if n.op == "DequantizeLinear"}

    def quantized(node: Node) -> Node | None:
        quantizers = users[node.outputs[0]]
        if node.outputs[0] in outputs or not quantizers or any(q.op != "QuantizeLinear" for q in quantizers):
            return None
        inputs = []
        for position, name in enumerate(node.inputs):
            value = values.get(name)
            parameter = not name or (position and value is not None and value.data is not None)
            if name in integer_of:
                inputs.append(integer_of[name])
            elif parameter and (node.op in ("Clip",) or value is None or value.dtype != np.float32):
                inputs.append(name)
            else:
                return None
        return replace(node, inputs=tuple(inputs), outputs=(quantizers[0].outputs[0],))

    taken: dict[str, str] = {}
    result = []
    for node in nodes:
        made = None if node.op in ("QuantizeLinear", "DequantizeLinear") else quantized(node)
        if made is not None:
            taken[node.outputs[0]] = made.outputs[0]
            result.append(made)
        elif node.op == "DequantizeLinear" and values[node.inputs[0]].data is not None:
            values[node.outputs[0]] = _dequantized(values[node.inputs[0]], node.outputs[0])
        elif node.op == "QuantizeLinear" and node.inputs[0] in taken:
            if taken[node.inputs[0]] != node.outputs[0]:  # a second pair on the same tensor
                result.append(replace(node, inputs=(taken[node.inputs[0]],)))
        elif node.op in ("QuantizeLinear", "DequantizeLinear"):
            result.append(replace(node, inputs=node.inputs[:1]))
        else:
            result.append(node)
    return result


def _dequantized(value: Value, name: str) -> Value:
    """Return a quantized constant in float: for an operator that is left in float."""
    assert value.data is not None
    assert value.quantization is not None
    shape = [1] * value.data.ndim
    if value.quantization.per_channel:
        shape[value.quantization.axis] = -1
    scale = value.quantization.scale.reshape(shape if value.data.ndim else ())
    zero_point = value.quantization.zero_point.reshape(shape if value.data.ndim else ())
    data = ((value.data.astype(np.int64) - zero_point) * scale).astype(np.float32)
    return Value(name, data.shape, data.dtype, data=data)


def _live(nodes: list[Node], outputs: tuple[str, ...]) -> list[Node]:
    wanted = set(outputs)
    kept = []
    for node in reversed(nodes):
        if wanted & set(node.outputs):
            kept.append(node)
            wanted |= set(node.inputs)
    return kept[::-1]
