"""Writes an ONNX model, float or quantized (QDQ), as a TFLite file with the same numbers.

The quantized file has the same integer weights, biases, scales and zero points as the ONNX model; no scale is
computed here. One handler per operator in :mod:`~harness.compression.export.operators`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import onnx

from harness.compression.export.emitter import Emitter, Operator
from harness.compression.export.graph import Graph, read_graph
from harness.compression.export.layout import Layout, channels_last, plain
from harness.compression.export.operators import FOLLOWS_LAYOUT, HANDLERS, WANTS_CHANNELS_LAST
from harness.compression.export.schema import load_schema
from harness.compression.storage import expand

__all__ = ["Operator", "TfliteExport", "export_tflite"]


@dataclass(frozen=True, slots=True)
class TfliteExport:
    """A TFLite file and how its tensors lie compared with the ONNX model's.

    Parameters
    ----------
    data : bytes
        The file; its tensors and its signature ``serving_default`` carry the ONNX names.
    input_permutation, output_permutation : mapping
        Tensor name to the axes by which the ONNX tensor is transposed to get the file's:
        ``file_input = onnx_input.transpose(permutation)``. A tensor that is not transposed is not named.
    operators : tuple of Operator
        In the order of execution.
    """

    data: bytes
    input_permutation: Mapping[str, tuple[int, ...]]
    output_permutation: Mapping[str, tuple[int, ...]]
    operators: tuple[Operator, ...]


def export_tflite(model: onnx.ModelProto, *, name: str) -> TfliteExport:
    """Write a model as a TFLite file.

    Parameters
    ----------
    model : onnx.ModelProto
        Canonical float model, or what a pass made of it; packed weights are written dense, for TFLite has no
        form of them.
    name : str
        Written into the file as its description.

    Raises
    ------
    UnsupportedOperator
        An operator, or a form of it, for which there is no handler.
    TargetUnavailable
        The TFLite schema is not installed.
    """
    graph = read_graph(expand(model))
    emitter = Emitter(graph, load_schema())
    for name_ in graph.inputs:
        value = graph.values[name_]
        rank = len(value.shape)
        emitter.add(value, channels_last(rank) if _feeds_convolution(graph, name_) else plain(rank))
    for node in graph.nodes:
        if node.op not in HANDLERS:
            node.refuse("there is no handler")
        emitter.node = node
        HANDLERS[node.op](node, emitter)
    outputs = {output: emitter.output(output) for output in graph.outputs}
    return TfliteExport(
        emitter.finish(name),
        _permutations({name_: emitter.layout(name_) for name_ in graph.inputs}),
        _permutations(outputs),
        tuple(emitter.operators),
    )


def _feeds_convolution(graph: Graph, name: str) -> bool:
    """Whether an image goes into a convolution or pool, perhaps behind operators that follow any layout."""
    if len(graph.values[name].shape) != 4:
        return False
    for node in graph.nodes:
        if name in node.inputs and node.op in WANTS_CHANNELS_LAST:
            return True
        if name in node.inputs and node.op in FOLLOWS_LAYOUT and _feeds_convolution(graph, node.outputs[0]):
            return True
    return False


def _permutations(layouts: Mapping[str, Layout]) -> Mapping[str, tuple[int, ...]]:
    return MappingProxyType({name: layout.axes for name, layout in layouts.items() if not layout.plain})
