"""Integers of a tensor, and the real numbers that they stand for, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import Quantization


def as_real(tensor: NDArray[Any], step: Quantization | None) -> NDArray[np.float64]:
    """Real numbers of a tensor; those of integers without a step are the integers."""
    real = tensor.astype(np.float64)
    return real if step is None or tensor.dtype.kind == "f" else (real - step.zero_point) * step.scale


def as_codes(real: NDArray[np.float64], step: Quantization | None, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Numbers of a tensor of a type: the nearest integers within its range, where it has a step."""
    if step is not None and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        real = np.clip(np.rint(real / step.scale) + step.zero_point, limits.min, limits.max)
    return real.astype(dtype)
