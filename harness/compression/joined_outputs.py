"""Concats that join values of different size: a detector's boxes in pixels and its scores in one tensor.

The branches of a quantized Concat share one scale. Boxes of up to 640 pixels leave steps of 2.5, so that
every score below 1.25 becomes 0 and the model detects nothing. Where no layer with weights follows a Concat,
it, what follows it and what computes its branches after the last layers with weights stay in float: that is
little arithmetic, and boxes keep their fractions of a pixel. In the middle of a model, where a layer makes a
small branch count or not, the effect of the common scale decides (`harness.compression.resolution`). Known as
ultralytics#22644, onnxruntime#14233 and onnx2tf#244.
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
    """Find the Concats without a layer behind them whose branches differ too much for one scale.

    Parameters
    ----------
    model : onnx.ModelProto
        Canonical float model.
    ranges : mapping
        Tensor name to its calibrated (low, high).
    """
    producers = {name: node for node in model.graph.node for name in node.output}
    nodes: set[str] = set()
    reasons: dict[str, str] = {}
    for node, text in _uneven(model, ranges):
        after, is_end = _reading(node, model)
        if is_end:
            nodes |= {node.name, *after, *(one.name for one in _computing(node, producers))}
            too = "what computes them after the last layers with weights stays in float, too"
            reasons[node.name] = f"its branches would share one scale with {text}; {too}"
    return Joined(frozenset(nodes), reasons)


def joined_by(model: onnx.ModelProto, ranges: Mapping[str, Range]) -> dict[str, str]:
    """Return the tensors that share a scale by a Concat which is too coarse for some, and what is shared.

    For those in the middle of a model, which `harness.compression.resolution` judges by their effect.
    """
    return {
        name: f"the Concat {node.name} gives its branches one scale with {text}"
        for node, text in _uneven(model, ranges)
        for name in (*node.input, *node.output)
    }


def _uneven(model: onnx.ModelProto, ranges: Mapping[str, Range]) -> Iterator[tuple[onnx.NodeProto, str]]:
    """Yield the Concats whose branches differ too much, and how much."""
    constants = initializers(model)
    for node in model.graph.node:
        if node.op_type != "Concat":
            continue
        sizes = {name: _span(ranges[name]) for name in node.input if name in ranges and name not in constants}
        largest = max(sizes, key=lambda name: sizes[name], default="")
        coarse = {name: size for name, size in sizes.items() if 255 * size < FEWEST_STEPS * sizes[largest]}
        few = "; ".join(
            f"{name}, up to {ranges[name][1]:.3g}, would have {255 * size / sizes[largest]:.1f} of 255 steps"
            for name, size in coarse.items()
        )
        if coarse:
            yield node, f"{largest}, up to {ranges[largest][1]:.3g}: {few}"


def _reading(node: onnx.NodeProto, model: onnx.ModelProto) -> tuple[list[str], bool]:
    """Return the nodes behind a node up to the next layers with weights, and whether they reach an output."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for one in model.graph.node:
        for name in one.input:
            readers.setdefault(name, []).append(one)
    outputs = {value.name for value in model.graph.output}
    waiting, after, is_end = [*node.output], dict[str, None](), False
    while waiting:
        name = waiting.pop()
        is_end |= name in outputs
        for reader in readers.get(name, []):
            if reader.op_type not in WEIGHTED and reader.name not in after:
                after[reader.name] = None
                waiting += reader.output
    return list(after), is_end


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
