"""Layers of a quantized ONNX file that add products of bytes, and what they give where such sums overflow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from harness.compression.canonical import attribute
from harness.compression.saturation import overflowing
from harness.core.artifact import Quantization
from harness.explain.files.graph import Graph, node_name
from harness.explain.integers.sums import Way
from harness.explain.operators.windows import by_filter, filters, windows

Real = NDArray[np.float64]
#: Rows of the product that are computed as a CPU would, those that differ most.
ROWS = 64
#: Quantized layers as one operator, as other tools write them.
INTEGER = frozenset({"QLinearConv", "QLinearMatMul"})
#: A code differs by rounding.
ROUNDING = 1.01


@dataclass(frozen=True, slots=True)
class Product:
    """A quantized layer that adds products.

    Parameters
    ----------
    node : NodeProto
    source, result : str
        Names of the integers that it reads and gives.
    weights : ndarray, shape (filters, k) or (filters, channels, rows, columns)
        Codes.
    is_transposed : bool
        In the file the weights are.
    scale : ndarray
        Of input times weight, for each filter.
    bias : ndarray
        Real numbers.
    input_step, step : Quantization
    low, high : float
        Bounds of an activation after it.
    input_dtype, dtype : dtype
        Of input and result.
    """

    node: onnx.NodeProto
    source: str
    result: str
    weights: NDArray[Any]
    is_transposed: bool
    scale: Real
    bias: Real
    input_step: Quantization
    step: Quantization
    low: float
    high: float
    input_dtype: np.dtype[Any]
    dtype: np.dtype[Any]

    def can(self, way: Way) -> bool:
        """Whether two of its weights can overflow."""
        if way.wraps:  # only -128 by -128, twice
            return bool(self.input_dtype == np.int8 and (self.weights == -128).any())
        return bool(overflowing(self.weights, 0).any())

    @property
    def name(self) -> str:
        """Of the node."""
        return node_name(self.node)

    def safe(self, way: Way) -> tuple[NDArray[Any], float]:
        """Weights that cannot overflow, as they are in the file, and the factor of their scale."""
        codes = self.weights.T if self.is_transposed else self.weights
        if way.wraps:
            return np.maximum(codes, -127), 1.0
        return np.ascontiguousarray(np.rint(codes.astype(np.float64) / 2).astype(np.int8)), 2.0

    def explains(self, x: NDArray[Any], seen: NDArray[Any], way: Way) -> bool:
        """Whether the codes that a CPU gave are those of such sums, and not those of exact ones.

        Parameters
        ----------
        x, seen : ndarray
            Codes of input and result of one call.
        """
        parts = windows(x, self.node, self.weights.shape, self.input_step.zero_point)
        if parts is None:
            return False
        weights = filters(self.weights, len(parts))
        codes = by_filter(seen, is_image=self.weights.ndim == 4).astype(np.float64)
        if codes.shape != (len(parts[0]), len(self.weights)):
            return False
        exact = [
            part.astype(np.float64) @ some.T.astype(np.float64)
            for part, some in zip(parts, weights, strict=True)
        ]
        wrong = np.abs(codes - self._codes(exact, weights))
        worst = np.argsort(-wrong.max(axis=1), kind="stable")[:ROWS]
        if not (wrong[worst] > ROUNDING).any():
            return False
        sums = [
            way.sums(part[worst].astype(np.int32), some.astype(np.int32)).astype(np.float64)
            for part, some in zip(parts, weights, strict=True)
        ]
        left = np.abs(codes[worst] - self._codes(sums, weights))
        before = np.maximum(wrong[worst] - ROUNDING, 0.0)
        return bool(np.linalg.norm(np.maximum(left - ROUNDING, 0.0)) <= 0.1 * np.linalg.norm(before))

    def _codes(self, sums: Sequence[Real], weights: Sequence[NDArray[Any]]) -> Real:
        """Codes of the result, from sums of raw codes of each group."""
        offsets = [self.input_step.zero_point * some.sum(axis=1, dtype=np.int64) for some in weights]
        exact = np.concatenate([part - offset for part, offset in zip(sums, offsets, strict=True)], axis=1)
        real = np.clip(exact * self.scale + self.bias, self.low, self.high)
        ends = np.iinfo(self.dtype)
        return np.asarray(np.clip(np.rint(real / self.step.scale) + self.step.zero_point, ends.min, ends.max))


def products(graph: Graph) -> list[Product]:
    """Quantized layers of a file that add products of 8-bit numbers, but for depthwise ones, in order."""
    listed = [
        _of_integers(graph, node) if node.op_type in INTEGER else _product(graph, node)
        for node in graph.model.graph.node
    ]
    return [one for one in listed if one is not None]


def _of_integers(graph: Graph, node: onnx.NodeProto) -> Product | None:
    """A layer that other tools write as one operator of integers: x, scale, zero point, w, …, y, …, bias."""
    constants = [graph.constant(name) if name else None for name in node.input]
    centre, bias = constants[5], constants[8] if len(constants) > 8 else np.zeros(1)
    given = [one for one in (*constants[1:5], *constants[6:8], bias) if one is not None]
    if len(given) < 7:
        return None
    x_scale, x_zero, codes, scale, y_scale, y_zero, bias = given
    if codes.dtype != np.int8 or not _adds(codes) or (centre is not None and centre.any()):
        return None
    is_transposed = node.op_type == "QLinearMatMul"
    steps = [
        Quantization(float(step.reshape(-1)[0]), int(zero.reshape(-1)[0]))
        for step, zero in ((x_scale, x_zero), (y_scale, y_zero))
    ]
    scales = scale.astype(np.float64).reshape(-1) * steps[0].scale
    return Product(
        node, node.input[0], node.output[0], codes.T if is_transposed else codes, is_transposed, scales,
        bias.reshape(-1) * scales, steps[0], steps[1], -np.inf, np.inf, x_zero.dtype, y_zero.dtype,
    )  # fmt: skip


def _product(graph: Graph, node: onnx.NodeProto) -> Product | None:
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return None
    source, weight = (graph.maker.get(name) for name in node.input[:2])
    result = _result(graph, node)
    if result is None or any(x is None or x.op_type != "DequantizeLinear" for x in (source, weight)):
        return None
    assert source is not None
    assert weight is not None
    quantizer, low, high = result
    codes, scale = (graph.constant(name) for name in weight.input[:2])
    centre = graph.zero_point(weight)
    steps = graph.step(source), graph.step(quantizer)
    has_bias = len(node.input) > 2 and bool(node.input[2])
    bias: Real | None = _real(graph, node.input[2]) if has_bias else np.zeros(1)
    if codes is None or scale is None or bias is None or steps[0] is None or steps[1] is None:
        return None
    if codes.dtype != np.int8 or not _adds(codes) or (centre is not None and centre.any()):
        return None
    is_transposed = node.op_type == "MatMul" or (node.op_type == "Gemm" and not attribute(node, "transB", 0))
    scales = scale.astype(np.float64).reshape(-1) * steps[0].scale
    return Product(
        node, source.input[0], quantizer.output[0], codes.T if is_transposed else codes, is_transposed,
        scales, bias.reshape(-1), steps[0], steps[1], low, high,
        _dtype(graph, source), _dtype(graph, quantizer),
    )  # fmt: skip


def _adds(codes: NDArray[Any]) -> bool:
    """Whether kernels add products of these weights in pairs: those of depthwise ones do not."""
    return codes.ndim == 2 or (codes.ndim == 4 and codes.shape[1] > 1)


def _dtype(graph: Graph, reader: onnx.NodeProto) -> np.dtype[Any]:
    """Type of the integers of a (De)QuantizeLinear; without a zero point they are uint8."""
    zero = graph.zero_point(reader)
    return np.dtype(np.uint8) if zero is None else zero.dtype


def _result(graph: Graph, node: onnx.NodeProto) -> tuple[onnx.NodeProto, float, float] | None:
    """The quantizer of a node's result, and the bounds of an activation between."""
    low, high = -np.inf, np.inf
    for _ in range(2):
        readers = graph.readers[node.output[0]]
        if len(readers) != 1:
            return None
        (node,) = readers
        if node.op_type == "QuantizeLinear":
            return node, low, high
        if node.op_type == "Relu":
            low = 0.0
        elif node.op_type == "Clip":
            ends = [graph.constant(name) if name else None for name in [*node.input[1:], "", ""][:2]]
            low = -np.inf if ends[0] is None else float(ends[0])
            high = np.inf if ends[1] is None else float(ends[1])
        else:
            return None
    return None


def _real(graph: Graph, name: str) -> Real | None:
    """Real numbers of a constant, quantized or not."""
    reader = graph.maker.get(name)
    if reader is None or reader.op_type != "DequantizeLinear":
        constant = graph.constant(name)
        return None if constant is None else constant.astype(np.float64)
    codes, scale = (graph.constant(one) for one in reader.input[:2])
    return None if codes is None or scale is None else codes.astype(np.float64) * scale
