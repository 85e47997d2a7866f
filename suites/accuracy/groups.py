"""Rows of each group and each window of time, and of the worst one, from the rows of a whole case.

Nothing is run again: a row that says what each sample contributes to it is divided by sample.

The interval of the worst group holds for all groups together: `harness.stats.worst`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.core.cause import Cause
from harness.core.groups import Groups
from harness.core.job import Status
from harness.core.measurement import Measurement
from harness.core.metric import Column, Metric
from harness.core.suite import CLEAN
from harness.stats.intervals import Interval
from harness.stats.sequences import mean_over_sequences
from harness.stats.worst import ALPHA, PT, mean_interval, worst_of

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
class _Quantity:
    """A metric that is divided by group: unit, direction, and how a sentence puts its value."""

    unit: str
    better: Literal["higher", "lower"]
    text: str
    factor: float = 1.0
    reach: float | None = None


QUANTITIES: Mapping[str, _Quantity] = {
    "accuracy": _Quantity("1", "higher", "has {:.3g} % right", 100, reach=1),
    "accuracy_loss": _Quantity("pt", "lower", "lost {:.3g} pt", reach=PT),
    "label_accuracy": _Quantity("1", "higher", "has {:.3g} % of the labels right", 100, reach=1),
    "label_accuracy_loss": _Quantity("pt", "lower", "lost {:.3g} pt of the labels", reach=PT),
    "agreement": _Quantity("1", "higher", "agrees in {:.3g} %", 100, reach=1),
    "mae": _Quantity("1", "lower", "has a mean absolute error of {:.3g}"),
    "error_increase": _Quantity("1", "lower", "errs more by {:.3g} %", 100),
}


def _metrics() -> Iterator[tuple[str, Metric]]:
    needs: tuple[tuple[str, Literal["group", "time"]], ...] = (("group", "group"), ("window", "time"))
    for kind, key in needs:
        for name, quantity in QUANTITIES.items():
            column = Column(f"worst {kind} pt", 1, ".1f", spare=4) if name == "accuracy_loss" else None
            declared = Metric(quantity.unit, quantity.better, per_data_set=True, needs=key)
            yield f"{kind}_{name}", declared
            yield f"worst_{kind}_{name}", replace(declared, case=CLEAN, column=column)


METRICS: Mapping[str, Metric] = dict(_metrics())


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
        if measured.metric in QUANTITIES
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
    quantity = QUANTITIES[whole.metric]
    index = groups.index[: len(values)]
    units = np.arange(len(values)) if sequence is None else sequence[: len(values)]
    parts = [_Part(values[index == group], units[index == group]) for group in range(len(groups.names))]
    few = [group for group, part in enumerate(parts) if len(part) < least]
    for group, part in enumerate(parts):
        if len(part):
            row = _row(whole, name, _interval(part, quantity, ALPHA), case=groups.case(CLEAN, group))
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
    group, bounding, interval = _worst(compared, quantity)
    text = f"{groups.column} {groups.names[group]} {quantity.text.format(quantity.factor * interval.value)}"
    text += f", the worst of {len(compared)}"
    if bounding != group:
        text += f"; the bound is that of {groups.names[bounding]} ({len(compared[bounding])} samples)"
    yield replace(
        _row(whole, f"worst_{name}", interval), case=whole.case, reason="; ".join(filter(None, (text, small)))
    )


def _worst(parts: Mapping[int, _Part], quantity: _Quantity) -> tuple[int, int, Interval]:
    """Return the worst group, the group whose bound is the farthest, and the interval of the worst value."""
    names = list(parts)
    worst = worst_of(
        lambda place, alpha: _interval(parts[names[place]], quantity, alpha),
        len(names),
        lower_is_better=quantity.better == "lower",
    )
    return names[worst.place], names[worst.bounding], worst.interval


def _interval(part: _Part, quantity: _Quantity, alpha: float) -> Interval:
    """Interval of the mean of some samples' values, each of its bounds at level `alpha`."""
    values = part.values
    if len(part) < len(values):
        lowest = 0.0 if quantity.reach == 1 else -math.inf if quantity.reach is None else -quantity.reach
        return mean_over_sequences(values, part.sequence, alpha=alpha, reach=quantity.reach, lowest=lowest)
    share = quantity.unit == "1" and quantity.better == "higher"
    return mean_interval(values, alpha=alpha, unit=quantity.unit, share=share, reach=quantity.reach)


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
