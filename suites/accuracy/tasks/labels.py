"""What labels are, and what to do with those that are no classes, in the words of our tasks."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

HINT = 'use one class index per sample, from 0, or set [model] task = "regression"'


def are_flags(labels: NDArray[Any]) -> bool:
    """Whether the labels are 0 or 1 for each of several, and not one-hot."""
    flat = labels.reshape(len(labels), -1)
    if flat.shape[1] < 2 or labels.dtype.kind not in "iubf":
        return False
    return bool(((flat == 0) | (flat == 1)).all() and (flat.sum(axis=1) != 1).any())
