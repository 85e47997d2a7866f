"""How far two honest runs of one sample may be apart: what the rounding of the precision in use explains.

Another batch size or thread count changes the order in which a layer adds its products, and with it the last
bits. With unit roundoff u = 2^-p (p bits), in units of u of the row's largest answer:

- A format that also holds the sums (float32): n additions in any order differ by about sqrt(n) u (Higham and
  Mary 2019). For all sums on the way to an answer n = 2^16 additions, so 256 u, times 16 for cancellation and
  growth from layer to layer: 4,096 u = 2.4e-4.
- A shorter format (bfloat16, float16, TF32), whose sums are float32: each layer rounds its result once, and a
  sum near the middle may round to the other neighbour. 64 layers: sqrt(64) = 8 such units, times 2: 16 u,
  which is 0.063 in bfloat16 and 0.0078 in float16.
- Integers add without rounding. Only where a sum is scaled to the next integers can another kernel choose the
  other neighbour: 1 step at the output, and 1 that such steps before it add: 2 steps. Where the step of the
  output is not known, it is the row's largest answer over the range of the integers.

Measured on ONNX Runtime, OpenVINO and LiteRT (digits, cancer, rows; batch 1 to 64; 1 to 4 threads): float32
at most 8 u, bfloat16 at most 2 u, int8 0 steps.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

#: Bits of the significand.
BITS: Mapping[str, int] = {"f32": 24, "f16": 11, "tf32": 11, "bf16": 8}
#: A runtime that does not tell its precision may use the shortest.
UNTOLD = "bf16"
SUM_UNITS, STORAGE_UNITS, STEPS = 4096.0, 16.0, 2.0
INTEGERS: Mapping[str, float] = {"int8": 127.0, "int16": 32767.0}


def explained(declared: str, storage: str, integers: str) -> tuple[float, str]:
    """Return the largest relative difference that rounding explains, and the precision that explains it.

    Parameters
    ----------
    declared : str
        What the session says it computes floats in; several are joined by ``+``.
    storage : str
        The shorter format that its answers fit in; empty where there is none.
    integers : str
        ``int8`` or ``int16`` where the file computes in integers.
    """
    if integers in INTEGERS:
        return STEPS / INTEGERS[integers], integers
    names = [name if name in BITS else UNTOLD for name in declared.casefold().split("+")]
    coarsest = min([*names, storage or "f32"], key=lambda name: BITS[name])
    units = SUM_UNITS if coarsest == "f32" else STORAGE_UNITS
    return units * 2.0 ** -BITS[coarsest], coarsest


def over_bound(floats: NDArray[np.float64], steps: NDArray[np.float64], bound: float) -> NDArray[np.float64]:
    """Differences over what rounding explains, row by row: above 1 it explains no longer."""
    over: NDArray[np.float64] = np.maximum(floats / bound, steps / STEPS)
    return over
