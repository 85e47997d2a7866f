"""Which operators and number formats an ONNX file has, read without ONNX: a board has only numpy.

Field numbers are those of ``onnx.proto``.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

from harness.core.artifact import Artifact

_GRAPH, _NODE, _OPERATOR, _INITIALIZER, _DATA_TYPE = 7, 1, 4, 5, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
#: ``TensorProto.DataType`` of FLOAT16 and BFLOAT16.
_HALF = (10, 16)


def operators(artifact: Artifact) -> frozenset[str]:
    """Names of the operators of the main graph; empty for a file that is not ONNX, or no protobuf at all."""
    return _read(artifact)[0]


def has_half(artifact: Artifact) -> bool:
    """Whether the file has weights of 16 bits, so that its answers may be that short by themselves.

    A TFLite or OpenVINO file with such weights counts too, although most runtimes compute it in float32.
    """
    if artifact.format == "onnx":
        return _read(artifact)[1]
    return artifact.format == "openvino" and b'"f16"' in artifact.path.read_bytes()


def _read(artifact: Artifact) -> tuple[frozenset[str], bool]:
    if artifact.format != "onnx" or not artifact.size_byte:
        return frozenset(), False
    with artifact.path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return _graph(data)
        except (IndexError, KeyError, UnicodeDecodeError):
            return frozenset(), False


def _graph(data: mmap.mmap) -> tuple[frozenset[str], bool]:
    names, half = set(), False
    for field, start, end in _fields(data, 0, len(data)):
        if field != _GRAPH:
            continue
        for part, begin, stop in _fields(data, start, end):
            if part == _NODE:
                names |= {data[a:b].decode() for f, a, b in _fields(data, begin, stop) if f == _OPERATOR}
            elif part == _INITIALIZER:
                half |= any(
                    f == _DATA_TYPE and _varint(data, a)[0] in _HALF for f, a, _ in _fields(data, begin, stop)
                )
    return frozenset(names), half


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of each field of a message."""
    while at < end:
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _BYTES:
            size, at = _varint(data, at)
            stop = at + size
        elif kind == _VARINT:
            stop = _varint(data, at)[1]
        else:
            stop = at + {_FIXED64: 8, _FIXED32: 4}[kind]
        yield key >> 3, at, stop
        at = stop


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at
