"""Which operators of a quantized model compute in integers, and with which scales.

A Quantize/Dequantize pair is an annotation of a tensor: if all inputs of an operator come from
DequantizeLinear and its output only goes to QuantizeLinear, the operator computes in integers. ONNX Runtime
chooses its integer kernels by the same rule. If TFLite has no integer form of an operator, or only with
other scales, the operator stays between its DequantizeLinear and QuantizeLinear.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from harness.compression.export.parts import Node, Quantization, Value, users_of

Supports = Callable[[Node, tuple[Quantization | None, ...], Quantization], bool]


def _any_scale(node: Node, sources: tuple[Quantization | None, ...], target: Quantization) -> bool:
    return True


def _same_scale(node: Node, sources: tuple[Quantization | None, ...], target: Quantization) -> bool:
    return all(source is None or source.same_as(target) for source in sources)


def _nearest(node: Node, sources: tuple[Quantization | None, ...], target: Quantization) -> bool:
    return node.attribute("mode", "nearest") == "nearest"


def _fixed(scale: float, zero_point: int) -> Supports:
    def supports(node: Node, sources: tuple[Quantization | None, ...], target: Quantization) -> bool:
        return target.same_as(Quantization(np.array([scale], np.float32), np.array([zero_point])))

    return supports


# Operators that TFLite supports in int8, and the scales that it needs.
_INTEGER: Mapping[str, Supports] = {
    **dict.fromkeys(
        (
            "Add", "AveragePool", "Clip", "Concat", "Conv", "ConvTranspose", "DepthToSpace", "Flatten",
            "Gather", "Gemm", "GlobalAveragePool", "LeakyRelu", "MatMul", "MaxPool", "Mul", "PRelu", "Pad",
            "ReduceMean", "Relu", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Sub",
            "Transpose", "Unsqueeze",
        ),
        _any_scale,
    ),
    **dict.fromkeys(("GlobalMaxPool", "Max", "Min", "ReduceMax", "ReduceMin"), _same_scale),
    "Resize": _nearest,
    "Sigmoid": _fixed(1 / 256, -128),
    "Softmax": _fixed(1 / 256, -128),
    "Tanh": _fixed(1 / 128, 0),
}  # fmt: skip
# Operators that read the integers and return no quantized value.
_READS_INTEGERS = frozenset({"ArgMax", "ArgMin"})
# Operators whose float operands are settings: bounds, scales of a Resize, the fill value of a Pad.
_FLOAT_SETTINGS = frozenset({"Clip", "Resize", "Pad"})


def annotate_quantization(nodes: list[Node], values: dict[str, Value]) -> None:
    """Set scale and zero point of every integer tensor; unsigned ones become int8 with the same reals."""
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


def use_integers(nodes: list[Node], values: dict[str, Value], outputs: tuple[str, ...]) -> list[Node]:
    """Let operators between Dequantize and Quantize compute in integers."""
    users = users_of(nodes)
    integer_of = {n.outputs[0]: n.inputs[0] for n in nodes if n.op == "DequantizeLinear"}
    integer_results: dict[str, str] = {}
    result = []
    for node in nodes:
        integer_node = _on_integers(node, values, users, integer_of, outputs)
        if integer_node is not None:
            integer_results |= zip(node.outputs, integer_node.outputs, strict=True)
            result.append(integer_node)
        elif node.op == "DequantizeLinear" and values[node.inputs[0]].data is not None:
            values[node.outputs[0]] = _dequantized(values[node.inputs[0]], node.outputs[0])
        elif node.op == "QuantizeLinear" and node.inputs[0] in integer_results:
            if integer_results[node.inputs[0]] != node.outputs[0]:  # a second pair on the same tensor
                result.append(replace(node, inputs=(integer_results[node.inputs[0]],)))
        elif node.op in ("QuantizeLinear", "DequantizeLinear"):
            result.append(replace(node, inputs=node.inputs[:1]))
        else:
            result.append(node)
    return result


def _on_integers(
    node: Node,
    values: Mapping[str, Value],
    users: Mapping[str, list[Node]],
    integer_of: Mapping[str, str],
    outputs: tuple[str, ...],
) -> Node | None:
    """Return the node with integer operands and results, None if it computes in float."""
    inputs = []
    for position, name in enumerate(node.inputs):
        value = values.get(name)
        setting = value is None or value.dtype != np.float32 or node.op in _FLOAT_SETTINGS
        if name in integer_of:
            inputs.append(integer_of[name])
        elif position and setting:
            inputs.append(name)
        else:
            return None
    if node.op in _READS_INTEGERS:
        return replace(node, inputs=tuple(inputs))
    results = []
    for name in node.outputs:
        quantizers = users.get(name, [])
        if name in outputs or not quantizers or any(q.op != "QuantizeLinear" for q in quantizers):
            return None
        results.append(quantizers[0].outputs[0])
    supports = _INTEGER.get(node.op)
    sources = tuple(values[name].quantization for name in inputs if name)
    targets = [values[name].quantization for name in results]
    if supports is None or not all(
        target is not None and supports(node, sources, target) for target in targets
    ):
        return None
    return replace(node, inputs=tuple(inputs), outputs=tuple(results))


def _dequantized(value: Value, name: str) -> Value:
    """Return a quantized constant in float, for an operator that computes in float."""
    assert value.data is not None
    assert value.quantization is not None
    data = value.quantization.real(value.data)
    return Value(name, data.shape, data.dtype, data=data)
