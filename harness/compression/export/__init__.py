"""Writes an ONNX model, float or quantized (QDQ), as a TFLite file with the same numbers.

The quantized file has the same integer weights, biases, scales and zero points as the ONNX model; no scale is
computed here. One handler per operator in :mod:`~harness.compression.export.operators`.
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
    """A TFLite file and how its tensors lie compared with the ONNX model's.

    Parameters
    ----------
    data : bytes
        The file; its tensors and its signature ``serving_default`` carry the ONNX names.
    input_permutation, output_permutation : mapping
        Tensor name to the axes by which the ONNX tensor is transposed to get the file's:
        ``file_input = onnx_input.transpose(permutation)``. A tensor that is not transposed is not named.
    operators : tuple of Operator
        What the file holds, read back from its bytes, in the order of execution.
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
        Canonical float model, or what a pass made of it; packed weights are written dense, for TFLite has no
        form of them.
    name : str
        Written into the file as its description.
    runtime : {"litert", "tflite-2.14"}
        The oldest runtime that must open the file; tflite-runtime 2.14 lacks some operator versions, in place
        of which others with the same integers are written.

    Raises
    ------
    UnsupportedOperator
        An operator, or a form of it, for which there is no handler.
    TargetUnavailable
        The TFLite schema is not installed.
    UsageError
        An unknown runtime.
    """
    if runtime not in RUNTIMES:
        raise UsageError(
            f"{runtime!r} is not a TFLite runtime", where="runtime", next_step=f"use one of {list(RUNTIMES)}"
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
