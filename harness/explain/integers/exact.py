"""What integer layers compute before they round, in exact arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from harness.compression.canonical import attribute
from harness.explain.files.graph import FUSED, PRODUCTS, Graph, Point, read_by
from harness.explain.operators import referee

Real = NDArray[np.float64]


@dataclass(frozen=True)
class Exact:
    """A layer's result before it is rounded, in steps of its scale; all samples of one shape.

    Parameters
    ----------
    steps : ndarray of float64
        Without the zero point.
    zero_point : int
    sums : ndarray of float64, optional
        Of the products of integers, before an activation; None where the layer does not multiply.
    factor : ndarray of float64, optional
        Steps of a sum of 1, broadcast to the shape of `sums`.
    """

    steps: Real
    zero_point: int
    sums: Real | None = None
    factor: Real | None = None


def exact_result(
    graph: Graph, point: Point, tensors: Mapping[str, NDArray[np.generic]], call: int
) -> Exact | None:
    """Compute a layer from the integers that it reads; None where it is none of integers.

    Parameters
    ----------
    graph : Graph
        A model with QuantizeLinear and DequantizeLinear.
    point : Point
        An integer one.
    tensors : mapping of name to ndarray, shape (calls, …)
        Integers of the points before, and inputs of the model.
    call : int

    Raises
    ------
    ModelError
        ONNX's reference implementation cannot run it.
    """
    quantizer = graph.maker[point.name]
    if quantizer.op_type != "QuantizeLinear" or point.step is None:
        return None
    leaves: dict[str, Real] = {}
    nodes: list[onnx.NodeProto] = []
    waiting, seen = [quantizer.input[0]], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen or name in graph.initializers:
            continue
        seen.add(name)
        node = graph.maker.get(name)
        if node is None:
            if name not in tensors:
                return None
            leaves[name] = tensors[name][call].astype(np.float64)  # an input of the model
        elif node.op_type == "DequantizeLinear":
            real = _dequantized(graph, node, tensors, call)
            if real is None:
                return None
            leaves[name] = real
        elif node not in nodes:
            nodes.append(node)
            waiting += read_by(node)
    if not nodes:
        return Exact(leaves[quantizer.input[0]] / point.step.scale, point.step.zero_point)
    order = [node for node in graph.model.graph.node if node in nodes]
    product = _product(order, graph)
    wanted = [quantizer.input[0], *([product.output[0]] if product is not None else [])]
    results = [referee.run(_model(graph, order, leaves, name), leaves) for name in dict.fromkeys(wanted)]
    scale = point.step.scale
    factor = None if product is None else _factor(graph, product, leaves, results[-1], scale)
    if factor is None or product is None:
        return Exact(results[0] / scale, point.step.zero_point)
    return Exact(results[0] / scale, point.step.zero_point, np.rint(results[-1] / scale / factor), factor)


def _dequantized(
    graph: Graph, node: onnx.NodeProto, tensors: Mapping[str, NDArray[np.generic]], call: int
) -> Real | None:
    name = node.input[0]
    scale = graph.constant(node.input[1])
    zero = graph.zero_point(node)
    codes = graph.constant(name) if name in graph.constants else _codes(graph, name, tensors, call)
    if scale is None or zero is None or codes is None or codes.dtype.kind not in "iu":
        return None
    if scale.size > 1:
        axis = attribute(node, "axis", 1)
        shape = [1] * codes.ndim
        shape[axis] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return np.asarray((codes.astype(np.float64) - zero) * scale.astype(np.float64))


def _codes(
    graph: Graph, name: str, tensors: Mapping[str, NDArray[np.generic]], call: int
) -> NDArray[np.generic] | None:
    """Integers of a point; those of an input of the model are computed as ONNX Runtime does."""
    if name in tensors:
        return np.asarray(tensors[name][call])
    node = graph.maker.get(name)
    if node is None or node.op_type != "QuantizeLinear" or node.input[0] not in tensors:
        return None
    step, zero = graph.step(node), graph.zero_point(node)
    if step is None or zero is None:
        return None
    limits = np.iinfo(zero.dtype)
    steps = np.rint(tensors[node.input[0]][call] / np.float32(step.scale)) + step.zero_point
    return np.asarray(np.clip(steps, limits.min, limits.max).astype(zero.dtype))


def _product(nodes: list[onnx.NodeProto], graph: Graph) -> onnx.NodeProto | None:
    """The one product of a layer, if nothing but an activation comes after it."""
    products = [node for node in nodes if node.op_type in PRODUCTS]
    others = [node for node in nodes if node.op_type not in (*PRODUCTS, *FUSED, "Reshape", "Flatten")]
    return products[0] if len(products) == 1 and not others else None


def _model(
    graph: Graph, nodes: list[onnx.NodeProto], leaves: Mapping[str, Real], output: str
) -> onnx.ModelProto:
    read = {name for node in nodes for name in read_by(node)}
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes, "layer",
        [value(name, TensorProto.DOUBLE, real.shape) for name, real in leaves.items()],
        [value(output, TensorProto.DOUBLE, None)],
        [tensor for name, tensor in graph.initializers.items() if name in read],
    )  # fmt: skip
    return helper.make_model(
        made, opset_imports=list(graph.model.opset_import), ir_version=graph.model.ir_version
    )


def _factor(
    graph: Graph, node: onnx.NodeProto, leaves: Mapping[str, Real], result: Real, scale: float
) -> Real | None:
    """Scale of the input times that of the weight, over that of the result, along the result's channels."""
    readers = [graph.maker.get(name) for name in node.input[:2]]
    if any(reader is None or reader.op_type != "DequantizeLinear" for reader in readers):
        return None
    of_input, of_weight = (
        np.asarray(graph.constant(reader.input[1]), np.float64) for reader in readers if reader is not None
    )
    if of_input.size != 1:
        return None
    shape = [1] * result.ndim
    if of_weight.size > 1:
        axis = 1 if node.op_type != "MatMul" else result.ndim - 1
        if result.shape[axis] != of_weight.size:
            return None
        shape[axis] = -1
    return np.broadcast_to((of_input.reshape(()) * of_weight).reshape(shape) / scale, result.shape)
