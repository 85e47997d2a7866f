"""A row against the accepted one of the same key: ratio or change, or why there is none. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.core.job import Status
from harness.core.measurement import KEY_COLUMNS, Row
from harness.core.metric import Declared
from harness.core.verdict import State
from harness.gates.timed import TimingSummary
from harness.stats import difference
from harness.stats.difference import TIME_UNITS, Values, varies_between_runs
from harness.stats.intervals import Interval


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a gate compares one target with.

    Parameters
    ----------
    name, run_id : str
        Of the baseline, and of the run that was accepted.
    machine : str
        What its times belong to.
    sets : mapping of name to str
        Digest of each data set.
    rows : mapping of key to record
        By the columns of the key; a record has all columns of the table.
    per_sample : mapping of key to ndarray, shape (samples,)
    """

    name: str
    run_id: str
    machine: str
    sets: Mapping[str, str]
    rows: Mapping[tuple[object, ...], Mapping[Any, Any]]
    per_sample: Mapping[tuple[object, ...], Values] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something cannot be compared, and what that makes of the gate."""

    state: State
    text: str


@dataclass(frozen=True, slots=True)
class Baselines:
    """Every baseline that the gates name, by name and target; and of this run its data and its machines.

    Parameters
    ----------
    accepted : mapping of (name, target) to Accepted
    sets : mapping of name to digest
    machines : mapping of target to what its times belong to
    side_by_side : mapping of (gate, target, backend, variant) to TimingSummary or Refusal
        Of gates with ``design = "side-by-side"``.
    metrics : Declared
        What the suites declare of the metrics.
    """

    accepted: Mapping[tuple[str, str], Accepted] = field(default_factory=dict)
    sets: Mapping[str, str] = field(default_factory=dict)
    machines: Mapping[str, str] = field(default_factory=dict)
    side_by_side: Mapping[tuple[str, ...], TimingSummary | Refusal] = field(default_factory=dict)
    metrics: Declared = field(default_factory=Declared)


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a row: the ratio, or the change in the row's unit; paired sample by sample or not."""

    interval: Interval
    paired: bool = False
    per_sample: Values | None = None


def against(row: Row, name: str, kind: str, baselines: Baselines) -> Change | Refusal:
    """Compare a row with the accepted one.

    Parameters
    ----------
    row : Row
        Its status is OK.
    name : str
        Of the baseline.
    of : str
        ``ratio``, new / base, or ``change``, new - base.
    baselines : Baselines
    """
    record, key = row.to_record(), _key(row)
    accepted = baselines.accepted.get((name, row.key.target))
    base = accepted.rows.get(key) if accepted is not None else None
    if accepted is None or base is None or base["status"] != Status.OK.value:
        return Refusal(State.NOT_RUN, _absent(name, row.key.target, accepted, base))
    if _other_data(row, accepted.sets, baselines.sets):
        return Refusal(State.NOT_RUN, f"{accepted.run_id} (baseline {name}) measured other data")
    unit = row.measurement.unit
    here = baselines.machines.get(row.key.target, "")
    if unit in TIME_UNITS and accepted.machine != here:
        text = f"{accepted.run_id} (baseline {name}) timed another machine, {accepted.machine or 'unknown'}"
        return Refusal(State.INVALID, f"{text}, and this is {here or 'unknown'}")
    mine, theirs = row.measurement.per_sample, accepted.per_sample.get(key)
    if kind == "change" and mine is not None and theirs is not None:
        n = min(len(mine), len(theirs))
        return Change(difference.paired(theirs, mine, unit), True, mine[:n] - theirs[:n])
    varies = varies_between_runs(baselines.metrics.find(row.key.suite, row.measurement.metric), unit)
    widen = difference.noise_factor() if varies else 1.0
    interval = difference.independent(_bounds(base), _bounds(record), ratio=kind == "ratio", widen=widen)
    value, low, high = (float(part[0]) for part in interval)
    return Change(Interval(value, low, high, row.measurement.n))


def _key(row: Row) -> tuple[object, ...]:
    record = row.to_record()
    return tuple(record[column] for column in KEY_COLUMNS)


def _bounds(record: Mapping[str, Any]) -> tuple[Values, Values, Values]:
    """Value and bounds; a metric without an interval is compared as it is."""
    value = float(record["value"])
    low, high = (float(record[name]) for name in ("ci_low", "ci_high"))
    parts = (value, value if math.isnan(low) else low, value if math.isnan(high) else high)
    one, two, three = (np.array([part]) for part in parts)
    return one, two, three


def _absent(name: str, target: str, accepted: Accepted | None, base: Mapping[Any, Any] | None) -> str:
    if accepted is None:
        return f"there is no baseline {name} of {target} (harness baseline save RUN --name {name})"
    if base is None:
        return f"{accepted.run_id} (baseline {name}) has no such row"
    return f"{accepted.run_id} (baseline {name}) has it as {base['status']}: {base['reason']}"


def _other_data(row: Row, base: Mapping[str, str], new: Mapping[str, str]) -> bool:
    """Whether the case read a data set of that name with other content."""
    case = row.case.partition("/")[0]
    name = f"{case}_{row.severity}" if row.severity else case
    return name in base and name in new and base[name] != new[name]
