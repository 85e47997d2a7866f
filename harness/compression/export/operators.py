"""The table of operators, and the handlers of those that are no convolution.

To add an operator: a handler of a few lines, a row in ``HANDLERS``, and a pattern in its test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import numpy as np

from harness.compression.export.convolution import average_pool, conv, gemm, matmul, max_pool
from harness.compression.export.emitter import Emitter
from harness.compression.export.graph import Node, bounds
from harness.compression.export.layout import Layout, as_vector, channels_last, plain, static

Handler = Callable[[Node, Emitter], None]


def binary(kind: str, options: str) -> Handler:
    """Return the handler of an operator between two tensors that broadcast."""

    def handle(node: Node, emitter: Emitter) -> None:
        result = emitter.value(node.outputs[0])
        rank = len(result.shape)
        computed = [name for name in node.inputs if emitter.data(name) is None]
        layouts = [emitter.layout(name) for name in computed]
        layout = next((each for each in layouts if not each.plain), plain(rank))
        if any(len(emitter.value(name).shape) != rank for name in computed):
            layout = plain(rank)  # an operand of a lower rank broadcasts from ONNX's last axis
        if layout.features and any(emitter.value(name).shape[-1] == 1 for name in computed):
            layout = plain(rank)
        tensors = []
        for name in node.inputs:
            value = emitter.value(name)
            if value.data is not None:
                tensors.append(emitter.constant(name, layout.arrange(value.data), value.quantization))
            else:
                tensors.append(
                    emitter.get(name, layout if len(value.shape) == rank else plain(len(value.shape)))
                )
        target = emitter.add(result, layout)
        emitter.emit(kind, tensors, target, options, {"fusedActivationFunction": node.activation})

    return handle


def relu(node: Node, emitter: Emitter) -> None:
    """Relu that no operator before it took up."""
    _unary(node, emitter, "RELU")


def clip(node: Node, emitter: Emitter) -> None:
    """Clip to constant bounds."""
    low, high = bounds(node, emitter.graph.values)
    kind = {(0.0, np.inf): "RELU", (0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}.get((low, high))
    if kind:
        _unary(node, emitter, kind)
        return
    source, result = emitter.value(node.inputs[0]), emitter.value(node.outputs[0])
    layout = emitter.layout(node.inputs[0])
    tensor = emitter.get(node.inputs[0])
    steps = [(k, b) for k, b in (("MAXIMUM", low), ("MINIMUM", high)) if np.isfinite(b)]
    for index, (kind, bound) in enumerate(steps):
        limit = np.full((1,) * len(result.shape), bound, np.float32)
        if source.quantization:
            steps_of_scale = np.rint(limit / source.quantization.scale) + source.quantization.zero_point
            limit = np.clip(steps_of_scale, -128, 127).astype(np.int8)
        tensors = [tensor, emitter.constant(f"{node.name}/bound", limit, source.quantization)]
        options = "MaximumMinimumOptions"
        if index == len(steps) - 1:
            emitter.emit_keeping_scale(kind, tensors, node, layout, options)
        else:
            tensor = emitter.temporary(f"{node.name}/clipped", layout.shape(result.shape), source)
            emitter.emit(kind, tensors, tensor, options)
    if not steps:
        copy(node, emitter)


def _unary(node: Node, emitter: Emitter, kind: str) -> None:
    tensor, layout = emitter.get(node.inputs[0]), emitter.layout(node.inputs[0])
    emitter.emit(kind, [tensor], emitter.add(emitter.value(node.outputs[0]), layout))


def quantize(node: Node, emitter: Emitter) -> None:
    """QuantizeLinear of a float, or of integers that get another scale."""
    tensor, layout = emitter.get(node.inputs[0]), emitter.layout(node.inputs[0])
    version = 2 if emitter.value(node.inputs[0]).quantization else 1
    target = emitter.add(emitter.value(node.outputs[0]), layout)
    emitter.emit("QUANTIZE", [tensor], target, "QuantizeOptions", version=version)


def dequantize(node: Node, emitter: Emitter) -> None:
    """DequantizeLinear of a computed value; an output is put in ONNX's order while it is small."""
    layout = emitter.layout(node.inputs[0])
    if layout.features and node.outputs[0] in emitter.graph.outputs:
        layout = plain(len(layout.axes))
    tensor = emitter.get(node.inputs[0], layout)
    result = emitter.add(emitter.value(node.outputs[0]), layout)
    emitter.emit("DEQUANTIZE", [tensor], result, "DequantizeOptions")


def copy(node: Node, emitter: Emitter) -> None:
    """Identity that makes an output of the model: TFLite has none, a RESHAPE to the same shape is one."""
    result, layout = emitter.value(node.outputs[0]), emitter.layout(node.inputs[0])
    emitter.reshape(
        emitter.get(node.inputs[0]), layout.shape(result.shape), result, emitter.add(result, layout)
    )


def mean(node: Node, emitter: Emitter) -> None:
    """GlobalAveragePool and ReduceMean."""
    source, result = emitter.value(node.inputs[0]), emitter.value(node.outputs[0])
    rank = len(source.shape)
    if node.op == "GlobalAveragePool":
        axes, kept, layout = list(range(2, rank)), True, channels_last(rank)
    else:
        axes = list(node.attribute("axes", range(rank)))
        if len(node.inputs) > 1 and node.inputs[1]:
            data = emitter.data(node.inputs[1])
            if data is None:
                node.refuse("its axes are computed by the model")
            axes = [int(axis) for axis in data.reshape(-1)]
        kept, layout = bool(node.attribute("keepdims", 1)), emitter.layout(node.inputs[0])
        if layout.features:
            layout = plain(rank)
    axes = [axis % rank for axis in axes]
    tensor = emitter.get(node.inputs[0], layout)
    axes_tensor = emitter.constant(
        f"{node.name}/axes", as_vector(sorted(layout.position(axis) for axis in axes))
    )
    result_layout = layout
    if not kept:
        left = [axis for axis in layout.axes if axis not in axes]
        result_layout = Layout(tuple(sorted(left).index(axis) for axis in left))
    target = emitter.add(result, result_layout)
    emitter.emit("MEAN", [tensor, axes_tensor], target, "ReducerOptions", {"keepDims": kept})


def reshape(node: Node, emitter: Emitter) -> None:
    """Reshape, Flatten, Squeeze and Unsqueeze; a flattened image keeps its channels last."""
    source, result = emitter.value(node.inputs[0]), emitter.value(node.outputs[0])
    layout, target = emitter.layout(node.inputs[0]), plain(len(result.shape))
    rank = len(source.shape)
    if not layout.plain and not layout.features:
        inner = source.shape[1:]
        flattens = layout == channels_last(rank) and len(result.shape) == 2 and None not in inner
        if flattens and result.shape[1] == prod(static(inner)):
            channels, *space = static(inner)
            if channels > 1 and prod(space) > 1:
                target = Layout((0, 1), (channels, *space))
        else:
            layout = plain(rank)
    elif layout.features:
        layout = plain(rank)
    tensor = emitter.get(node.inputs[0], layout)
    new_shape = [-1 if extent is None else extent for extent in result.shape]
    if new_shape.count(-1) > 1:
        node.refuse(f"its result {result.shape} has more than one dynamic axis")
    tensors = [tensor, emitter.constant(f"{node.name}/shape", as_vector(new_shape))]
    emitter.emit_keeping_scale(
        "RESHAPE", tensors, node, target, "ReshapeOptions", {"newShape": as_vector(new_shape)}
    )


def transpose(node: Node, emitter: Emitter) -> None:
    """Transpose: no operator at all, the result is read in another order."""
    rank = len(emitter.value(node.inputs[0]).shape)
    order = list(node.attribute("perm", list(range(rank))[::-1]))
    layout = emitter.layout(node.inputs[0])
    if layout.features:
        layout = plain(rank)
    tensor = emitter.get(node.inputs[0], layout)
    source, result = emitter.value(node.inputs[0]), emitter.value(node.outputs[0])
    renamed = Layout(tuple(order.index(axis) for axis in layout.axes))
    is_output = node.outputs[0] in emitter.graph.outputs
    same = source.quantization is None or source.quantization.same_as(result.quantization)
    if same and not is_output:
        emitter.alias(node.outputs[0], renamed, tensor)
        return
    axes = emitter.constant(f"{node.name}/order", as_vector([layout.position(axis) for axis in order]))
    emitter.emit_keeping_scale("TRANSPOSE", [tensor, axes], node, plain(rank), "TransposeOptions")


def softmax(node: Node, emitter: Emitter) -> None:
    """Softmax over any axis: TFLite's is over the last."""
    rank = len(emitter.value(node.inputs[0]).shape)
    axis = node.attribute("axis", -1) % rank
    layout = emitter.layout(node.inputs[0])
    if layout.features or layout.axes[-1] != axis:
        layout = Layout((*(a for a in range(rank) if a != axis), axis))
    target = emitter.add(emitter.value(node.outputs[0]), layout)
    tensor = emitter.get(node.inputs[0], layout)
    emitter.emit("SOFTMAX", [tensor], target, "SoftmaxOptions", {"beta": 1.0})


HANDLERS: Mapping[str, Handler] = {
    "Add": binary("ADD", "AddOptions"),
    "AveragePool": average_pool,
    "Clip": clip,
    "Conv": conv,
    "DequantizeLinear": dequantize,
    "Flatten": reshape,
    "Gemm": gemm,
    "GlobalAveragePool": mean,
    "Identity": copy,
    "MatMul": matmul,
    "MaxPool": max_pool,
    "Mul": binary("MUL", "MulOptions"),
    "QuantizeLinear": quantize,
    "ReduceMean": mean,
    "Relu": relu,
    "Reshape": reshape,
    "Softmax": softmax,
    "Squeeze": reshape,
    "Transpose": transpose,
    "Unsqueeze": reshape,
}
# Operators that take whatever layout their input has: behind them the first convolution decides.
FOLLOWS_LAYOUT = frozenset({"Add", "Clip", "DequantizeLinear", "Identity", "Mul", "QuantizeLinear", "Relu"})
WANTS_CHANNELS_LAST = frozenset({"AveragePool", "Conv", "GlobalAveragePool", "MaxPool"})
