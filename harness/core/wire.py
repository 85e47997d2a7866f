"""Frames between host and worker: one JSON line, then the bytes of the arrays that it announces.

No pickle; a frame says how many bytes follow, so a cut stream is noticed and never read as a result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import StreamEnded, WorkerError

#: A header longer than this is not ours (something else wrote to the stream).
MAX_HEADER_BYTE = 64 * 2**20


class Readable(Protocol):
    """What frames are read from: a file, or something that reads like one."""

    def readline(self, limit: int, /) -> bytes: ...  # noqa: D102
    def read(self, size: int, /) -> bytes: ...  # noqa: D102


def write_frame(
    stream: BinaryIO, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None
) -> None:
    """Write one frame and flush it."""
    pieces = [(name, np.ascontiguousarray(array)) for name, array in (arrays or {}).items()]
    announced = [
        [name, array.dtype.str, list(np.shape((arrays or {})[name])), array.nbytes] for name, array in pieces
    ]
    line = json.dumps({**header, "arrays": announced}, allow_nan=True)
    stream.write(line.encode() + b"\n")
    for _, array in pieces:
        stream.write(array.tobytes())
    stream.flush()


def read_frame(stream: Readable) -> tuple[dict[str, Any], dict[str, NDArray[Any]]] | None:
    """Read one frame; None at a clean end of the stream.

    Raises
    ------
    WorkerError
        The stream ends inside a frame, or is not the wire format.
    """
    line = stream.readline(MAX_HEADER_BYTE)
    if not line:
        return None
    if not line.endswith(b"\n") and len(line) < MAX_HEADER_BYTE:
        raise StreamEnded("the stream ended inside a frame", cause="the worker died")
    try:
        header = json.loads(line)
        announced = header.pop("arrays")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise WorkerError(
            f"the worker wrote something that is not a frame: {line[:80]!r}",
            cause="a library printed to standard output, or the worker was cut off",
        ) from error
    try:
        return header, dict(_array(stream, *announcement) for announcement in announced)
    except (TypeError, ValueError) as error:
        raise WorkerError(
            f"the worker announced an array that cannot be: {str(announced)[:80]}", cause=str(error)
        ) from error


def _array(
    stream: Readable, name: str, dtype: str, shape: list[int], size_byte: int
) -> tuple[str, NDArray[Any]]:
    data = stream.read(size_byte)
    if len(data) != size_byte:
        raise StreamEnded(f"the stream ended inside the array {name}", cause="the worker died")
    return name, np.frombuffer(data, dtype=np.dtype(dtype)).reshape(shape).copy()
