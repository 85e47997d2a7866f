"""Samples that are made when they are first read: to decode and resize all photographs takes minutes."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Larger arrays lie in a file.
IN_MEMORY_BYTE = 2**26
#: Rows that are made at once.
CHUNK = 32


class MadeRows:
    """Looks like an array of samples; what was made is kept.

    Parameters
    ----------
    count : int
    make : callable
        Gives some rows; raises ``HarnessError`` where it cannot.
    """

    def __init__(self, count: int, make: Callable[[Sequence[int]], NDArray[Any]]) -> None:
        first = make([0])
        self._make = make
        self._rows = _room((count, *first.shape[1:]), first.dtype)
        self._rows[:1] = first
        self._is_made = np.arange(count) == 0
        self.shape, self.dtype, self.ndim = self._rows.shape, self._rows.dtype, self._rows.ndim

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, places: int | slice | Sequence[int]) -> NDArray[Any]:
        """Some of the rows, as numpy indexes its first axis."""
        wanted = np.atleast_1d(np.arange(len(self))[places])
        missing = list(dict.fromkeys(wanted[~self._is_made[wanted]].tolist()))
        for start in range(0, len(missing), CHUNK):
            some = missing[start : start + CHUNK]
            self._rows[some] = self._make(some)
            self._is_made[some] = True
        return np.asarray(self._rows[places])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:  # noqa: ANN401
        return np.array(self[:], dtype=dtype, copy=copy)


def _room(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An empty array; a large one lies in a file that is gone when the array is."""
    if math.prod(shape) * dtype.itemsize <= IN_MEMORY_BYTE:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype, "w+", shape=shape)
