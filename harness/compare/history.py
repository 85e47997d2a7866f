"""The runs of a results folder as series: their versions, and the runs at which they changed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import compute

from harness.config.load import check
from harness.config.validation import Validation
from harness.core.errors import UsageError
from harness.core.measurement import KEY_COLUMNS
from harness.core.metric import Declared, Role
from harness.core.verdict import Gate, matches
from harness.run import declared
from harness.stats import outer_join
from harness.stats.series import SERIES_COLUMNS, VERSION_COLUMNS, Trend, trends
from harness.stats.table_changes import BOUNDS
from harness.store import bulk, tables
from harness.store.cache import key_of
from harness.store.runs import LeftOut, StoredRun, stored

#: Roles of the metrics that are shown where neither the command line nor a gate names one.
ROLES = (Role.RESULT, Role.LOSS, Role.TAIL)
#: Columns that define a version of a series.
SPAN_COLUMNS = ("model_sha256", "artifact_sha256", "backend_version", "harness_version")
_COLUMNS = [*SERIES_COLUMNS, *BOUNDS, "n", "status", *VERSION_COLUMNS]
#: Facts of a target's machine that may cause a change.
MACHINE = ("kernel", "cpu_model", "cpu_affinity", "governor", "libc", "python", "numpy")


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """Shell patterns; a series must match one of each kind. Empty for all (metrics: those of the gates)."""

    metrics: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """Runs, oldest first, and their series; ``frame`` has the rows that ``Trend.points`` counts."""

    runs: tuple[StoredRun, ...]
    left_out: tuple[LeftOut, ...]
    frame: pd.DataFrame
    trends: tuple[Trend, ...]


def history(results: Path, only: HistoryFilter) -> History:
    """Read all runs of a folder and find where they changed.

    Raises
    ------
    ResultsError
        No run can be read.
    UsageError
        No series matches.
    """
    runs, left_out = stored(results)
    metrics = declared.of_run(runs[-1].run)
    selection = _select(only, runs[-1], metrics)
    parts: list[pa.Table] = []
    readable: list[StoredRun] = []
    metric_names: set[str] = set()
    # Reading and parsing release the GIL.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for run, read in zip(runs, pool.map(lambda run: _read(run, selection), runs), strict=True):
            if isinstance(read, LeftOut):
                left_out.append(read)
                continue
            metric_names.update(read.metrics)
            parts.append(read.rows)
            readable.append(run)
    whole = bulk.frame(parts) if parts else pd.DataFrame(columns=_COLUMNS)
    whole["run"] = np.repeat(np.arange(len(readable)), [len(part) for part in parts])
    frame = _without_repeats(tables.clean(whole, str(results)), readable, left_out)
    codes = outer_join.numbered([frame[name] for name in SERIES_COLUMNS])
    firsts = outer_join.first_rows(codes)
    heads = frame[list(SERIES_COLUMNS)].iloc[firsts].to_dict("records")
    selected = np.array([selection.series(row) for row in heads], np.bool_)
    if not selected.any():
        raise UsageError(
            f"no series matches {selection.text}",
            where=str(results),
            cause="; ".join(map(str, left_out[:3])),
            next_step=f"available metrics: {', '.join(map(tables.plain, sorted(metric_names)))}"
            if metric_names
            else "",
        )
    if not selected.all():
        frame = frame[selected[codes]].reset_index(drop=True)
    series = trends(frame, _Circumstances(readable), metrics)
    return History(tuple(readable), tuple(left_out), frame, tuple(series))


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Rows of the selected metrics, and the names of all metrics."""

    rows: pa.Table
    metrics: frozenset[str]


def _read(run: StoredRun, selection: _Selection) -> _Chosen | LeftOut:
    try:
        table = bulk.read(run.table, _COLUMNS, threads=False)
    except Exception as error:  # noqa: BLE001 - one run that cannot be read does not hide the others
        return LeftOut.because(run.run_id, error)
    metrics = frozenset(table["metric"].unique().to_pylist())
    names = pa.array([name for name in metrics if selection.metric(name)], pa.string())
    return _Chosen(table.filter(compute.is_in(table["metric"].cast(pa.string()), names)), metrics)


def _without_repeats(frame: pd.DataFrame, runs: list[StoredRun], left_out: list[LeftOut]) -> pd.DataFrame:
    """Leave out runs in which rows share a key: it is not known which row counts."""
    columns = [frame[name] for name in ("run", *KEY_COLUMNS)]
    ids = outer_join.numbered(columns)
    if ids.max(initial=-1) + 1 == len(ids):
        return frame
    twice = frame[np.bincount(ids)[ids] > 1].drop_duplicates("run")
    for row in twice.to_dict("records"):
        key = ", ".join(f"{name}={row[name]}" for name in KEY_COLUMNS if row[name] != "")
        left_out.append(LeftOut(runs[row["run"]].run_id, f"rows share the key {key}"))
    bad = set(twice["run"])
    numbers = {old: new for new, old in enumerate(run for run in range(len(runs)) if run not in bad)}
    runs[:] = [run for number, run in enumerate(runs) if number not in bad]
    frame = frame[~frame["run"].isin(list(bad))].reset_index(drop=True)
    return frame.assign(run=frame["run"].map(numbers))


@dataclass(frozen=True, slots=True)
class _Selection:
    metric: Callable[[str], bool]
    series: Callable[[Mapping[Any, Any]], bool]
    text: str


def _select(only: HistoryFilter, newest: StoredRun, metrics: Declared) -> _Selection:
    by_name = {
        "metric": only.metrics, "target": only.targets, "variant": only.variants, "case": only.cases,
    }  # fmt: skip
    text = " ".join(f"--{name} {','.join(given)}" for name, given in by_name.items() if given)
    gates: tuple[Gate, ...] = ()
    if not only.metrics:
        where = str(newest.folder.path / "run.json")
        gates = check(newest.run["validation"], Validation, where=where).gates
    usual = tuple(name for _, name, _ in metrics.with_role(*ROLES))
    patterns = only.metrics or tuple(gate.metric for gate in gates) or usual

    def series(row: Mapping[Any, Any]) -> bool:
        named = all(matches(str(row[name]), given) for name, given in by_name.items() if given)
        return named and (not gates or any(gate.looks_at_record(row) for gate in gates))

    text = text or ("the gates of the newest run" if gates else ", ".join(usual))
    return _Selection(lambda name: matches(name, patterns), series, text)


class _Circumstances:
    """Versions, data and machine of a run; the machine is read from the target's folder on demand."""

    def __init__(self, runs: Sequence[StoredRun]) -> None:
        self._runs = runs
        self._cached: dict[tuple[int, str], dict[str, str]] = {}

    def __call__(self, run: int, target: str) -> Mapping[str, str]:
        if (run, target) not in self._cached:
            stored_run = self._runs[run]
            versions = dict(stored_run.run.get("versions", {}))
            facts = {"harness": str(versions.pop("deployment-validation-harness", ""))}
            facts["data"] = _data_digest(stored_run.run.get("data", {}))
            facts |= {f"host {name}": str(value) for name, value in sorted(versions.items())}
            self._cached[run, target] = facts | _machine(stored_run.folder.path / target / "environment.json")
        return self._cached[run, target]


def _data_digest(data: Mapping[str, Any]) -> str:
    """A short digest of the data sets of a run; empty where there are none."""
    digests = {name: sorted(record.get("inputs", {}).values()) for name, record in data.items()}
    return key_of(digests) if digests else ""


def _machine(path: Path) -> dict[str, str]:
    try:
        records = json.loads(path.read_text())
        facts = next(record["facts"] for record in records if record["phase"] == "before")
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return {}  # a run's table may be stored without its folders
    return {name: str(facts[name]) for name in MACHINE if isinstance(facts.get(name), str | int)}


def version_spans(trend: Trend, source: History) -> list[dict[str, Any]]:
    """Runs in a row of one model, runtime and harness: ``first_run``, ``runs`` and the mean ``value``."""
    rows = source.frame.iloc[trend.points]
    versions = versions_of(trend, source)
    starts = [i for i, version in enumerate(versions) if not i or version != versions[i - 1]]
    value, numbers = rows["value"].to_numpy(np.float64), rows["run"].to_numpy()
    return [
        dict(zip(SPAN_COLUMNS, versions[start], strict=True))
        | {"first_run": source.runs[numbers[start]].run_id, "runs": end - start,
           "value": float(value[start:end].mean())}
        for start, end in pairwise([*starts, len(versions)])
    ]  # fmt: skip


def versions_of(trend: Trend, source: History) -> list[tuple[str, ...]]:
    """The versions that were measured at each point, by `SPAN_COLUMNS`."""
    rows = source.frame.iloc[trend.points]
    texts = rows[list(SPAN_COLUMNS[:-1])].fillna("").astype(str).to_numpy().tolist()
    return [(*row, harness_version(source.runs[run])) for row, run in zip(texts, rows["run"], strict=True)]


def harness_version(run: StoredRun) -> str:
    """Version of the harness that wrote a run."""
    return str(run.run.get("versions", {}).get("deployment-validation-harness", ""))
