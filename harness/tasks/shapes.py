"""What the numbers of an output look like: scores, probabilities, a vector."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.task import has_one_axis

#: Scores of a single output that lie outside 0 to 1 are logits.
PROBABILITY_THRESHOLD, LOGIT_THRESHOLD = 0.5, 0.0


def width(values: NDArray[Any]) -> int:
    """Return how many numbers a sample has."""
    return math.prod(values.shape[1:])


def one_axis(y: NDArray[Any]) -> bool:
    """Whether a sample has one score a class: at most one axis is longer than 1."""
    return has_one_axis(y.shape[1:]) and width(y) > 1


def is_direction(y: NDArray[Any]) -> bool:
    """Whether each sample is a vector of length 1 with negative numbers: an embedding, and no scores."""
    if y.dtype.kind != "f" or not one_axis(y):
        return False
    flat = y.reshape(len(y), -1).astype(np.float64)
    lengths = np.sqrt(np.square(flat).sum(axis=1))
    are_one = len(flat) > 0 and np.isfinite(lengths).all() and np.abs(lengths - 1).max() < 0.01
    return bool(are_one and flat.min() < 0)


def has_one_sign(y: NDArray[Any]) -> bool:
    """Whether scores are no probabilities, and no logits, of which 0 lies within."""
    finite = y[np.isfinite(y)]
    return bool(finite.size and (finite.min() >= 0 or finite.max() <= 0) and np.abs(finite).max() > 1)


def threshold_of(y: NDArray[Any], given: float | None) -> tuple[float, str]:
    """Return the threshold of sigmoids, that of probabilities or of logits, and a text."""
    probable = bool(np.isfinite(y).all() and y.min() >= 0 and y.max() <= 1)
    threshold = PROBABILITY_THRESHOLD if probable else LOGIT_THRESHOLD
    if given is not None:
        return given, f"above {given:g}"
    return threshold, f"above {threshold:g}, as the scores are {'probabilities' if probable else 'logits'}"
