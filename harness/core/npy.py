"""Arrays in ``.npy`` files that anybody may have written: read without pickle, one error for all damage."""

from __future__ import annotations

import math
import tokenize
import warnings
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: What numpy raises on headers that are not one.
_ERRORS = (
    ValueError, TypeError, SyntaxError, KeyError, AttributeError, EOFError, OverflowError, MemoryError,
    RecursionError, IndexError, tokenize.TokenError,
)  # fmt: skip


def from_bytes(content: bytes) -> NDArray[Any]:
    """Read the bytes of a ``.npy`` file, as an array that may be written to.

    Thousands of arrays have few different heads, and reading one takes longest.

    Raises
    ------
    ValueError
        They are damaged, of another format, or hold objects.
    """
    try:
        version = np.lib.format.read_magic(BytesIO(content))
        size_byte = 2 if version == (1, 0) else 4
        start = 8 + size_byte + int.from_bytes(content[8 : 8 + size_byte], "little")
        shape, is_fortran, dtype = _head(content[:start], version)
        count = math.prod(shape)
        if dtype.hasobject or not dtype.itemsize or dtype.itemsize * count != len(content) - start:
            raise ValueError(f"{len(content) - start} byte are no array of {shape} {dtype}")
        array = np.frombuffer(bytearray(memoryview(content)[start:]), dtype)
        return array.reshape(shape, order="F" if is_fortran else "C")
    except _ERRORS as error:
        raise ValueError(f"it is not an array that numpy wrote: {error}") from error


@lru_cache(maxsize=256)
def _head(content: bytes, version: tuple[int, int]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"its format has the version {version}")
    stream = BytesIO(content)
    np.lib.format.read_magic(stream)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of an invalid escape in a damaged header
        try:
            shape, is_fortran, dtype = readers[version](stream)
        except Warning as error:
            raise ValueError(str(error)) from error
    if any(length < 0 for length in shape):
        raise ValueError(f"the shape is {shape}")
    return shape, is_fortran, dtype
