"""Rows of each group and each window of time, and of the worst one, from the rows of a whole case.

Nothing is run again: a row that says what each sample contributes to it is divided by sample.

The interval of the worst group holds for all groups together: `harness.stats.worst`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness import tasks
from harness.core.cause import Cause
from harness.core.groups import Groups
from harness.core.job import Status
from harness.core.measurement import Measurement
from harness.core.metric import Column, Metric, Role
from harness.core.suite import CLEAN
from harness.stats.intervals import Interval
from harness.stats.sequences import mean_over_sequences
from harness.stats.worst import ALPHA, mean_interval, worst_of
from harness.tasks.quantity import Quantity

#: At most so many groups are listed in one sentence.
LISTED = 5


@dataclass(frozen=True, slots=True)
class _Part:
    """The samples of one group: their values, and the sequence of each."""

    values: NDArray[np.float64]
    sequence: NDArray[np.int64]

    def __len__(self) -> int:
        return len(np.unique(self.sequence))


@dataclass(frozen=True, slots=True)
class _Divided:
    """A metric that is divided by group, and how."""

    metric: Metric
    quantity: Quantity

    @property
    def is_share(self) -> bool:
        return self.metric.unit == "1" and self.metric.better == "higher"


@cache
def divided() -> Mapping[str, _Divided]:
    """Return the metrics of the installed tasks that are divided, by name."""
    return {
        name: _Divided(host.metrics[name], quantity)
        for host in tasks.every_on_host().values()
        for name, quantity in host.quantities.items()
    }


def metrics() -> Iterator[tuple[str, Metric]]:
    """Yield the metrics of each group and window, and those of the worst one."""
    needs: tuple[tuple[str, Literal["group", "time"]], ...] = (("group", "group"), ("window", "time"))
    for kind, key in needs:
        for name, one in divided().items():
            title = one.quantity.column.format(kind)
            column = Column(title, 1, ".1f", spare=4) if title else None
            declared = Metric(one.metric.unit, one.metric.better, per_data_set=True, needs=key)
            yield f"{kind}_{name}", declared
            role = Role.WORST_LOSS if one.metric.role is Role.LOSS else None
            yield f"worst_{kind}_{name}", replace(declared, case=CLEAN, column=column, role=role)


def worst_class(
    whole: Sequence[Measurement], labels: NDArray[np.int64], least: int, sequence: NDArray[np.int64] | None
) -> list[Measurement]:
    """Return the row of the class that lost most accuracy, with an interval for all classes together."""
    classes = Groups("class", tuple(map(str, range(int(labels.max(initial=-1)) + 1))), labels)
    return [
        replace(row, metric="worst_class_accuracy_loss")
        if row.status is not Status.INVALID  # of small classes the suite has rows, and they decide nothing
        else replace(row, metric="worst_class_accuracy_loss", status=Status.SKIPPED, cause=Cause.MISSING_DATA)
        for measured in whole
        if measured.metric == "accuracy_loss"
        for row in _divided(measured, classes, least, sequence)
        if row.metric == "worst_group_accuracy_loss"
    ]


def rows(
    whole: Sequence[Measurement],
    groups: Sequence[Groups],
    least: int,
    sequence: NDArray[np.int64] | None = None,
) -> list[Measurement]:
    """Divide the rows of the clean case.

    Parameters
    ----------
    whole : sequence of Measurement
        Of all samples.
    groups : sequence of Groups
    least : int
        Groups with fewer samples are INVALID, and are not compared for the worst one.
    sequence : ndarray, shape (n,), int64, optional
        Sequence of each sample; None: samples are independent. Then sequences are counted, not samples.
    """
    return [
        row
        for one in groups
        for measured in whole
        if measured.metric in divided()
        for row in _divided(measured, one, least, sequence)
    ]


def _divided(
    whole: Measurement, groups: Groups, least: int, sequence: NDArray[np.int64] | None
) -> Iterator[Measurement]:
    name = f"{groups.kind}_{whole.metric}"
    worst = replace(whole, metric=f"worst_{name}", per_sample=None)
    values = whole.per_sample
    if whole.status is not Status.OK or values is None:
        # Without a value for each sample a number that is not finite stands for all groups.
        yield worst
        return
    one = divided()[whole.metric]
    index = groups.index[: len(values)]
    units = np.arange(len(values)) if sequence is None else sequence[: len(values)]
    parts = [_Part(values[index == group], units[index == group]) for group in range(len(groups.names))]
    few = [group for group, part in enumerate(parts) if len(part) < least]
    for group, part in enumerate(parts):
        if len(part):
            row = _row(whole, name, _interval(part, one, ALPHA), case=groups.case(CLEAN, group))
            if group in few:
                reason = f"{len(part)} samples, fewer than group_samples = {least}"
                row = replace(row, status=Status.INVALID, reason=reason, cause=Cause.TOO_FEW_SAMPLES)
            yield row
    compared = {group: part for group, part in enumerate(parts) if group not in few}
    small = _small([(groups.names[group], len(parts[group])) for group in few], groups.column, least)
    if not compared:
        # A target that ran only some of the samples cannot answer; too small a data set is the user's fault.
        status, cause = Status.INVALID, Cause.TOO_FEW_SAMPLES
        if len(values) < len(groups.index):
            status, cause = Status.SKIPPED, Cause.MISSING_DATA
        nothing = Interval(math.nan, math.nan, math.nan, len(values))
        row = _row(whole, f"worst_{name}", nothing, case=whole.case)
        yield replace(row, status=status, reason=small, cause=cause)
        return
    group, bounding, interval = _worst(compared, one)
    words = one.quantity.text.format(one.quantity.factor * interval.value)
    text = f"{groups.column} {groups.names[group]} {words}"
    text += f", the worst of {len(compared)}"
    if bounding != group:
        text += f"; the bound is that of {groups.names[bounding]} ({len(compared[bounding])} samples)"
    yield replace(
        _row(whole, f"worst_{name}", interval), case=whole.case, reason="; ".join(filter(None, (text, small)))
    )


def _worst(parts: Mapping[int, _Part], one: _Divided) -> tuple[int, int, Interval]:
    """Return the worst group, the group whose bound is the farthest, and the interval of the worst value."""
    names = list(parts)
    worst = worst_of(
        lambda place, alpha: _interval(parts[names[place]], one, alpha),
        len(names),
        lower_is_better=one.metric.better == "lower",
    )
    return names[worst.place], names[worst.bounding], worst.interval


def _interval(part: _Part, one: _Divided, alpha: float) -> Interval:
    """Interval of the mean of some samples' values, each of its bounds at level `alpha`."""
    values, reach = part.values, one.quantity.reach
    if len(part) < len(values):
        lowest = 0.0 if reach == 1 else -math.inf if reach is None else -reach
        return mean_over_sequences(values, part.sequence, alpha=alpha, reach=reach, lowest=lowest)
    return mean_interval(values, alpha=alpha, unit=one.metric.unit, share=one.is_share, reach=reach)


def _row(whole: Measurement, metric: str, interval: Interval, case: str = "") -> Measurement:
    return replace(
        whole, metric=metric, value=interval.value, ci_low=interval.low, ci_high=interval.high, n=interval.n,
        case=case, per_sample=None,
    )  # fmt: skip


def _small(groups: Sequence[tuple[str, int]], column: str, least: int) -> str:
    """Name the groups that are not compared."""
    if not groups:
        return ""
    listed = ", ".join(f"{name} ({count})" for name, count in groups[:LISTED])
    more = f" and {len(groups) - LISTED} more" if len(groups) > LISTED else ""
    return f"not compared, with fewer than group_samples = {least} samples: {column} {listed}{more}"
