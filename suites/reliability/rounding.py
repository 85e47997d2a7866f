"""How far two honest runs of one sample may be apart: what the rounding of the precision in use explains.

Another batch size or thread count changes the order in which a layer adds its products, and with it the last
bits. How much that changes an output is derived for each model (docs/checks.md): for float32, or the types of
the file, and for results that are rounded to bfloat16. For float16 and TF32 it is 2^-3 of that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.core.suite import SummaryContext

#: Bits of the significand.
BITS: Mapping[str, int] = {"f32": 24, "f16": 11, "tf32": 11, "bf16": 8}
#: A runtime that does not tell its precision may use the shortest.
UNTOLD = "bf16"
INTEGERS = ("int8", "int16")
#: Of a file of integers that nothing was derived for: they add without rounding, and where a sum is scaled to
#: the next integers another kernel may choose the other neighbour, at the output and once before it.
STEPS = 2.0


def explained(context: SummaryContext, declared: str, storage: str) -> tuple[Mapping[str, float], str]:
    """Return by output the largest absolute difference that rounding explains, and the precision.

    Parameters
    ----------
    context : SummaryContext
    declared : str
        What the session says it computes floats in; several are joined by ``+``.
    storage : str
        The shorter format that its answers fit in; empty where there is none.

    Returns
    -------
    bounds : mapping of str to float
        Empty where nothing is known.
    precision : str
    """
    artifact = context.artifact
    if artifact.precision in INTEGERS:
        steps = {name: STEPS * step.scale for name, step in artifact.output_quantization.items()}
        return context.rounding or steps, artifact.precision
    names = [name if name in BITS else UNTOLD for name in declared.casefold().split("+")]
    coarsest = min([*names, storage or "f32"], key=lambda name: BITS[name])
    if coarsest == "f32":
        return context.rounding, coarsest
    share = 2.0 ** (BITS[UNTOLD] - BITS[coarsest])
    short = context.short_rounding
    return {name: y + share * short[name] for name, y in context.rounding.items() if name in short}, coarsest


def over(
    differences: NDArray[np.float64], names: Sequence[str], bounds: Mapping[str, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Differences over what rounding explains: above 1 it explains no longer.

    Parameters
    ----------
    differences : ndarray, shape (n, outputs)
    names : sequence of str
        Of the outputs; integers that stand for themselves have no bound, and do not count.
    bounds : mapping of str to float
        Where the runtime renamed the outputs, they are in the order of the file.

    Returns
    -------
    ratios : ndarray, shape (n, outputs)
    limits : ndarray, shape (outputs,)
    """
    renamed = not any(name in bounds for name in names) and len(bounds) == len(names)
    by_name = dict(zip(names, bounds.values(), strict=True)) if renamed else bounds
    limits = np.array([by_name.get(name, np.inf) for name in names])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.nan_to_num(differences / limits, nan=0.0, posinf=np.inf)  # 0 / 0 is no difference
    ratios[:, np.isinf(limits)] = 0.0
    return ratios, limits
