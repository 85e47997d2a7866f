"""Labels as our tasks take them; the readers are those of `harness.data.labels`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.core.task import Truth
from harness.data.labels import read_as
from harness.tasks.host import GivenLabels

Indices = NDArray[np.int64]


def classes(given: GivenLabels) -> tuple[Indices, str]:
    """Read classes that the model has scores for, shape (n,)."""
    return _read(Truth.CLASS, given)


def kinds(given: GivenLabels) -> tuple[Indices, str]:
    """Read whole numbers that samples of one kind share, shape (n,)."""
    return _read(Truth.GROUP, given)


def anomalies(given: GivenLabels) -> tuple[Indices, str]:
    """Read 0 (normal) and 1 (anomaly), shape (n,)."""
    return _read(Truth.ANOMALY, given)


def flags(given: GivenLabels) -> Indices:
    """Read 0 or 1 for each of several labels, shape (n, k)."""
    return _read(Truth.LABELS, given)[0]


def _read(truth: Truth, given: GivenLabels) -> tuple[Indices, str]:
    return read_as(truth, given.labels, given.names, given.scores, ids=given.ids, where=given.where)
