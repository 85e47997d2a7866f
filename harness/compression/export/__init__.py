"""Write an ONNX model, float or quantized (QDQ), as a TFLite file with the same numbers.

A quantized file has the integer weights, biases, scales and zero points of the ONNX model; no scale is
computed here. There is one handler per operator in :mod:`~harness.compression.export.operators`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import onnx

from harness.compression.export.emitter import Emitter
from harness.compression.export.graph import read_graph
from harness.compression.export.kinds import RUNTIMES, Runtime
from harness.compression.export.layout import Layout, channels_last, plain
from harness.compression.export.operators import FOLLOWS_LAYOUT, HANDLERS, WANTS_CHANNELS_LAST
from harness.compression.export.parts import Graph
from harness.compression.export.readback import Operator, read_operators
from harness.compression.export.schema import load_schema
from harness.compression.storage import expand
from harness.core.errors import UsageError

__all__ = ["Operator", "TfliteExport", "export_tflite", "float_layers", "read_operators"]


@dataclass(frozen=True, slots=True)
class TfliteExport:
    """A TFLite file and the layout of its inputs and outputs.

    Parameters
    ----------
    data : bytes
        The file; its tensors and its signature ``serving_default`` have the ONNX names.
    input_permutation, output_permutation : mapping
        Tensor name to axes: ``file_input = onnx_input.transpose(permutation)``. Tensors with the same layout
        are omitted.
    operators : tuple of Operator
        The operators of the file, read back from its bytes, in the order of execution.
    """

    data: bytes
    input_permutation: Mapping[str, tuple[int, ...]]
    output_permutation: Mapping[str, tuple[int, ...]]
    operators: tuple[Operator, ...]


def float_layers(export: TfliteExport) -> tuple[str, ...]:
    """Return the ONNX nodes of a quantized model that the file computes in float, in order of execution."""
    return tuple(
        dict.fromkeys(
            operator.layer
            for operator in export.operators
            if operator.dtype == "float32" and operator.kind != "QUANTIZE"
        )
    )


def export_tflite(model: onnx.ModelProto, *, name: str, runtime: Runtime = "litert") -> TfliteExport:
    """Write a model as a TFLite file.

    Parameters
    ----------
    model : onnx.ModelProto
        Canonical float model, or the result of a pass; packed weights are written dense.
    name : str
        Description in the file.
    runtime : {"litert", "tflite-2.14"}
        The oldest runtime that must open the file; tflite-runtime 2.14 lacks some operator versions, for
        which others with the same integers are written.

    Raises
    ------
    UnsupportedOperator
        There is no handler for an operator, or for some of its attributes.
    TargetUnavailable
        The TFLite schema is not installed.
    UsageError
        The runtime is unknown.
    """
    if runtime not in RUNTIMES:
        raise UsageError(
            f"{runtime!r} is not a TFLite runtime",
            where="runtime",
            next_step=f"use one of {', '.join(RUNTIMES)}",
        )
    graph = read_graph(expand(model))
    schema = load_schema()
    emitter = Emitter(graph, schema, runtime)
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
    data = emitter.finish(name)
    return TfliteExport(
        data,
        _permutations({name_: emitter.layout(name_) for name_ in graph.inputs}),
        _permutations(outputs),
        read_operators(schema, data, emitter.layers),
    )


def _feeds_convolution(graph: Graph, name: str) -> bool:
    """Whether a convolution or pool reads an image, directly or through operators that accept any layout."""
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
