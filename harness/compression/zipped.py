"""Sizes after ``gzip -9``, as for a download. Each content is compressed once in a process: it takes long."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

#: gzip's own header, so that sizes are those of the command.
_GZIP = 31
_PIECE_BYTE = 2**20
_sizes: dict[bytes, int] = {}


def gzip_byte(data: bytes) -> int:
    """Return the size of a file after ``gzip -9`` in bytes."""
    key = hashlib.sha256(data).digest()
    if key not in _sizes:
        compressor = zlib.compressobj(9, zlib.DEFLATED, wbits=_GZIP)
        _sizes[key] = len(compressor.compress(data)) + len(compressor.flush())
    return _sizes[key]


def gzip_bytes(files: Sequence[bytes]) -> list[int]:
    """Return the sizes of several files; zlib releases Python's lock, so that they share the cores."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(gzip_byte, files))


def gzip_byte_of_file(path: Path, sha256: str) -> int:
    """Return the size of a file with that hash, which is read in pieces."""
    key = bytes.fromhex(sha256)
    if key not in _sizes:
        compressor, count = zlib.compressobj(9, zlib.DEFLATED, wbits=_GZIP), 0
        with path.open("rb") as stream:
            while piece := stream.read(_PIECE_BYTE):
                count += len(compressor.compress(piece))
        _sizes[key] = count + len(compressor.flush())
    return _sizes[key]
