"""What the metrics are made from, and how a row is made."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import Artifact
from harness.core.measurement import Measurement
from harness.stats import intervals
from harness.stats.intervals import Interval
from suites.accuracy.answers import Answers
from suites.accuracy.metrics import METRICS

#: Points in a share of 1.
PT = 100.0


@dataclass(frozen=True, slots=True)
class Facts:
    """What a group of metrics is made from: rows in one order, as many of each.

    ``base`` are the answers on the host of the variant that ``reference`` names; of an absolute metric, whose
    ``reference`` is empty, those of the float model, or ``answers`` where there are none.
    """

    answers: Answers
    base: Answers
    reference: str
    labels: NDArray[Any]
    artifact: Artifact | None


@dataclass(frozen=True, slots=True)
class Group:
    """Metrics with the same requirements.

    Parameters
    ----------
    metrics : tuple of str
    make : callable
    against : bool
        They compare with the answers of a reference.
    labels, outputs : bool
        They need labels, or the raw outputs.
    as_shipped : bool
        They are made only of clean data in the setting that ships.
    variant : str
        The variant on the host that they are relative to; empty without one.
    """

    metrics: tuple[str, ...]
    make: Callable[[Facts], Iterator[Measurement]]
    against: bool = False
    labels: bool = False
    outputs: bool = False
    as_shipped: bool = False
    variant: str = ""


def row(
    metric: str,
    value: float | Interval,
    reference: str = "",
    *,
    n: int = 0,
    factor: float = 1.0,
    per_sample: NDArray[Any] | None = None,
) -> Measurement:
    """Make the row of a metric; `factor` leads from the value's unit to the metric's."""
    if not isinstance(value, Interval):
        value = Interval(value, math.nan, math.nan, n)
    return Measurement(
        metric=metric,
        unit=METRICS[metric].unit,
        value=value.value * factor,
        ci_low=value.low * factor,
        ci_high=value.high * factor,
        n=value.n,
        reference=reference,
        per_sample=None if per_sample is None else per_sample.astype(np.float64),
    )


def share(hits: NDArray[np.bool_]) -> Interval:
    """Return the share of hits with Wilson's interval."""
    return intervals.wilson(int(np.count_nonzero(hits)), hits.size)
