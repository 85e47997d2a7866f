"""What the metrics are made from, and how a row is made."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import Artifact
from harness.core.cause import Cause
from harness.core.job import Status
from harness.core.measurement import Measurement
from harness.core.metric import Metric
from harness.stats import intervals
from harness.stats.intervals import Interval
from harness.tasks.answers import Answers

#: Points in a share of 1.
PT = 100.0


class Undefined(Exception):
    """The metrics of a group are not defined for these samples; the text says why."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a group of metrics is made from: rows in one order, as many of each.

    ``base`` are the answers on the host of the variant that ``reference`` names; of an absolute metric, whose
    ``reference`` is empty, those of the float model, or ``answers`` where there are none. ``rounding`` is the
    largest absolute difference by output that rounding explains, ``no_rounding`` why that is not known;
    ``same_runtime`` says that the host computed in the very same way, so that it explains none.
    ``sequence`` is the sequence of each sample, shape (n,); None where samples are independent. ``deep`` says
    that the run is a deep one, so that what takes more than a moment is worth it.
    """

    answers: Answers
    base: Answers
    reference: str
    labels: NDArray[Any]
    artifact: Artifact | None
    rounding: Mapping[str, float] = field(default_factory=dict)
    no_rounding: str = ""
    same_runtime: str = ""
    sequence: NDArray[np.int64] | None = None
    deep: bool = False


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
    deep : bool
        The same, and with the profile ``standard`` also of shifted data.
    variant : str
        The variant on the host that they are relative to; empty without one.
    over_sequences : bool
        Their intervals are over sequences already, where the samples have some. Else the suite widens them.
    """

    metrics: tuple[str, ...]
    make: Callable[[Facts], Iterator[Measurement]]
    against: bool = False
    labels: bool = False
    outputs: bool = False
    as_shipped: bool = False
    deep: bool = False
    variant: str = ""
    over_sequences: bool = False


def row(
    metric: str,
    value: float | Interval,
    reference: str = "",
    *,
    n: int = 0,
    factor: float = 1.0,
    per_sample: NDArray[Any] | None = None,
) -> Measurement:
    """Make the row of a metric; `factor` leads from the value's unit to the metric's.

    The unit is filled in from the declaration of the metric.
    """
    if not isinstance(value, Interval):
        value = Interval(value, math.nan, math.nan, n)
    return Measurement(
        metric=metric,
        unit="",
        value=value.value * factor,
        ci_low=value.low * factor,
        ci_high=value.high * factor,
        n=value.n,
        reference=reference,
        per_sample=None if per_sample is None else per_sample.astype(np.float64),
    )


def skipped(metric: str, reason: str, reference: str = "") -> Measurement:
    """Make the row of a metric that cannot be computed."""
    made = row(metric, math.nan, reference)
    return replace(made, status=Status.SKIPPED, reason=reason, cause=Cause.MISSING_DATA)


def with_units(rows: Iterable[Measurement], metrics: Mapping[str, Metric]) -> list[Measurement]:
    """Fill in the units of rows as their metrics are declared."""
    return [replace(row, unit=metrics[row.metric].unit) for row in rows]


def made(group: Group, facts: Facts, metrics: Mapping[str, Metric]) -> list[Measurement]:
    """Make the rows of a group, with the declared units; those of undefined metrics are SKIPPED.

    Raises
    ------
    DataError
        The outputs are not those of the task.
    """
    try:
        rows = list(group.make(facts))
    except Undefined as error:
        rows = [skipped(metric, str(error), facts.reference) for metric in group.metrics]
    return with_units(rows, metrics)


def mean_share(shares: NDArray[np.float64]) -> Interval:
    """Return the mean of one share a sample; its interval is that of `clustered_mean` within 0 and 1."""
    interval = intervals.clustered_mean(shares, reach=1.0)
    return Interval(interval.value, max(0.0, interval.low), interval.high, interval.n)


def share(hits: NDArray[np.bool_]) -> Interval:
    """Return the share of hits with Wilson's interval."""
    return intervals.wilson(int(np.count_nonzero(hits)), hits.size)
