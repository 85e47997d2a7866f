"""A side of a comparison: a run, one target of it, a baseline or a table, read into one form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from harness.config.load import check
from harness.config.validation import Validation
from harness.core.errors import ResultsError, UsageError
from harness.core.measurement import COLUMNS, KEY_COLUMNS, Row
from harness.core.plan import HOST
from harness.core.verdict import Gate
from harness.device import plugins
from harness.gates import baselines
from harness.run import declared, summarise
from harness.run.selection import load_suites
from harness.stats import disturbance, outer_join
from harness.stats.table_changes import Side
from harness.store import bulk, run_folder, tables

TABLES = (".csv", ".parquet")


@dataclass(frozen=True, slots=True)
class Read:
    """A side, and the other facts of its run.

    Parameters
    ----------
    side : Side
    gates : tuple of Gate
        Of the run's ``validation.toml``; none for a table alone.
    verdicts : DataFrame, optional
        As in ``verdicts.csv``.
    run : mapping
        ``run.json``.
    facts, rows
        Of a run that was taken as a whole.
    damaged : tuple of str
        What of the run cannot be read.
    """

    side: Side
    gates: tuple[Gate, ...] = ()
    verdicts: pd.DataFrame | None = None
    run: Mapping[str, Any] = field(default_factory=dict)
    facts: run_folder.Facts | None = field(default=None, repr=False)
    rows: tuple[Row, ...] = field(default=(), repr=False)
    damaged: tuple[str, ...] = ()


def read(name: str, results: Path) -> Read:
    """Read one side.

    Parameters
    ----------
    name : str
        A run (id, unique prefix, folder, ``latest``), the folder of a baseline, or a table (``.csv``,
        ``.parquet``); ``:TARGET`` or ``:TARGET/BACKEND`` behind it takes that part alone.
    results : Path
        Where runs are kept.

    Raises
    ------
    ResultsError
        It is missing, being written, or not such a table; or two rows have the same key.
    UsageError
        It has no such target.
    """
    whole, part = name, ""
    if not Path(name).exists() and ":" in name:
        whole, _, part = name.rpartition(":")
    path = Path(whole)
    if (path / baselines.DESCRIPTION).is_file():
        side = Read(replace(baselines.read(path).side, metrics=declared.installed()))
    elif path.suffix in TABLES:
        side = _table(path)
    else:
        side = read_run(run_folder.find_run(whole, results))
    if part:
        side = _part(side, part)
    _refuse_duplicates(side.side)
    if side.side.frame.empty:
        raise ResultsError("the table holds no measurement", where=name)
    return side


def _table(path: Path) -> Read:
    frame = tables.clean(bulk.frame([bulk.read(path, tables.COMPARED)]), str(path))
    return Read(Side(str(path), frame, metrics=declared.installed()))


def read_run(folder: run_folder.RunFolder) -> Read:
    """Read a run as a whole.

    Raises
    ------
    ResultsError
        It is damaged, or being written.
    """
    if folder.being_written():
        raise ResultsError(
            "this run is being written", where=str(folder.path), next_step="wait for it to end"
        )
    facts = folder.facts()
    names = dict.fromkeys(batch.suite for batch in facts.plan.batches)
    if not set(names) <= set(plugins.catalogue(plugins.SUITES)):
        return _as_written(folder, facts.run)
    rows = summarise.summarise(facts, load_suites(tuple(names)))
    records = [(row.to_record(), row.measurement.per_sample) for row in rows if row.key.target != HOST]
    frame = tables.clean(
        pd.DataFrame([record for record, _ in records], columns=list(COLUMNS)), str(folder.path)
    )
    per_sample = {
        tuple(record[column] for column in KEY_COLUMNS): values
        for record, values in records
        if values is not None
    }
    validation = check(facts.run["validation"], Validation, where=str(folder.path / "run.json"))
    verdicts = folder.path / "verdicts.csv"
    return Read(
        Side(folder.run_id, frame, summarise.set_digests(facts.run), per_sample,
             declared.of_run(facts.run), disturbance.loads(facts.environments)),
        validation.gates,
        tables.read_verdicts(verdicts) if verdicts.is_file() else None,
        facts.run,
        facts,
        tuple(rows),
        tuple(f"{folder.run_id}: {text}" for text in facts.damaged),
    )  # fmt: skip


def _as_written(folder: run_folder.RunFolder, run: Mapping[str, Any]) -> Read:
    """Take the rows of a run from its table: a suite that would make them of the samples is not installed."""
    path = folder.path / "measurements.csv"
    frame = tables.clean(bulk.frame([bulk.read(path, tables.COMPARED)]), str(path))
    side = Side(folder.run_id, frame, summarise.set_digests(run), metrics=declared.of_run(run))
    validation = check(run["validation"], Validation, where=str(folder.path / "run.json"))
    verdicts = folder.path / "verdicts.csv"
    return Read(side, validation.gates, tables.read_verdicts(verdicts) if verdicts.is_file() else None, run)


def _part(whole: Read, part: str) -> Read:
    target, _, backend = part.partition("/")
    frame = whole.side.frame
    rows = frame["target"] == target
    if backend:
        rows &= frame["backend"] == backend
    if not rows.any():
        devices = sorted({f"{t}/{b}" for t, b in zip(frame["target"], frame["backend"], strict=True)})
        raise UsageError(
            f"{whole.side.label} has no rows of {part}",
            where=f":{part}",
            next_step=f"take one of {', '.join(devices)}",
        )
    verdicts = whole.verdicts
    if verdicts is not None:
        verdicts = verdicts[verdicts["target"] == target]
        verdicts = verdicts[verdicts["backend"] == backend] if backend else verdicts
    side = replace(whole.side, label=f"{whole.side.label}:{part}", frame=frame[rows].reset_index(drop=True))
    return replace(whole, side=side, verdicts=verdicts, facts=None, rows=())


def devices_of(side: Read) -> list[Read]:
    """Split a side into its devices (target and backend), in the table's order."""
    names = side.side.frame[["target", "backend"]].drop_duplicates().itertuples(index=False, name=None)
    parts = [_part(side, f"{target}/{backend}") for target, backend in names]
    return parts if len(parts) > 1 else [side]


def _refuse_duplicates(side: Side) -> None:
    if pd.Index(outer_join.coded([side.frame[name] for name in KEY_COLUMNS])).is_unique:
        return
    twice = side.frame.duplicated(list(KEY_COLUMNS), keep=False)
    key = side.frame.loc[twice, list(KEY_COLUMNS)].iloc[0]
    raise ResultsError(
        f"{int(twice.sum())} rows share a key with another: "
        + ", ".join(f"{c}={v}" for c, v in key.items() if v != ""),
        where=side.label,
        cause="the file may hold the tables of several runs",
        next_step="compare them one by one",
    )
