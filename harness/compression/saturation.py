"""Which int8 weights overflow 16 bits on some CPU, and the smallest scale that prevents it.

On x86 without VNNI (AVX2), kernels multiply unsigned activations with signed weights and add two products in
16 saturating bits (``vpmaddubsw``). Any activation can be 255, because values beyond the calibrated range are
clamped to it. Signed activations are shifted by 128 first and use the same instruction. So a filter is safe
if no two of its weights sum to more than 128: 255 · 128 < 2^15. Which two are added depends on how a kernel
packs them, so every pair is considered. A depthwise convolution has no such sum: ONNX Runtime and OpenVINO
multiply it in 32 bits.

On ARM without dotprod (Cortex-A53, A72), kernels add two s8×s8 products in 16 wrapping bits. Only
-128 · -128 twice overflows there, and symmetric weights end at -127.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from harness.compression.canonical import Array, attribute

LARGEST = 127
_MOST_PAIR = 128


#: Operators of quantized tensors: position of the weights.
_WEIGHTS_AT: Mapping[str, int] = {
    "ConvInteger": 1, "MatMulInteger": 1, "QGemm": 3, "QLinearConv": 3, "QLinearMatMul": 3,
}  # fmt: skip
#: Operators that give quantized tensors: position of the zero point of the output; None: always uint8.
_GIVES: Mapping[str, int | None] = {
    "DynamicQuantizeLinear": None, "QGemm": 8, "QLinearConv": 7, "QLinearMatMul": 7, "QuantizeLinear": 2,
}  # fmt: skip
#: Operators that keep the type of their first input.
_KEEP = frozenset({"Flatten", "MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


def sums_in_16_bits(node: onnx.NodeProto, weights: Array) -> bool:
    """Whether kernels add products of this operator in pairs: true except for depthwise convolutions."""
    group = attribute(node, "group", 1)
    return not ("Conv" in node.op_type and group > 1 and weights.shape[:2] == (group, 1))


def largest_pairs(weights: Array, axis: int) -> Array:
    """Return the largest magnitude of the sum of two weights of each filter.

    Parameters
    ----------
    weights : ndarray
        Integers or reals.
    axis : int
        Axis of the filters.

    Returns
    -------
    ndarray, shape (filters,), float64
        At least the largest single magnitude: kernels pad filters with zeros.
    """
    filters = np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1).astype(np.float64)
    filters = np.pad(filters, ((0, 0), (0, 2)))
    highest = np.partition(filters, -2, axis=1)[:, -2:].sum(axis=1)
    lowest = np.partition(filters, 1, axis=1)[:, :2].sum(axis=1)
    return np.asarray(np.maximum(highest, -lowest))


def overflowing(integers: Array, axis: int) -> Array:
    """Return whether each filter can overflow 16 bits, shape (filters,), bool."""
    return largest_pairs(integers, axis) > _MOST_PAIR


def portable_bounds(weights: Array, axis: int, bounds: Array) -> Array:
    """Widen the range of the filters that overflow.

    Parameters
    ----------
    weights : ndarray, float32
    axis : int
        Axis of the filters.
    bounds : ndarray, shape (filters,)
        The real value that 127 represents.

    Returns
    -------
    ndarray, shape (filters,)
        If 127 represents the sum of the largest pair, two rounded weights sum to at most 128.
    """
    shape = [-1 if position == axis else 1 for position in range(weights.ndim)]
    integers = np.rint(weights * (LARGEST / bounds.astype(np.float64)).reshape(shape))
    widened = np.maximum(bounds, largest_pairs(weights, axis))
    return np.where(overflowing(integers, axis), widened, bounds)


def saturating(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the operators of 8-bit activations and signed weights that can overflow 16 bits.

    Signed activations as well: ONNX Runtime shifts them by 128. Weights that are computed, or lie in a file
    of their own, count as such that can.

    Returns
    -------
    tuple of str
        Name of each node, or of its output.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    producers = {name: node for node in graph.node for name in node.output}

    def kind(name: str) -> int:
        """Type of a quantized tensor; a zero point that is absent stands for uint8."""
        if name in constants:
            return int(constants[name].data_type)
        node = producers.get(name)
        if node is not None and node.op_type in _KEEP:
            return kind(node.input[0])
        if node is None or node.op_type not in _GIVES:
            return next((v.type.tensor_type.elem_type for v in graph.input if v.name == name), 0)
        zero_at = _GIVES[node.op_type]
        zero = [*node.input, *[""] * 9][zero_at] if zero_at is not None else ""
        return int(constants[zero].data_type if zero in constants else onnx.TensorProto.UINT8)

    names = []
    for node in graph.node:
        operands = _operands(node, producers)
        if operands is None or kind(operands[0]) not in (onnx.TensorProto.UINT8, onnx.TensorProto.INT8):
            continue
        weights = constants.get(operands[1])
        if kind(operands[1]) != onnx.TensorProto.INT8:
            continue
        if weights is not None and weights.data_location != onnx.TensorProto.EXTERNAL:
            integers = numpy_helper.to_array(weights)
            # Filters of a product lie on its last axis, unless it is transposed.
            axis = 0 if "Conv" in node.op_type or attribute(node, "transB", 0) else integers.ndim - 1
            if not sums_in_16_bits(node, integers) or not overflowing(integers, axis).any():
                continue
        names.append(node.name or node.output[0])
    return tuple(names)


def _operands(node: onnx.NodeProto, producers: Mapping[str, onnx.NodeProto]) -> tuple[str, str] | None:
    """Return the names of the quantized activations and weights of an operator; None for another one."""
    if node.op_type in _WEIGHTS_AT:
        return node.input[0], node.input[_WEIGHTS_AT[node.op_type]]
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return None
    steps = [producers.get(name) for name in node.input[:2]]
    if any(step is None or step.op_type != "DequantizeLinear" for step in steps):
        return None
    activations, weights = (step.input[0] for step in steps if step is not None)
    return activations, weights
