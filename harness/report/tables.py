"""The files that a run leaves: one long table, the verdicts, and each target's own copy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

import pandas as pd

from harness.cache import write_atomically, writing
from harness.core.errors import ResultsError
from harness.core.job import EnvironmentRecord
from harness.core.measurement import COLUMNS, Row
from harness.core.verdict import Verdict

VERDICT_COLUMNS = tuple(field.name for field in fields(Verdict))


def table(rows: Iterable[Row]) -> pd.DataFrame:
    """The long table; see ``core.measurement.COLUMNS``."""
    frame = pd.DataFrame([row.to_record() for row in rows], columns=list(COLUMNS))
    return frame.astype({"severity": "int64", "n": "int64", "value": "float64"})


def verdict_table(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """One line a verdict."""
    records = [{name: getattr(verdict, name) for name in VERDICT_COLUMNS} for verdict in verdicts]
    frame = pd.DataFrame(records, columns=list(VERDICT_COLUMNS))
    return frame.assign(state=frame["state"].map(str))


def write(
    folder: Path,
    rows: Sequence[Row],
    verdicts: Iterable[Verdict],
    environments: Iterable[EnvironmentRecord],
) -> None:
    """Write all files of a run; the same facts give the same bytes."""
    with writing(folder):
        _write_csv(folder / "measurements.csv", table(rows))
        _write_csv(folder / "verdicts.csv", verdict_table(verdicts))
        for target in dict.fromkeys(row.key.target for row in rows):
            own = [row for row in rows if row.key.target == target]
            _write_csv(folder / target / "measurements.csv", table(own))
        by_target: dict[str, list[object]] = {}
        for record in environments:
            of = {"backend": record.backend, "variant": record.variant, "suite": record.suite}
            by_target.setdefault(record.target, []).append(
                {**of, "phase": record.phase, "facts": dict(record.facts)}
            )
        for target, records in by_target.items():
            text = json.dumps(records, indent=1, sort_keys=True)
            write_atomically(folder / target / "environment.json", text.encode())


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    write_atomically(path, frame.to_csv(index=False, lineterminator="\n").encode())


def read(path: Path) -> pd.DataFrame:
    """Read a table that a run wrote.

    Raises
    ------
    ResultsError
        It is missing, or lacks columns of the contract.
    """
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise ResultsError(f"the table cannot be read: {error}", where=str(path)) from error
    absent = [column for column in COLUMNS if column not in frame.columns]
    if absent:
        raise ResultsError(
            f"the table lacks the columns {', '.join(absent)}",
            where=str(path),
            cause="it is another CSV, or one of another version",
        )
    return frame
