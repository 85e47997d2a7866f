"""Handlers of elementwise operators on one tensor or on several that broadcast."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from harness.compression.export.emitter import Emitter
from harness.compression.export.graph import bounds
from harness.compression.export.layout import Layout, plain
from harness.compression.export.parts import Node

Handler = Callable[[Node, Emitter], None]
# erf(x) = x · P(x²) / Q(x²) on [-4, 4] to 1e-7, highest power first: the rational approximation of Eigen's
# generic_fast_erf_float, which TensorFlow uses.
_ERF_NUMERATOR = (
    -2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
    -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02,
)  # fmt: skip
_ERF_DENOMINATOR = (
    -1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
    -1.42647390514189e-02,
)  # fmt: skip


def operands(node: Node, emitter: Emitter) -> tuple[list[int], Layout]:
    """Return the tensors of operands that broadcast in a common layout, and that layout."""
    rank = len(emitter.value(node.outputs[0]).shape)
    computed = [name for name in node.inputs if emitter.data(name) is None]
    layouts = [emitter.layout(name) for name in computed]
    layout = next((other for other in layouts if not other.plain), plain(rank))
    if any(len(emitter.value(name).shape) != rank for name in computed):
        layout = plain(rank)  # an operand of a lower rank broadcasts along ONNX's last axis
    if layout.features and any(emitter.value(name).shape[-1] == 1 for name in computed):
        layout = plain(rank)
    tensors = []
    for name in node.inputs:
        value = emitter.value(name)
        if value.data is not None:
            tensors.append(emitter.constant(name, layout.arrange(value.data), value.quantization))
        else:
            tensors.append(emitter.get(name, layout if len(value.shape) == rank else plain(len(value.shape))))
    return tensors, layout


def binary(kind: str) -> Handler:
    """Return the handler of an operator on two tensors that broadcast, with a fused activation."""

    def handle(node: Node, emitter: Emitter) -> None:
        tensors, layout = operands(node, emitter)
        target = emitter.add(emitter.value(node.outputs[0]), layout)
        emitter.emit(kind, tensors, target, {"fusedActivationFunction": node.activation})

    return handle


def power(node: Node, emitter: Emitter) -> None:
    """Pow."""
    if len({emitter.value(name).dtype for name in node.inputs}) > 1:
        node.refuse("base and exponent differ in dtype")
    tensors, layout = operands(node, emitter)
    emitter.emit("POW", tensors, emitter.add(emitter.value(node.outputs[0]), layout))


def extreme(kind: str) -> Handler:
    """Return the handler of Max or Min of any number of tensors."""

    def handle(node: Node, emitter: Emitter) -> None:
        tensors, layout = operands(node, emitter)
        result = emitter.value(node.outputs[0])
        first, *others = tensors
        if not others:
            emitter.emit(kind, [first, first], emitter.add(result, layout))
            return
        for tensor in others[:-1]:
            first = emitter.apply(kind, [first, tensor], layout.shape(result.shape), like=result)
        emitter.emit(kind, [first, others[-1]], emitter.add(result, layout))

    return handle


def unary(kind: str, settings: dict[str, object] | None = None) -> Handler:
    """Return the handler of an operator on one tensor."""

    def handle(node: Node, emitter: Emitter) -> None:
        tensor, layout = emitter.get(node.inputs[0]), emitter.layout(node.inputs[0])
        emitter.emit(kind, [tensor], emitter.add(emitter.value(node.outputs[0]), layout), settings)

    return handle


def clip(node: Node, emitter: Emitter) -> None:
    """Clip to constant bounds."""
    low, high = bounds(node, emitter.graph.values)
    kind = {(0.0, np.inf): "RELU", (0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}.get((low, high))
    if kind:
        unary(kind)(node, emitter)
        return
    source, result = emitter.value(node.inputs[0]), emitter.value(node.outputs[0])
    layout = emitter.layout(node.inputs[0])
    tensor = emitter.get(node.inputs[0])
    steps = [(k, b) for k, b in (("MAXIMUM", low), ("MINIMUM", high)) if np.isfinite(b)]
    for index, (kind, bound) in enumerate(steps):
        limit = np.full((1,) * len(result.shape), bound, np.float32)
        if source.quantization:
            limit = source.quantization.quantize(limit)
        tensors = [tensor, emitter.constant(f"{node.name}/bound", limit, source.quantization)]
        if index == len(steps) - 1:
            emitter.emit_keeping_scale(kind, tensors, node, layout)
        else:
            tensor = emitter.temporary(f"{node.name}/clipped", layout.shape(result.shape), source)
            emitter.emit(kind, tensors, tensor)
    if not steps:
        copy(node, emitter)


def leaky_relu(node: Node, emitter: Emitter) -> None:
    """LeakyRelu."""
    unary("LEAKY_RELU", {"alpha": node.attribute("alpha", 0.01)})(node, emitter)


def elu(node: Node, emitter: Emitter) -> None:
    """Elu; TFLite's has the slope 1."""
    if node.attribute("alpha", 1.0) != 1.0:
        node.refuse("only alpha = 1 is known")
    unary("ELU")(node, emitter)


def prelu(node: Node, emitter: Emitter) -> None:
    """PRelu with a constant slope, one for all or one a channel."""
    if emitter.data(node.inputs[1]) is None:
        node.refuse("its slope is computed by the model")
    tensors, layout = operands(node, emitter)
    emitter.emit("PRELU", tensors, emitter.add(emitter.value(node.outputs[0]), layout))


def gelu(node: Node, emitter: Emitter) -> None:
    """Gelu, exact or by tanh."""
    unary("GELU", {"approximate": node.attribute("approximate", "none") == "tanh"})(node, emitter)


def hard_sigmoid(node: Node, emitter: Emitter) -> None:
    """HardSigmoid: min(max(alpha · x + beta, 0), 1)."""
    tensor, layout = emitter.get(node.inputs[0]), emitter.layout(node.inputs[0])
    result = emitter.value(node.outputs[0])
    shape = layout.shape(result.shape)
    alpha, beta, one = (
        _number(emitter, node, value)
        for value in (node.attribute("alpha", 0.2), node.attribute("beta", 0.5), 1.0)
    )
    scaled = emitter.apply("MUL", [tensor, alpha], shape)
    raised = emitter.apply("ADD", [scaled, beta], shape, {"fusedActivationFunction": "RELU"})
    emitter.emit("MINIMUM", [raised, one], emitter.add(result, layout))


def reciprocal(node: Node, emitter: Emitter) -> None:
    """Reciprocal."""
    tensor, layout = emitter.get(node.inputs[0]), emitter.layout(node.inputs[0])
    target = emitter.add(emitter.value(node.outputs[0]), layout)
    emitter.emit("DIV", [_number(emitter, node, 1.0), tensor], target)


def erf(node: Node, emitter: Emitter) -> None:
    """Erf that is not part of a Gelu, by a rational approximation: TFLite has no operator for it."""
    tensor, layout = emitter.get(node.inputs[0]), emitter.layout(node.inputs[0])
    result = emitter.value(node.outputs[0])
    shape = layout.shape(result.shape)

    def step(kind: str, *operand: int | float) -> int:
        tensors = [item if isinstance(item, int) else _number(emitter, node, item) for item in operand]
        return emitter.apply(kind, tensors, shape)

    def polynomial(coefficients: Sequence[float]) -> int:
        total = step("ADD", step("MUL", square, coefficients[0]), coefficients[1])
        for coefficient in coefficients[2:]:
            total = step("ADD", step("MUL", total, square), coefficient)
        return total

    clamped = step("MINIMUM", step("MAXIMUM", tensor, -4.0), 4.0)
    square = step("MUL", clamped, clamped)
    numerator = step("MUL", clamped, polynomial(_ERF_NUMERATOR))
    emitter.emit("DIV", [numerator, polynomial(_ERF_DENOMINATOR)], emitter.add(result, layout))


def _number(emitter: Emitter, node: Node, number: float) -> int:
    return emitter.constant(f"{node.name}/{number:g}", np.array(number, np.float32))


def cast(node: Node, emitter: Emitter) -> None:
    """Cast between the dtypes that ONNX and TFLite share."""
    tensor, layout = emitter.get(node.inputs[0]), emitter.layout(node.inputs[0])
    source, result = emitter.value(node.inputs[0]), emitter.value(node.outputs[0])
    shared = {np.dtype(t) for t in (np.float32, np.int32, np.int64, np.bool_, np.uint8, np.int8)}
    if not {source.dtype, result.dtype} <= shared:
        node.refuse(f"from {source.dtype} to {result.dtype}")
    names = {"inDataType": source.dtype.name.upper(), "outDataType": result.dtype.name.upper()}
    emitter.emit("CAST", [tensor], emitter.add(result, layout), names)


def quantize(node: Node, emitter: Emitter) -> None:
    """QuantizeLinear of a float, or of integers with another scale."""
    tensor, layout = emitter.get(node.inputs[0]), emitter.layout(node.inputs[0])
    version = 2 if emitter.value(node.inputs[0]).quantization else 1
    target = emitter.add(emitter.value(node.outputs[0]), layout)
    emitter.emit("QUANTIZE", [tensor], target, version=version)


def dequantize(node: Node, emitter: Emitter) -> None:
    """DequantizeLinear of a computed value; an output is converted to ONNX's layout while it is int8."""
    layout = emitter.layout(node.inputs[0])
    if layout.features and node.outputs[0] in emitter.graph.outputs:
        layout = plain(len(layout.axes))
    tensor = emitter.get(node.inputs[0], layout)
    result = emitter.add(emitter.value(node.outputs[0]), layout)
    emitter.emit("DEQUANTIZE", [tensor], result)


def copy(node: Node, emitter: Emitter) -> None:
    """Identity whose result is an output of the model: a RESHAPE to the same shape, as TFLite has none."""
    result, layout = emitter.value(node.outputs[0]), emitter.layout(node.inputs[0])
    emitter.reshape(
        emitter.get(node.inputs[0]), layout.shape(result.shape), result, emitter.add(result, layout)
    )
