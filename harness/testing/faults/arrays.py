"""Changes of outputs, as functions of real numbers: codes of a quantized output are decoded first."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import TensorSpec
from harness.core.preprocess import Outputs
from harness.testing.faults.fault import Call

Values = NDArray[Any]
Change = Callable[[Values], Values]


def changed(call: Call, outputs: Outputs, change: Change) -> Outputs:
    """Apply a change to each numeric output; labels and texts stay."""
    specs = {spec.name: spec for spec in call.outputs}
    return {name: _changed(np.asarray(y), specs.get(name), change) for name, y in outputs.items()}


def _changed(y: Values, spec: TensorSpec | None, change: Change) -> Values:
    step = spec.quantization if spec is not None else None
    if step is not None:
        real = (y.astype(np.float64) - step.zero_point) * step.scale
        codes = np.rint(change(real) / step.scale) + step.zero_point
        limits = np.iinfo(y.dtype)
        encoded: Values = np.clip(codes, limits.min, limits.max).astype(y.dtype)
        return encoded
    if not np.issubdtype(y.dtype, np.floating) or not y.size:
        return y
    result: Values = change(y.copy()).astype(y.dtype, copy=False)
    return result


def rows(y: Values) -> Values:
    """A view with the samples on the first axis and all values of a sample on the second."""
    return y.reshape(len(y), -1) if y.ndim > 1 else y.reshape(-1, 1)


def is_chosen(y: Values, share: float) -> NDArray[np.bool_]:
    """Choose a share of the rows by their content: a sample is chosen at each call, or at none."""
    hashes = np.array([zlib.crc32(np.ascontiguousarray(row).tobytes()) for row in rows(y)], np.uint64)
    chosen: NDArray[np.bool_] = (hashes * np.uint64(2654435761) % np.uint64(1 << 32)) < share * 2**32
    return chosen


def wrong(y: Values) -> Values:
    """An answer that is not the right one: scores move to the next class, one number changes its sign."""
    moved = np.roll(y, 1, axis=-1) if y.ndim > 1 and y.shape[-1] > 1 else -y - 1
    changed: Values = np.where(moved == y, y + 1, moved)
    return changed


def spread(y: Values) -> float:
    """A size to measure changes by: the largest value, and 1 where all are zero."""
    finite = np.abs(y[np.isfinite(y)])
    return float(finite.max(initial=0.0)) or 1.0


def batch_size(outputs: Outputs) -> int:
    """Samples of a call: the first axis of the first output."""
    first = np.asarray(next(iter(outputs.values())))
    return len(first) if first.ndim else 1
