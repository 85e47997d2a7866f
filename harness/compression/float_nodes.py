"""Which nodes of a quantized model stay in float: by choice, by their operator, or by their tensors."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import onnx

from harness.compression.canonical import initializers
from harness.compression.weights import weight_layers

#: Operators whose second input is a weight that is quantized.
WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})


def unchosen(model: onnx.ModelProto, layers: Sequence[str], float_layers: Sequence[str]) -> set[str]:
    """Return the names of the nodes that stay float if only some layers are quantized.

    A node without weights is treated like the layers before it, or if there are none, the layers after it.

    Parameters
    ----------
    model : onnx.ModelProto
    layers : sequence of str
        Nodes with weights that are quantized; empty: all.
    float_layers : sequence of str
        Nodes with weights that are not quantized.

    Raises
    ------
    UsageError
        There is no such layer.
    """
    if not layers and not float_layers:
        return set()
    names = {layer.node.name for layer in weight_layers(model, layers, where="quantize.layers")}
    if float_layers:
        names -= {n.node.name for n in weight_layers(model, float_layers, where="quantize.float_layers")}
    constants = initializers(model)
    left = {
        node.name
        for node in model.graph.node
        if node.op_type in WEIGHTED and node.input[1] in constants and node.name not in names
    }
    nodes = list(model.graph.node)
    before = _nearest(nodes, "input", "output", left | names)
    after = _nearest(nodes[::-1], "output", "input", left | names)
    return left | {
        node.name
        for node in nodes
        if node.name not in names and (before[node.name] or after[node.name]) & left
    }


def _nearest(nodes: Sequence[onnx.NodeProto], from_: str, to: str, layers: set[str]) -> dict[str, set[str]]:
    """Return for each node the layers next to it in one direction, with no other layer between."""
    by_tensor: dict[str, set[str]] = {}
    by_node: dict[str, set[str]] = {}
    for node in nodes:
        by_node[node.name] = {layer for name in getattr(node, from_) for layer in by_tensor.get(name, ())}
        for name in getattr(node, to):
            reached = {node.name} if node.name in layers else by_node[node.name]
            by_tensor.setdefault(name, set()).update(reached)
    return by_node


def clips_away_from_zero(model: onnx.ModelProto) -> dict[str, str]:
    """Return the Clip nodes whose bounds integers cannot represent, and why: ONNX Runtime would drop them."""
    constants = initializers(model)
    reasons: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type != "Clip":
            continue
        low, high = (
            None if position >= len(node.input) or not node.input[position] else node.input[position]
            for position in (1, 2)
        )
        if any(name is not None and name not in constants for name in (low, high)):
            reasons[node.name] = "its bounds are computed by the model"
        elif (low is not None and constants[low] > 0) or (high is not None and constants[high] < 0):
            reasons[node.name] = "the range of an integer tensor contains zero, which its bounds exclude"
    return reasons


def around(model: onnx.ModelProto, tensors: Collection[str]) -> set[str]:
    """Return the names of the nodes that compute or read one of the tensors."""
    return {
        node.name for node in model.graph.node if any(name in tensors for name in (*node.input, *node.output))
    }


def activations_between(
    model: onnx.ModelProto, operators: Collection[str], left: Collection[str]
) -> set[str]:
    """Return the tensors at the nodes with these operators, without the nodes that are left in float."""
    return {
        name
        for node in model.graph.node
        if node.op_type in operators and node.name not in left
        for name in (*node.input, *node.output)
    }
