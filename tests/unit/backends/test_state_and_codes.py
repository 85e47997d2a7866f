"""TFLite files that keep state or have integer inputs and outputs mean the same at every call and backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.openvino_ import OpenVinoBackend
from backends.tflite_ import TfliteBackend
from harness.compression.export.schema import load_schema, serialise
from harness.core.artifact import Artifact, Quantization
from harness.core.errors import FileRefused
from harness.core.feeding import Feeding
from harness.core.job import Options
from harness.core.preprocess import Preprocess
from harness.testing.models import write_artifact

IN, OUT = Quantization(0.5, 3), Quantization(0.25, -7)
#: What the last three samples count for, the oldest first.
MEMORY = (100.0, 10.0, 1.0)


class Writer:
    """Builds a TFLite file of one subgraph."""

    def __init__(self) -> None:
        self._schema = load_schema()
        self._tensors: list[Any] = []
        self._buffers = [self._schema.BufferT()]
        self._codes: list[Any] = []
        self._operators: list[Any] = []

    def tensor(
        self, name: str, kind: str, shape: list[int], *, data: Any = None, step: Quantization | None = None,
        is_variable: bool = False,
    ) -> int:  # fmt: skip
        made = self._schema.TensorT()
        made.name, made.type, made.buffer = name, getattr(self._schema.TensorType, kind), 0
        made.shape, made.isVariable = np.array(shape, np.int32), is_variable
        if data is not None:
            buffer = self._schema.BufferT()
            buffer.data = np.frombuffer(np.asarray(data, np.float32).tobytes(), np.uint8)
            self._buffers.append(buffer)
            made.buffer = len(self._buffers) - 1
        if step is not None:
            made.quantization = self._schema.QuantizationParametersT()
            made.quantization.scale = np.array([step.scale], np.float32)
            made.quantization.zeroPoint = np.array([step.zero_point], np.int64)
        self._tensors.append(made)
        return len(self._tensors) - 1

    def operator(
        self, kind: str, reads: list[int], writes: int, version: int = 1, options: Any = None
    ) -> None:
        code, node = self._schema.OperatorCodeT(), self._schema.OperatorT()
        code.builtinCode = getattr(self._schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), version
        node.opcodeIndex = len(self._codes)
        node.inputs, node.outputs = np.array(reads, np.int32), np.array([writes], np.int32)
        if options is not None:
            name = type(options).__name__.removesuffix("T")
            node.builtinOptionsType = getattr(self._schema.BuiltinOptions, name)
            node.builtinOptions = options
        self._codes.append(code)
        self._operators.append(node)

    def write(self, folder: Path, read: int, written: int) -> Artifact:
        graph, model = self._schema.SubGraphT(), self._schema.ModelT()
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = np.array([read], np.int32), np.array([written], np.int32)
        model.version, model.operatorCodes, model.subgraphs = 3, self._codes, [graph]
        model.buffers = self._buffers
        return write_artifact(serialise(model), folder, "m.tflite")


@pytest.fixture
def remembering(tmp_path: Path) -> Artifact:
    """A file whose SVDF weighs the last three samples by ``MEMORY``; XNNPACK takes only its ABS."""
    writer = Writer()
    x = writer.tensor("x", "FLOAT32", [1, 1])
    feature = writer.tensor("feature", "FLOAT32", [1, 1], data=[1])
    time = writer.tensor("time", "FLOAT32", [1, 3], data=MEMORY)
    bias = writer.tensor("bias", "FLOAT32", [1], data=[0])  # TFLM crashes without one
    state = writer.tensor("state", "FLOAT32", [1, 3], is_variable=True)
    s, y = (writer.tensor(name, "FLOAT32", [1, 1]) for name in "sy")
    options = load_schema().SVDFOptionsT()
    options.rank = 1
    writer.operator("SVDF", [x, feature, time, bias, state], s, options=options)
    writer.operator("ABS", [s], y)
    return writer.write(tmp_path, x, y)


def test_state_is_reset_before_each_call(remembering: Artifact) -> None:
    samples = [np.full((1, 1), value, np.float32) for value in (1, 2, 4)]
    with TfliteBackend().open(remembering, Options()) as session:
        assert session.inputs[0].shape == (1, 1)
        assert [float(session.run({"x": x})["y"][0, 0]) for x in samples] == [1, 2, 4]
        call = session.bind({"x": samples[1]})  # type: ignore[attr-defined]
        assert [float(call()["y"][0, 0]) for _ in range(3)] == [2, 2, 2]


def test_the_file_does_remember_without_the_reset(remembering: Artifact) -> None:
    with TfliteBackend().open(remembering, Options()) as session:
        interpreter = session._interpreter  # type: ignore[attr-defined]
        (x,), (y,) = interpreter.get_input_details(), interpreter.get_output_details()
        interpreter.reset_all_variables()
        answers = []
        for value in (1, 2, 4):
            interpreter.set_tensor(x["index"], np.full((1, 1), value, np.float32))
            interpreter.invoke()
            answers.append(float(interpreter.get_tensor(y["index"])[0, 0]))
    assert answers == [1, 12, 124]


def test_state_that_cannot_be_reset_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer()
    x, y = (writer.tensor(name, "FLOAT32", [1, 4]) for name in "xy")
    writer.operator("ABS", [x], y)
    artifact = writer.write(tmp_path, x, y)
    facts = type("Facts", (), {"assigns_resources": True, "keeps_state": False})
    monkeypatch.setattr("backends.tflite_.read_tflite", lambda path: facts)
    with pytest.raises(FileRefused, match="resource variables, which the interpreter cannot reset"):
        TfliteBackend().open(artifact, Options())


@pytest.mark.parametrize("backend", [TfliteBackend, OpenVinoBackend])
def test_integers_of_a_file_are_real_numbers_on_every_backend(tmp_path: Path, backend: Any) -> None:
    writer = Writer()
    x = writer.tensor("x", "INT8", [1, 4], step=IN)
    f, g = (writer.tensor(name, "FLOAT32", [1, 4]) for name in "fg")
    y = writer.tensor("y", "INT8", [1, 4], step=OUT)
    writer.operator("DEQUANTIZE", [x], f, version=2)
    writer.operator("ABS", [f], g)
    writer.operator("QUANTIZE", [g], y)
    artifact = writer.write(tmp_path, x, y)
    real = np.array([[-4, 0, 1.5, 3]], np.float32)
    with backend().open(artifact, Options(threads=1)) as session:
        assert (session.inputs[0].quantization, session.outputs[0].quantization) == (IN, OUT)
        feeding = Feeding(session.inputs, session.outputs, {"x": Preprocess()}, artifact)
        for given in (real, np.array([[-5, 3, 6, 9]], np.int8)):  # codes are taken as they are
            answers = feeding.answers(session.run(feeding.feeds({"x": given})), 1)
            (name,) = answers
            np.testing.assert_array_equal(answers[name], np.abs(real))
