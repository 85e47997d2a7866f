"""Sums of products of bytes in 16 bits, as some CPUs add them.

x86 without VNNI adds two neighbours and saturates (``vpmaddubsw``); ARM without dotprod adds two products
that lie eight places apart and wraps (``smull``, ``smlal2``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Numbers of a part of the product.
CHUNK = 2**22


@dataclass(frozen=True, slots=True)
class Way:
    """How a CPU adds products in 16 bits.

    Parameters
    ----------
    text : str
    apart : int
        Places between two products that are added.
    wraps : bool
        The sum wraps; else it saturates.
    """

    text: str
    apart: int
    wraps: bool

    def sums(self, x: NDArray[np.int32], w: NDArray[np.int32]) -> NDArray[np.int64]:
        """Product of x, shape (rows, k), and w, shape (filters, k)."""
        block = 2 * self.apart
        short = -x.shape[1] % block
        x, w = (np.pad(one, ((0, 0), (0, short))) for one in (x, w))
        x, w = (one.reshape(len(one), -1, 2, self.apart) for one in (x, w))
        total = np.zeros((len(x), len(w)), np.int64)
        size = max(1, CHUNK // max(1, len(w) * x.shape[1] * self.apart))
        for start in range(0, len(x), size):
            rows = x[start : start + size, None]
            pairs = rows[:, :, :, 0] * w[None, :, :, 0] + rows[:, :, :, 1] * w[None, :, :, 1]
            if self.wraps:
                pairs = (pairs + 2**15) % 2**16 - 2**15
            else:
                pairs = np.clip(pairs, -(2**15), 2**15 - 1)
            total[start : start + size] = pairs.sum(axis=(2, 3), dtype=np.int64)
        return total


SATURATES = Way("saturates sums of two products of bytes in 16 bits", 1, wraps=False)
WRAPS = Way("wraps sums of two products of bytes in 16 bits", 8, wraps=True)
