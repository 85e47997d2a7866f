"""The runs of a results folder, read into series: which, in which versions, and where they changed."""

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
#: What makes a version of a series.
SPAN_COLUMNS = ("model_sha256", "artifact_sha256", "backend_version", "harness_version")
_KEPT = [*SERIES_COLUMNS, *BOUNDS, "n", "status", *VERSION_COLUMNS]
#: Facts of a target's machine that a change may come from.
MACHINE = ("kernel", "cpu_model", "cpu_affinity", "governor", "libc", "python", "numpy")


@dataclass(frozen=True, slots=True)
class Asked:
    """Shell patterns that a series must match one of each; empty for all (metrics: those of the gates)."""

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


def history(results: Path, asked: Asked) -> History:
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
    wanted = _wanted(asked, runs[-1], metrics)
    parts: list[pa.Table] = []
    kept: list[StoredRun] = []
    known: set[str] = set()
    # Reading and parsing let go of Python's lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for run, read in zip(runs, pool.map(lambda run: _read(run, wanted), runs), strict=True):
            if isinstance(read, LeftOut):
                left_out.append(read)
                continue
            known.update(read.metrics)
            parts.append(read.rows)
            kept.append(run)
    whole = bulk.frame(parts) if parts else pd.DataFrame(columns=_KEPT)
    whole["run"] = np.repeat(np.arange(len(kept)), [len(each) for each in parts])
    frame = _without_repeats(tables.clean(whole, str(results)), kept, left_out)
    codes = outer_join.numbered([frame[name] for name in SERIES_COLUMNS])
    firsts = np.unique(codes, return_index=True)[1]
    heads = frame[list(SERIES_COLUMNS)].iloc[firsts].to_dict("records")
    asked_for = np.array([wanted.series(row) for row in heads], np.bool_)
    if not asked_for.any():
        raise UsageError(
            f"no series matches {wanted.said}",
            where=str(results),
            cause="; ".join(map(str, left_out[:3])),
            next_step=f"metrics there are: {', '.join(map(tables.plain, sorted(known)))}" if known else "",
        )
    if not asked_for.all():
        frame = frame[asked_for[codes]].reset_index(drop=True)
    found = trends(frame, _Circumstances(kept), metrics)
    return History(tuple(kept), tuple(left_out), frame, tuple(found))


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Rows of the metrics that are asked for, and all metrics that there are."""

    rows: pa.Table
    metrics: frozenset[str]


def _read(run: StoredRun, wanted: _Wanted) -> _Chosen | LeftOut:
    try:
        table = bulk.read(run.table, _KEPT, threads=False)
    except Exception as error:  # noqa: BLE001 - one run that cannot be read does not hide the others
        return LeftOut.because(run.run_id, error)
    metrics = frozenset(table["metric"].unique().to_pylist())
    names = pa.array([name for name in metrics if wanted.metric(name)], pa.string())
    return _Chosen(table.filter(compute.is_in(table["metric"].cast(pa.string()), names)), metrics)


def _without_repeats(frame: pd.DataFrame, runs: list[StoredRun], left_out: list[LeftOut]) -> pd.DataFrame:
    """Leave runs out in which rows share a key; nobody knows which of them is meant."""
    columns = [frame[name] for name in ("run", *KEY_COLUMNS)]
    ids = outer_join.numbered(columns)
    if ids.max(initial=-1) + 1 == len(ids):
        return frame
    twice = frame[np.bincount(ids)[ids] > 1].drop_duplicates("run")
    for row in twice.to_dict("records"):
        said = ", ".join(f"{name}={row[name]}" for name in KEY_COLUMNS if row[name] != "")
        left_out.append(LeftOut(runs[row["run"]].run_id, f"rows share the key {said}"))
    bad = set(twice["run"])
    numbers = {old: new for new, old in enumerate(run for run in range(len(runs)) if run not in bad)}
    runs[:] = [run for number, run in enumerate(runs) if number not in bad]
    frame = frame[~frame["run"].isin(list(bad))].reset_index(drop=True)
    return frame.assign(run=frame["run"].map(numbers))


@dataclass(frozen=True, slots=True)
class _Wanted:
    metric: Callable[[str], bool]
    series: Callable[[Mapping[Any, Any]], bool]
    said: str


def _wanted(asked: Asked, newest: StoredRun, metrics: Declared) -> _Wanted:
    by_name = {
        "metric": asked.metrics, "target": asked.targets, "variant": asked.variants, "case": asked.cases,
    }  # fmt: skip
    said = " ".join(f"--{name} {','.join(given)}" for name, given in by_name.items() if given)
    gates: tuple[Gate, ...] = ()
    if not asked.metrics:
        where = str(newest.folder.path / "run.json")
        gates = check(newest.run["validation"], Validation, where=where).gates
    usual = tuple(name for _, name, _ in metrics.with_role(*ROLES))
    patterns = asked.metrics or tuple(gate.metric for gate in gates) or usual

    def series(row: Mapping[Any, Any]) -> bool:
        named = all(matches(str(row[name]), given) for name, given in by_name.items() if given)
        return named and (not gates or any(gate.looks_at_record(row) for gate in gates))

    said = said or ("the gates of the newest run" if gates else ", ".join(usual))
    return _Wanted(lambda name: matches(name, patterns), series, said)


class _Circumstances:
    """Versions, data and machine of a run; the machine is read from the target's folder when asked."""

    def __init__(self, runs: Sequence[StoredRun]) -> None:
        self._runs = runs
        self._known: dict[tuple[int, str], dict[str, str]] = {}

    def __call__(self, run: int, target: str) -> Mapping[str, str]:
        if (run, target) not in self._known:
            of = self._runs[run]
            versions = dict(of.run.get("versions", {}))
            found = {"harness": str(versions.pop("deployment-validation-harness", ""))}
            found["data"] = _data_digest(of.run.get("data", {}))
            found |= {f"host {name}": str(value) for name, value in sorted(versions.items())}
            self._known[run, target] = found | _machine(of.folder.path / target / "environment.json")
        return self._known[run, target]


def _data_digest(data: Mapping[str, Any]) -> str:
    """What the data sets of a run were, in few letters; empty where there are none."""
    digests = {name: sorted(each.get("inputs", {}).values()) for name, each in data.items()}
    return key_of(digests) if digests else ""


def _machine(path: Path) -> dict[str, str]:
    try:
        records = json.loads(path.read_text())
        facts = next(each["facts"] for each in records if each["phase"] == "before")
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return {}  # a run's table can be kept alone
    return {name: str(facts[name]) for name in MACHINE if isinstance(facts.get(name), str | int)}


def version_spans(trend: Trend, found: History) -> list[dict[str, Any]]:
    """Runs in a row of one model, runtime and harness: ``first_run``, ``runs`` and the mean ``value``."""
    rows = found.frame.iloc[trend.points]
    versions = versions_of(trend, found)
    starts = [i for i, each in enumerate(versions) if not i or each != versions[i - 1]]
    value, numbers = rows["value"].to_numpy(np.float64), rows["run"].to_numpy()
    return [
        dict(zip(SPAN_COLUMNS, versions[start], strict=True))
        | {"first_run": found.runs[numbers[start]].run_id, "runs": end - start,
           "value": float(value[start:end].mean())}
        for start, end in pairwise([*starts, len(versions)])
    ]  # fmt: skip


def versions_of(trend: Trend, found: History) -> list[tuple[str, ...]]:
    """What was measured at each point, by `SPAN_COLUMNS`."""
    rows = found.frame.iloc[trend.points]
    texts = rows[list(SPAN_COLUMNS[:-1])].fillna("").astype(str).to_numpy().tolist()
    return [(*row, harness_version(found.runs[run])) for row, run in zip(texts, rows["run"], strict=True)]


def harness_version(run: StoredRun) -> str:
    """Version of the harness that wrote a run."""
    return str(run.run.get("versions", {}).get("deployment-validation-harness", ""))
