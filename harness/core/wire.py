"""Frames between host and worker: one JSON line, then the bytes of the arrays that it announces.

No pickle; a frame says how many bytes follow, so a cut stream is noticed and never read as a result.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import StreamEnded, WorkerError
from harness.core.untrusted import is_count, is_text, shown

#: A header longer than this is not ours (something else wrote to the stream).
MAX_HEADER_BYTE = 64 * 2**20
#: All arrays of a frame together: what a job may send at most.
MAX_ARRAYS_BYTE = 4 * 2**30
#: Arrays are read in pieces, so that an announced size alone takes no memory.
PIECE_BYTE = 16 * 2**20
MAX_DIMENSIONS = 32
#: Kinds of numpy dtypes that travel: numbers and text. Objects are pointers, structures have no one meaning.
KINDS = "biufcSU"


class Readable(Protocol):
    """What frames are read from: a file, or something that reads like one."""

    def readline(self, limit: int, /) -> bytes: ...  # noqa: D102
    def read(self, size: int, /) -> bytes: ...  # noqa: D102


class Writable(Protocol):
    """What frames are written to."""

    def write(self, data: bytes, /) -> int: ...  # noqa: D102
    def flush(self) -> None: ...  # noqa: D102


def write_frame(
    stream: Writable, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None
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


def read_frame(
    stream: Readable, limit_byte: int | None = MAX_ARRAYS_BYTE
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]] | None:
    """Read one frame; None at a clean end of the stream.

    Parameters
    ----------
    stream : Readable
    limit_byte : int, optional
        Size of all arrays at most.

    Raises
    ------
    WorkerError
        The stream ends inside a frame, or is not the wire format.
    """
    line = stream.readline(MAX_HEADER_BYTE)
    if not line:
        return None
    if not line.endswith(b"\n"):
        if len(line) >= MAX_HEADER_BYTE:
            raise WorkerError(
                f"the header of a frame is longer than {MAX_HEADER_BYTE >> 20} MiB",
                cause=f"it begins with {line[:80]!r}",
            )
        raise StreamEnded("the stream ended inside a frame", cause="the worker died")
    try:
        header = json.loads(line)
        announced = header.pop("arrays")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise WorkerError(
            f"the worker wrote something that is not a frame: {line[:80]!r}",
            cause="a library printed to standard output, or the worker was cut off",
        ) from error
    arrays: dict[str, NDArray[Any]] = {}
    left_byte = limit_byte
    for name, dtype, shape, size_byte in _announcements(announced):
        if name in arrays:
            raise _refused(name, "is announced twice")
        if left_byte is not None:
            left_byte -= size_byte
            if left_byte < 0:
                raise _refused(name, f"makes the frame larger than {(limit_byte or 0) >> 20} MiB")
        arrays[name] = _array(stream, name, dtype, shape, size_byte)
    return header, arrays


def _announcements(announced: object) -> list[tuple[str, np.dtype[Any], tuple[int, ...], int]]:
    """Check what a frame says of its arrays."""
    checked = []
    for entry in announced if isinstance(announced, list) else [announced]:
        if not isinstance(entry, list) or len(entry) != 4 or not is_text(entry[0]):
            raise _refused("", f"is announced as {shown(entry)}, not as name, dtype, shape and bytes")
        name, text, shape, size_byte = entry
        try:
            dtype = np.dtype(text) if is_text(text, 20) else None
        except (TypeError, ValueError, SyntaxError):
            dtype = None
        if dtype is None or dtype.kind not in KINDS or dtype.subdtype is not None or not dtype.itemsize:
            raise _refused(name, f"has the dtype {shown(text)}; numbers and text alone are read")
        if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(map(is_count, shape)):
            raise _refused(name, f"has the shape {str(shape)[:60]}")
        if not is_count(size_byte) or math.prod(shape) * dtype.itemsize != size_byte:
            raise _refused(name, f"is announced with {shown(size_byte)} byte, which is not its shape's size")
        checked.append((name, dtype, tuple(shape), size_byte))
    return checked


def _refused(name: str, why: str) -> WorkerError:
    return WorkerError(f"the worker announced an array that cannot be: {shown(name)} {why}")


def _array(
    stream: Readable, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], size_byte: int
) -> NDArray[Any]:
    data = bytearray()
    while len(data) < size_byte:
        piece = stream.read(min(PIECE_BYTE, size_byte - len(data)))
        if not piece:
            raise StreamEnded(f"the stream ended inside the array {shown(name)}", cause="the worker died")
        data += piece
    try:
        array: NDArray[Any] = np.frombuffer(data, dtype=dtype).reshape(shape)
    except ValueError as error:  # nothing, of a shape that no array can have
        raise _refused(name, f"has the shape {str(shape)[:60]}") from error
    if dtype.kind == "U" and not _is_unicode(array):
        raise _refused(name, "has text that is not Unicode")
    return array


def _is_unicode(array: NDArray[Any]) -> bool:
    """Whether every code point is one; numpy takes any 32 bits."""
    native = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False))
    points = native.reshape(-1).view(np.uint32)
    return not bool(np.any((points > 0x10FFFF) | ((points >= 0xD800) & (points < 0xE000))))
