"""Intervals of rows whose samples are the steps of sequences: over sequences, not over steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harness.core.measurement import Measurement
from harness.stats.sequences import mean_over_sequences


def index_of(lengths: Sequence[int]) -> NDArray[np.int64] | None:
    """Sequence of each row, or None where every row is independent of the others."""
    if all(length == 1 for length in lengths):
        return None
    return np.repeat(np.arange(len(lengths)), lengths)


def widened(rows: Sequence[Measurement], sequence: NDArray[np.int64] | None) -> list[Measurement]:
    """Give rows the interval over sequences; one that has no value for each sample loses its interval."""
    return list(rows) if sequence is None else [_widened(row, sequence) for row in rows]


def _widened(row: Measurement, sequence: NDArray[np.int64]) -> Measurement:
    values = row.per_sample
    if math.isnan(row.ci_low):
        return row
    if values is None:
        return replace(row, ci_low=math.nan, ci_high=math.nan)
    reach, lowest = None, -math.inf
    if row.unit == "pt":
        reach, lowest = 100.0, -100.0
    elif np.isin(values, (0.0, 1.0)).all():
        reach, lowest = 1.0, 0.0
    interval = mean_over_sequences(values, sequence[: len(values)], reach=reach, lowest=lowest)
    return replace(row, ci_low=interval.low, ci_high=interval.high)
