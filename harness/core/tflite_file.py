"""What a ``.tflite`` file says of its tensors, read with the standard library: boards have no flatbuffers.

Runtimes do not tell all of it: OpenVINO not the scales of integer inputs and outputs, LiteRT not whether a
tensor keeps its value from one call to the next. The numbers of the fields are those of the TFLite schema.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.core.artifact import Quantization
from harness.core.errors import FileRefused, ModelError

#: numpy's names of the schema's integer tensor types that can stand for real numbers.
_INTEGERS = {3: "uint8", 7: "int16", 9: "int8", 16: "uint16", 17: "int4"}
_DEQUANTIZE, _ASSIGN_VARIABLE = 6, 144
# Fields of the tables: Model, SubGraph, Tensor, QuantizationParameters, Operator, OperatorCode.
_CODES, _SUBGRAPHS = 1, 2
_TENSORS, _INPUTS, _OUTPUTS, _OPERATORS = 0, 1, 2, 3
_TYPE, _NAME, _QUANTIZATION, _IS_VARIABLE = 1, 3, 4, 5
_SCALE, _ZERO_POINT = 2, 3
_CODE, _READS, _WRITES = 0, 1, 2
_DEPRECATED_CODE, _BUILTIN_CODE = 0, 3


@dataclass(frozen=True, slots=True)
class TfliteFacts:
    """What a file says of itself.

    Parameters
    ----------
    quantization : mapping of tensor name to Quantization
        Integer inputs and outputs that stand for real numbers.
    output_quantization : mapping of tensor name to Quantization
        The step of the last integer tensor before each output, or of the output itself.
    precision : str
        ``int8`` or ``int16`` where some operator writes such a tensor with a scale; else empty.
    keeps_state : bool
        It has variable tensors, which keep their values between calls.
    assigns_resources : bool
        It keeps values in resource variables, which no interpreter resets.
    """

    quantization: Mapping[str, Quantization]
    output_quantization: Mapping[str, Quantization]
    precision: str
    keeps_state: bool
    assigns_resources: bool


@dataclass(frozen=True, slots=True)
class _Table:
    """A flatbuffers table: its position, and how to follow its fields."""

    data: bytes | mmap.mmap
    at: int

    def _field(self, slot: int) -> int:
        """Position of a field; 0 where it is absent."""
        vtable = self.at - _number(self.data, "<i", self.at)
        entry = 4 + 2 * slot
        if entry >= _number(self.data, "<H", vtable):
            return 0
        offset = _number(self.data, "<H", vtable + entry)
        return self.at + offset if offset else 0

    def number(self, slot: int, kind: str) -> int:
        field = self._field(slot)
        return _number(self.data, kind, field) if field else 0

    def _target(self, slot: int) -> int:
        field = self._field(slot)
        return field + _number(self.data, "<I", field) if field else 0

    def table(self, slot: int) -> _Table | None:
        target = self._target(slot)
        return _Table(self.data, target) if target else None

    def tables(self, slot: int) -> list[_Table]:
        start, count = self._vector(slot)
        places = range(start, start + 4 * count, 4)
        return [_Table(self.data, place + _number(self.data, "<I", place)) for place in places]

    def numbers(self, slot: int, kind: str) -> tuple[float, ...]:
        start, count = self._vector(slot)
        return struct.unpack_from(f"<{count}{kind}", self.data, start)

    def text(self, slot: int) -> str:
        start, count = self._vector(slot)
        return self.data[start : start + count].decode(errors="replace")

    def _vector(self, slot: int) -> tuple[int, int]:
        target = self._target(slot)
        return (target + 4, _number(self.data, "<I", target)) if target else (0, 0)


def _number(data: bytes | mmap.mmap, kind: str, at: int) -> int:
    value: int = struct.unpack_from(kind, data, at)[0]
    return value


def read_tflite(path: Path) -> TfliteFacts:
    """Read what a TFLite file says of its tensors.

    Raises
    ------
    ModelError
        It is not a TFLite file, or is damaged.
    """
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return tflite_facts(data)
    except (OSError, ValueError, struct.error, IndexError) as error:
        raise ModelError(
            f"{path.name} is not a TFLite file, or is damaged",
            where=str(path),
            cause=str(error),
            next_step="convert or copy the file again",
        ) from error


def tflite_facts(data: bytes | mmap.mmap) -> TfliteFacts:
    """Read what the content of a TFLite file says; see `read_tflite`, which wraps its exceptions."""
    if data[4:8] != b"TFL3":
        raise ValueError("the identifier TFL3 is missing")
    model = _Table(data, _number(data, "<I", 0))
    graphs = model.tables(_SUBGRAPHS)
    main = graphs[0]
    tensors = main.tables(_TENSORS)
    inputs, outputs = ([int(i) for i in main.numbers(slot, "i")] for slot in (_INPUTS, _OUTPUTS))
    steps = {index: step for index in (*inputs, *outputs) if (step := _step(tensors[index])) is not None}
    named = {tensors[index].text(_NAME): step for index, step in steps.items()}
    codes = [
        max(code.number(_DEPRECATED_CODE, "<b"), code.number(_BUILTIN_CODE, "<i"))
        for code in model.tables(_CODES)
    ]
    read_by_dequantize = {
        int(operator.numbers(_WRITES, "i")[0]): int(operator.numbers(_READS, "i")[0])
        for operator in main.tables(_OPERATORS)
        if codes[operator.number(_CODE, "<I")] == _DEQUANTIZE
    }
    last = {
        tensors[index].text(_NAME): step
        for index in outputs
        if (step := steps.get(index) or _step_at(tensors, read_by_dequantize.get(index))) is not None
    }
    written = {
        _INTEGERS.get(tensors[int(index)].number(_TYPE, "<b"), "")
        for operator in main.tables(_OPERATORS)
        for index in operator.numbers(_WRITES, "i")
        if index >= 0 and _step(tensors[int(index)]) is not None
    }
    variables = any(
        tensor.number(_IS_VARIABLE, "<b") for graph in graphs for tensor in graph.tables(_TENSORS)
    )
    precision = "int16" if "int16" in written else "int8" if written else ""
    assigns = any(
        codes[operator.number(_CODE, "<I")] == _ASSIGN_VARIABLE
        for graph in graphs
        for operator in graph.tables(_OPERATORS)
    )
    return TfliteFacts(named, last, precision, variables, assigns)


def _step_at(tensors: list[_Table], index: int | None) -> Quantization | None:
    return None if index is None else _step(tensors[index])


def _step(tensor: _Table) -> Quantization | None:
    """Scale and zero point of an integer tensor that has one of each."""
    quantization = tensor.table(_QUANTIZATION)
    if quantization is None or tensor.number(_TYPE, "<b") not in _INTEGERS:
        return None
    scale, zero_point = quantization.numbers(_SCALE, "f"), quantization.numbers(_ZERO_POINT, "q")
    if len(scale) != 1:
        return None
    return Quantization(float(scale[0]), int(zero_point[0]) if zero_point else 0)


def refuse_resources(facts: TfliteFacts, path: Path) -> None:
    """Refuse a file whose state no interpreter of LiteRT or TFLM can reset.

    Raises
    ------
    FileRefused
    """
    if facts.assigns_resources:
        raise FileRefused(
            "the file keeps state in resource variables, which the interpreter cannot reset",
            where=str(path),
            cause="each answer would depend on the samples before it",
            next_step="convert the model with its state as inputs and outputs",
        )
