"""Facts of TFLite files, against the library that wrote them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.compression.export.schema import load_schema, serialise
from harness.core.artifact import Quantization
from harness.core.errors import ModelError
from harness.core.tflite_file import read_tflite

STEP, LAST = Quantization(0.5, 3), Quantization(0.25, -7)


def tensor(name: str, kind: str, step: Quantization | None = None, *, is_variable: bool = False) -> Any:
    schema = load_schema()
    made = schema.TensorT()
    made.name, made.type, made.buffer = name, getattr(schema.TensorType, kind), 0
    made.shape, made.isVariable = np.array([1, 4], np.int32), is_variable
    if step is not None:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale = np.array([step.scale], np.float32)
        made.quantization.zeroPoint = np.array([step.zero_point], np.int64)
    return made


def write(folder: Path, tensors: list[Any], operators: list[tuple[str, int, int]], output: int) -> Path:
    schema = load_schema()
    codes, nodes = [], []
    for index, (kind, reads, writes) in enumerate(operators):
        code, node = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        node.opcodeIndex, node.inputs, node.outputs = (
            index,
            np.array([reads], np.int32),
            np.array([writes], np.int32),
        )
        codes.append(code)
        nodes.append(node)
    graph, model = schema.SubGraphT(), schema.ModelT()
    graph.tensors, graph.operators = tensors, nodes
    graph.inputs, graph.outputs = np.array([0], np.int32), np.array([output], np.int32)
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, codes, [graph], [schema.BufferT()]
    path = folder / "m.tflite"
    path.write_bytes(serialise(model))
    return path


def test_integer_inputs_and_outputs(tmp_path: Path) -> None:
    tensors = [tensor("x", "INT8", STEP), tensor("y", "INT8", LAST)]
    facts = read_tflite(write(tmp_path, tensors, [("RELU", 0, 1)], 1))
    assert facts.quantization == {"x": STEP, "y": LAST}
    assert facts.output_quantization == {"y": LAST}
    assert (facts.precision, facts.keeps_state, facts.assigns_resources) == ("int8", False, False)


def test_the_step_before_a_float_output(tmp_path: Path) -> None:
    tensors = [tensor("x", "FLOAT32"), tensor("q", "INT16", LAST), tensor("y", "FLOAT32")]
    facts = read_tflite(write(tmp_path, tensors, [("QUANTIZE", 0, 1), ("DEQUANTIZE", 1, 2)], 2))
    assert facts.quantization == {}
    assert facts.output_quantization == {"y": LAST}
    assert facts.precision == "int16"


def test_a_float_file_with_state(tmp_path: Path) -> None:
    tensors = [tensor("x", "FLOAT32"), tensor("y", "FLOAT32"), tensor("s", "FLOAT32", is_variable=True)]
    facts = read_tflite(write(tmp_path, tensors, [("ABS", 0, 1)], 1))
    assert (facts.precision, facts.keeps_state) == ("", True)
    assert read_tflite(write(tmp_path, tensors[:2], [("ASSIGN_VARIABLE", 0, 1)], 1)).assigns_resources


@pytest.mark.parametrize(
    "content", [b"", b"\x08\x00\x00\x00TFL3", b"\xff" * 64, b"\xff\xff\xff\x00TFL3" + b"\xff" * 64]
)
def test_what_is_no_tflite_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.tflite is not a TFLite file, or is damaged"):
        read_tflite(path)
