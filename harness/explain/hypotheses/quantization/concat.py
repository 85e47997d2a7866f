"""A Concat whose branches have one scale, of which the small ones use few steps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from harness.compression.float_nodes import WEIGHTED
from harness.explain.files.graph import Graph, node_name
from harness.explain.hypotheses.quantization.quantized import OfQuantization, Place, Quantized
from harness.explain.hypotheses.quantization.ranges import USED
from harness.explain.integers.requantize import unrounded

#: Operators whose results still have the channels of each branch.
KEEPING = frozenset({
    "QuantizeLinear", "DequantizeLinear", "AveragePool", "MaxPool", "GlobalAveragePool", "GlobalMaxPool",
    "ReduceMean", "Relu", "Clip", "LeakyRelu", "Flatten", "Reshape", "Transpose", "Squeeze", "Resize", "Pad",
})  # fmt: skip


class SharedScale(OfQuantization):
    """The scale that all branches of a Concat share is too coarse for one of them."""

    name = "shared scale of a Concat"
    absent = "every branch of every Concat uses its scale"
    says = "one scale for branches of different size"
    changed = "the Concat and what reads it in float"
    remedy = "keep the Concat and the layers that read it in float"

    def fix(self, quantized: Quantized, model: onnx.ModelProto) -> Iterator[Place]:
        """Leave out the rounding of the branches and of the result."""
        graph = quantized.graph
        values = {
            pair.other.name: (pair.other.layer, quantized.real[pair.reference.name])
            for pair in quantized.pairs
        }
        for node in graph.model.graph.node:
            if node.op_type != "Concat":
                continue
            branches, results = _quantizers(graph, node)
            scales = [_scale(graph, each) for each in results]
            faults = []
            for each in branches:
                if each.output[0] not in values:
                    continue
                layer, real = values[each.output[0]]
                scale = max([_scale(graph, each), *scales])
                steps = float(np.ptp(np.append(real, 0.0))) / scale if scale else np.inf
                if steps < USED * 255:
                    lost = float(np.mean((np.abs(real) < scale / 2) & (real != 0)))
                    text = f"{layer} uses {steps:.1f} of 255 steps, and {lost:.0%} of its values become 0"
                    faults.append((255 / max(steps, 1e-9), text, layer))
            # Where all branches are small the range is too wide: that is another cause.
            if not faults or len(faults) == len(branches):
                continue
            for each in {each.output[0]: each for each in (*branches, *results)}.values():
                unrounded(graph, model, each)
            weight, text, _ = max(faults)
            keep = (*(layer for _, _, layer in faults), *_readers(graph, node))
            yield Place(weight, node_name(node), text, keep)


def _quantizers(graph: Graph, node: onnx.NodeProto) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """Those of the branches, and of the result."""
    branches = []
    for name in node.input:
        reader = graph.maker.get(name)
        if reader is None or reader.op_type != "DequantizeLinear":
            continue
        maker = graph.maker.get(reader.input[0])
        if maker is not None and maker.op_type == "QuantizeLinear":
            branches.append(maker)
    return branches, list(_after(graph, node))


def _after(graph: Graph, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Quantizers of the result, and of what keeps its channels apart, up to the next layer with weights."""
    yield from (reader for reader in _following(graph, node) if reader.op_type == "QuantizeLinear")


def _readers(graph: Graph, node: onnx.NodeProto) -> Iterator[str]:
    """The layers with weights that read it."""
    weighted = (reader for reader in _following(graph, node) if reader.op_type in WEIGHTED)
    yield from dict.fromkeys(str(reader.name) for reader in weighted)


def _following(graph: Graph, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    waiting, seen = [node.output[0]], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for reader in graph.readers[name]:
            yield reader
            if reader.op_type in KEEPING:
                waiting += reader.output


def _scale(graph: Graph, quantizer: onnx.NodeProto) -> float:
    step = graph.step(quantizer)
    return 0.0 if step is None else step.scale
