"""Outputs that join values of different size: a detector's boxes in pixels and its scores in one tensor.

The branches of a quantized Concat share one scale. Boxes of up to 640 pixels leave steps of 2.5, so that
every score below 1.25 becomes 0 and the model detects nothing. Where a Concat is the end of a model, it and
what computes its branches after the last layers with weights stay in float: that is little arithmetic, and
boxes keep their fractions of a pixel. Known as ultralytics#22644, onnxruntime#14233 and onnx2tf#244.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx

from harness.compression.calibration import Range
from harness.compression.canonical import initializers
from harness.compression.float_nodes import WEIGHTED

#: A branch that uses fewer of the 255 steps of the common scale has too few.
FEWEST_STEPS = 16
#: Operators between a Concat and an output that leave its values as they are.
_MOVES = frozenset({"Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"})


@dataclass(frozen=True, slots=True)
class Joined:
    """What stays in float.

    Parameters
    ----------
    nodes : frozenset of str
        Names of all nodes.
    reasons : mapping of str to str
        Name of each Concat to the reason.
    """

    nodes: frozenset[str]
    reasons: Mapping[str, str]


def joined_outputs(model: onnx.ModelProto, ranges: Mapping[str, Range]) -> Joined:
    """Find the Concats before outputs whose branches differ too much for one scale.

    Parameters
    ----------
    model : onnx.ModelProto
        Canonical float model.
    ranges : mapping
        Tensor name to its calibrated (low, high).
    """
    constants = initializers(model)
    producers = {name: node for node in model.graph.node for name in node.output}
    nodes: set[str] = set()
    reasons: dict[str, str] = {}
    for output in model.graph.output:
        node, after = producers.get(output.name), []
        while node is not None and node.op_type in _MOVES:
            after.append(node.name)
            node = producers.get(node.input[0])
        if node is None or node.op_type != "Concat":
            continue
        sizes = {name: _span(ranges[name]) for name in node.input if name in ranges and name not in constants}
        largest = max(sizes, key=lambda name: sizes[name], default="")
        coarse = {name: size for name, size in sizes.items() if 255 * size < FEWEST_STEPS * sizes[largest]}
        if not coarse:
            continue
        before = {one.name for one in _computing(node, producers)}
        nodes |= {node.name, *after, *before}
        few = "; ".join(
            f"{name}, up to {ranges[name][1]:.3g}, would have {255 * size / sizes[largest]:.1f} of 255 steps"
            for name, size in coarse.items()
        )
        reasons[node.name] = (
            f"its branches would share one scale with {largest}, up to {ranges[largest][1]:.3g}: {few}; what "
            "computes them after the last layers with weights stays in float, too"
        )
    return Joined(frozenset(nodes), reasons)


def _span(limits: Range) -> float:
    low, high = limits
    return max(high, 0.0) - min(low, 0.0)


def _computing(node: onnx.NodeProto, producers: Mapping[str, onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield the nodes that compute what a node reads, back to the layers with weights, without those."""
    waiting, seen = list(node.input), set[str]()
    while waiting:
        name = waiting.pop()
        maker = producers.get(name)
        if name in seen or maker is None or maker.op_type in WEIGHTED:
            continue
        seen.add(name)
        yield maker
        waiting += maker.input
