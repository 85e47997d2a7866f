"""Rows of each group and each window of time, and of the worst one, from the rows of a whole case.

Nothing is run again: a row that says what each sample contributes to it is divided by sample.

The interval of the worst group holds for all groups together. With k groups, losses d_i and one-sided
bounds at level alpha, the worst loss is max d_i:

- max of the upper bounds at alpha is an upper bound: it fails only if the bound of the group that really is
  the worst fails. R. Berger, "Multiparameter hypothesis testing and acceptance sampling", Technometrics 24
  (1982): an intersection-union test needs no correction.
- max of the lower bounds at alpha / k is a lower bound: it fails only if one of k bounds fails, with
  probability at most k (alpha / k). O. J. Dunn, "Multiple comparisons among means", JASA 56 (1961): the
  inequality of Bonferroni, whatever the dependence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from harness.core.cause import Cause
from harness.core.groups import Groups
from harness.core.job import Status
from harness.core.measurement import Measurement
from harness.core.metric import Column, Metric
from harness.core.suite import CLEAN
from harness.stats import intervals, paired
from harness.stats.intervals import Interval
from harness.stats.sequences import mean_over_sequences

ALPHA = 0.05
#: Points in a share of 1.
PT = 100.0
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
    sign = 1.0 if quantity.better == "lower" else -1.0
    alone = {group: _signed(_interval(part, quantity, ALPHA), sign) for group, part in parts.items()}
    together = [_signed(_interval(part, quantity, ALPHA / len(parts)), sign) for part in parts.values()]
    worst = max(alone, key=lambda group: alone[group].value)
    bounding = max(alone, key=lambda group: (alone[group].high, group == worst))
    low = max(interval.low for interval in together)
    interval = Interval(alone[worst].value, low, alone[bounding].high, alone[worst].n)
    return worst, bounding, _signed(interval, sign)


def _signed(interval: Interval, sign: float) -> Interval:
    """Turn an interval so that larger is worse, or back."""
    if sign > 0:
        return interval
    return Interval(-interval.value, -interval.high, -interval.low, interval.n)


def _interval(part: _Part, quantity: _Quantity, alpha: float) -> Interval:
    """Interval of the mean of some samples' values, each of its bounds at level `alpha`."""
    values = part.values
    if len(part) < len(values):
        lowest = 0.0 if quantity.reach == 1 else -math.inf if quantity.reach is None else -quantity.reach
        return mean_over_sequences(values, part.sequence, alpha=alpha, reach=quantity.reach, lowest=lowest)
    if quantity.unit == "pt" and np.isin(values, (-PT, 0.0, PT)).all():
        lost, won = int(np.count_nonzero(values > 0)), int(np.count_nonzero(values < 0))
        loss = paired.tango(won, lost, len(values), alpha=alpha)
        return Interval(PT * loss.value, PT * loss.low, PT * loss.high, loss.n)
    if quantity.unit == "1" and quantity.better == "higher" and np.isin(values, (0.0, 1.0)).all():
        return intervals.wilson(int(np.count_nonzero(values)), len(values), alpha=alpha)
    if alpha == ALPHA:
        return intervals.clustered_mean(values, alpha=alpha, reach=quantity.reach)
    # The bootstrap has too few resamples for the small alpha of many groups: Student's t.
    value, n = float(values.mean()), len(values)
    half = float(stdtrit(n - 1, 1 - alpha)) * float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    return Interval(value, value - half, value + half, n)


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
