"""What a model file says of its integers: steps of inputs and outputs, and whether it computes in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from harness.core.artifact import Quantization
from harness.core.tflite_file import read_tflite

_UNARY = (
    "QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearReduceMean",
    "QLinearSigmoid", "QLinearSoftmax",
)  # fmt: skip
_BINARY = ("QLinearAdd", "QLinearConv", "QLinearMatMul", "QLinearMul")
#: Operators with integer inputs: position of each to that of its scale; the zero point follows the scale.
_READS: Mapping[str, Mapping[int, int]] = {
    **{name: {0: 1} for name in (*_UNARY, "DequantizeLinear", "QGemm")},
    **{name: {0: 1, 3: 4} for name in _BINARY},
}
#: Operators with an integer output: position of its scale.
_WRITES: Mapping[str, int] = {
    "QGemm": 7, "QLinearConcat": 0, "QuantizeLinear": 1,
    **dict.fromkeys(_BINARY, 6), **dict.fromkeys(_UNARY, 3),
}  # fmt: skip
#: Operators that keep the integers of their first input, and so its step.
_KEEP = frozenset({
    "DepthToSpace", "Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Slice", "SpaceToDepth", "Squeeze",
    "Transpose", "Unsqueeze",
})  # fmt: skip
_PRECISIONS = {"int8": "int8", "uint8": "int8", "int16": "int16", "uint16": "int16"}


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a file says of its integers.

    Parameters
    ----------
    quantization : mapping of tensor name to Quantization
        Integer inputs and outputs that stand for real numbers.
    output_quantization : mapping of tensor name to Quantization
        The step of the last integer tensor before each output.
    precision : str
        ``int8`` or ``int16`` where it computes in integers; empty where it computes in floats.
    keeps_state : bool
        It has variables that keep their values between calls.
    """

    quantization: Mapping[str, Quantization]
    output_quantization: Mapping[str, Quantization]
    precision: str
    keeps_state: bool = False


def file_facts(path: Path, fmt: str) -> FileFacts:
    """Read what a file of any format says of its integers."""
    if fmt == "onnx":
        return onnx_facts(onnx.load(path, load_external_data=False))
    if fmt == "tflite":
        facts = read_tflite(path)
        return FileFacts(
            facts.quantization, facts.output_quantization, facts.precision,
            facts.keeps_state or facts.assigns_resources,
        )  # fmt: skip
    text = path.read_text(errors="replace")
    return FileFacts(
        {}, {}, "int8" if 'type="FakeQuantize"' in text else "", keeps_state='type="ReadValue"' in text
    )


def onnx_facts(model: onnx.ModelProto) -> FileFacts:
    """Read what an ONNX model says of its integers; large weights need not be in memory."""
    graph = model.graph
    constants = _Constants(graph)
    producers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    integer = {v.name for v in (*graph.input, *graph.output) if _is_integer(v)}
    quantization: dict[str, Quantization] = {}
    output_quantization: dict[str, Quantization] = {}
    for value in graph.input:
        if value.name in integer and (step := _read_step(value.name, readers, constants)) is not None:
            quantization[value.name] = step
    for value in graph.output:
        node = _producer(value.name, producers)
        if node is not None and node.op_type == "DequantizeLinear":
            written = constants.step(node, 1)
        else:
            written = _written_step(node, constants)
            if written is not None and value.name in integer:
                quantization[value.name] = written
        if written is not None:
            output_quantization[value.name] = written
    return FileFacts(quantization, output_quantization, _precision(graph, constants))


class _Constants:
    """The scales and zero points of a graph, converted when they are asked for."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                self._tensors[node.output[0]] = node.attribute[0].t

    def value(self, name: str) -> Any:  # noqa: ANN401 - an array, or None
        tensor = self._tensors.get(name)
        if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL:
            return None
        return numpy_helper.to_array(tensor)

    def step(self, node: onnx.NodeProto, scale_at: int) -> Quantization | None:
        """Return the step whose scale is that input of a node; None where it is computed or per channel."""
        names = [*node.input, "", ""][scale_at : scale_at + 2]
        scale = self.value(names[0])
        zero = self.value(names[1]) if names[1] else np.zeros(1, np.uint8)
        if scale is None or zero is None or scale.size != 1:
            return None
        return Quantization(float(scale.reshape(-1)[0]), int(zero.reshape(-1)[0]))


def _is_integer(value: onnx.ValueInfoProto) -> bool:
    kind = value.type.tensor_type.elem_type
    return kind in (
        onnx.TensorProto.INT8, onnx.TensorProto.UINT8, onnx.TensorProto.INT16, onnx.TensorProto.UINT16,
    )  # fmt: skip


def _read_step(
    name: str, readers: Mapping[str, list[onnx.NodeProto]], constants: _Constants
) -> Quantization | None:
    """Return the step in which every reader takes an input; None where one takes it as plain integers."""
    steps: set[Quantization | None] = set()
    for node in readers.get(name, ()):
        position = list(node.input).index(name)
        if node.op_type in _KEEP and position == 0:
            steps.add(_read_step(node.output[0], readers, constants))
        else:
            scale_at = _READS.get(node.op_type, {}).get(position)
            steps.add(None if scale_at is None else constants.step(node, scale_at))
    return steps.pop() if len(steps) == 1 else None


def _producer(name: str, producers: Mapping[str, onnx.NodeProto]) -> onnx.NodeProto | None:
    node = producers.get(name)
    while node is not None and node.op_type in _KEEP:
        node = producers.get(node.input[0])
    return node


def _written_step(node: onnx.NodeProto | None, constants: _Constants) -> Quantization | None:
    scale_at = _WRITES.get(node.op_type) if node is not None else None
    return None if node is None or scale_at is None else constants.step(node, scale_at)


def _precision(graph: onnx.GraphProto, constants: _Constants) -> str:
    precisions = set()
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            zero = constants.value(node.input[2]) if len(node.input) > 2 else None
            precisions.add("int8" if zero is None else _PRECISIONS.get(zero.dtype.name, ""))
        elif node.op_type.startswith("QLinear") or node.op_type in (
            "ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QGemm", "QAttention",
        ):  # fmt: skip
            precisions.add("int8")
    return next((name for name in ("int16", "int8") if name in precisions), "")
