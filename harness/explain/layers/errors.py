"""How far one tensor is from another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import Quantization
from harness.stats.accuracy import distance

Real = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Error:
    """How far the second tensor is from the first.

    Parameters
    ----------
    relative : float
        Root mean square of the difference, over that of the first; see `gaps`.
    largest : float
        Of the absolute differences; infinite where one has NaN or infinity and the other another number.
    differing : float
        Share of the elements that differ.
    steps : float, optional
        Largest difference in steps of an integer tensor.
    saturated : float
        Share of the second's integers at an end of their range.
    """

    relative: float
    largest: float
    differing: float
    steps: float | None = None
    saturated: float = 0.0

    @property
    def sqnr_db(self) -> float:
        """Signal to difference, in decibels."""
        return math.inf if self.relative == 0 else -20 * math.log10(self.relative)


def compare(
    first: Real, second: Real, step: Quantization | None = None, codes: NDArray[Any] | None = None
) -> Error:
    """Compare two tensors of one shape."""
    gap, apart = gaps(first, second), distance(first, second)
    finite = first[np.isfinite(first)]
    size = float(np.sqrt(np.mean(np.square(finite)))) if finite.size else 0.0
    rms = float(np.sqrt(np.mean(np.square(gap)))) if gap.size else 0.0
    largest = float(apart.max(initial=0.0))
    saturated = 0.0
    if codes is not None and codes.dtype.kind in "iu":
        limits = np.iinfo(codes.dtype)
        saturated = float(np.mean((codes == limits.min) | (codes == limits.max)))
    return Error(
        rms / size if size else (math.inf if rms else 0.0),
        largest,
        float(np.mean(gap > 0)) if gap.size else 0.0,
        None if step is None else largest / step.scale,
        saturated,
    )


def gaps(first: Real, second: Real) -> Real:
    """Absolute differences, all finite, so that shares of them mean something.

    Equal infinities and NaN do not differ; NaN or infinity against another number counts as the largest
    number of the first.
    """
    apart = distance(first, second)
    limit = np.max(np.abs(first), where=np.isfinite(first), initial=0.0) or 1.0
    return np.where(np.isinf(apart), limit, apart)
