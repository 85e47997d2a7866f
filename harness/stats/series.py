"""Rows of many runs → series, and the runs at which each changed. Arithmetic only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.core.measurement import KEY_COLUMNS
from harness.core.metric import Declared, Metric, Noise
from harness.stats import changes, outer_join
from harness.stats.changes import LevelChange, Series
from harness.stats.difference import RATIO_UNITS, RUNS_DIFFER, varies_between_runs
from harness.stats.intervals import Interval
from harness.stats.table_changes import BOUNDS, NO_DIRECTION, Change

#: A series is one quantity of one model on one target; the same key means another thing for another model.
SERIES_COLUMNS = ("model", *KEY_COLUMNS, "unit")
#: Columns that identify the version that was measured, and their names on the screen.
VERSION_COLUMNS = {
    "model_sha256": "model", "artifact_sha256": "artifact", "backend_version": "runtime",
    "provider": "provider", "precision": "precision", "device": "device", "arch": "arch",
}  # fmt: skip
#: Further facts of a run and its machine, by name; takes the number of the run and the target.
Circumstances = Callable[[int, str], Mapping[str, str]]


class Rule(StrEnum):
    """How the changes of a series are found."""

    INTERVAL = "interval"
    EXACT = "exact"
    NONE = "no interval: a change cannot be separated from noise"


@dataclass(frozen=True, slots=True)
class Turn:
    """A run at which a series changed.

    Parameters
    ----------
    level : LevelChange
        ``at`` counts the points of the series.
    change : Change
        BETTER, WORSE or CHANGED.
    also : mapping of name to (before, after)
        What else differs from the previous run.
    why : str
        Why the change is neither better nor worse; empty where it is, or where it is no nearer to a target.
    """

    level: LevelChange
    change: Change
    also: Mapping[str, tuple[str, str]]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Trend:
    """One series.

    Parameters
    ----------
    key : mapping
        By `SERIES_COLUMNS`.
    points : ndarray of int, shape (runs,)
        Positions of its rows in the frame, oldest first; rows that are not OK are none.
    rule : Rule
    turns : tuple of Turn
    invalid : int
        Rows that were measured and are INVALID.
    """

    key: Mapping[str, object]
    points: NDArray[np.intp]
    rule: Rule
    turns: tuple[Turn, ...]
    invalid: int


def trends(frame: pd.DataFrame, circumstances: Circumstances, metrics: Declared) -> list[Trend]:
    """Find the series of a frame and where they changed.

    Parameters
    ----------
    frame : DataFrame
        Rows as in ``measurements.csv``, with the number of the run (0 is the oldest) as ``run``; no key
        twice in a run.
    circumstances : callable
        Called only where something changed.
    metrics : Declared
        What the suites declare of the metrics.
    """
    codes = outer_join.numbered([frame[name] for name in SERIES_COLUMNS])
    order = np.lexsort((frame["run"].to_numpy(), codes))
    edges = np.flatnonzero(np.diff(codes[order], prepend=-1, append=codes.max(initial=-1) + 1))
    valid = (frame["status"] == "OK").to_numpy() & np.isfinite(frame["value"].to_numpy())
    not_valid = (frame["status"] == "INVALID").to_numpy()
    numbers = [frame[name].to_numpy(np.float64) for name in BOUNDS]
    records = frame[list(SERIES_COLUMNS)].iloc[order[edges[:-1]]].to_dict("records")
    heads = [{str(name): value for name, value in record.items()} for record in records]
    declared = [metrics.find(str(head["suite"]), str(head["metric"])) for head in heads]
    parts, rules, invalid = [], [], []
    for head, metric, start, end in zip(heads, declared, edges[:-1], edges[1:], strict=True):
        rows = order[start:end]
        points = rows[valid[rows]]
        rule = _rule(metric, [part[points] for part in numbers])
        if rule is Rule.INTERVAL:
            points = points[
                _with_interval([part[points] for part in numbers], ratio=head["unit"] in RATIO_UNITS)
            ]
        parts.append(points)
        rules.append(rule)
        invalid.append(int(not_valid[rows].sum()))
    tested = [index for index, rule in enumerate(rules) if rule is Rule.INTERVAL]
    given = [
        _series(declared[index], str(heads[index]["unit"]), [part[parts[index]] for part in numbers])
        for index in tested
    ]
    levels = dict(zip(tested, changes.find(given), strict=True))
    for index, rule in enumerate(rules):
        if rule is Rule.EXACT:
            levels[index] = _steps(numbers[0][parts[index]], ratio=heads[index]["unit"] in RATIO_UNITS)
    return [
        Trend(
            head, rows, rule,
            tuple(
                _turn(level, declared[index], head, frame, rows, circumstances)
                for level in levels.get(index, ())
            ),
            bad,
        )
        for index, (head, rows, rule, bad) in enumerate(zip(heads, parts, rules, invalid, strict=True))
    ]  # fmt: skip


def _rule(metric: Metric | None, numbers: Sequence[NDArray[np.float64]]) -> Rule:
    if np.isfinite(np.stack(numbers[1:])).all(axis=0).any():
        return Rule.INTERVAL
    return Rule.NONE if metric is not None and metric.noise is not Noise.NONE else Rule.EXACT


def _with_interval(numbers: Sequence[NDArray[np.float64]], *, ratio: bool) -> NDArray[np.bool_]:
    """Points with an interval; that of a single process is 0 to infinity and is ignored."""
    value, low, high = (np.isfinite(part) for part in numbers)
    bounded = value & low & high
    return bounded & (numbers[1] > 0) if ratio else bounded


def _series(metric: Metric | None, unit: str, numbers: Sequence[NDArray[np.float64]]) -> Series:
    value, low, high = numbers
    noisy = varies_between_runs(metric, unit)
    between = RUNS_DIFFER.get(unit, 0.0) if noisy else 0.0
    return Series(value, low, high, ratio=unit in RATIO_UNITS, noisy=noisy, between=between)


def _steps(value: NDArray[np.float64], *, ratio: bool) -> tuple[LevelChange, ...]:
    """Every change of a quantity that is exact."""
    at = np.flatnonzero(np.diff(value)) + 1
    edges = [0, *at.tolist(), len(value)]
    return tuple(
        LevelChange(
            place,
            _exact(before, place - edges[index]),
            _exact(after, edges[index + 2] - place),
            _exact(after / before if ratio and before else after - before, edges[index + 2] - edges[index]),
        )
        for index, place in enumerate(at.tolist())
        for before, after in [(float(value[place - 1]), float(value[place]))]
    )


def _exact(value: float, n: int) -> Interval:
    return Interval(value, value, value, n)


def _turn(
    level: LevelChange, metric: Metric | None, head: Mapping[str, object], frame: pd.DataFrame,
    rows: NDArray[np.intp], circumstances: Circumstances,
) -> Turn:  # fmt: skip
    before, after = (frame.iloc[rows[place]] for place in (level.at - 1, level.at))
    sides = [
        {name: _text(row[column]) for column, name in VERSION_COLUMNS.items()}
        | dict(circumstances(int(row["run"]), str(head["target"])))
        for row in (before, after)
    ]
    also = {
        name: (sides[0].get(name, ""), sides[1].get(name, ""))
        for name in dict.fromkeys((*sides[0], *sides[1]))
        if sides[0].get(name, "") != sides[1].get(name, "")
    }
    why = f"metric {head['metric']} {NO_DIRECTION}" if metric is None else ""
    return Turn(level, _change(metric, level.before.value, level.after.value), also, why)


def _change(metric: Metric | None, before: float, after: float) -> Change:
    """BETTER or WORSE where the metric has a direction."""
    if metric is None or metric.better is None:
        return Change.CHANGED
    good = metric.goodness([before, after])
    if good[0] == good[1]:  # as far from the target value as before
        return Change.CHANGED
    return Change.BETTER if good[1] > good[0] else Change.WORSE


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value)  # noqa: PLR0124 - NaN alone differs from itself
