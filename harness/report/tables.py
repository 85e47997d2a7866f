"""The files that a run leaves: one long table, the verdicts, and each target's own copy."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cache import write_atomically, writing
from harness.core.errors import ResultsError
from harness.core.job import EnvironmentRecord
from harness.core.measurement import COLUMNS, Row
from harness.core.verdict import Verdict

if TYPE_CHECKING:  # slow to import
    import pandas as pd

VERDICT_COLUMNS = tuple(field.name for field in fields(Verdict))
#: Columns of floating-point numbers, in both tables.
NUMBERS = frozenset({"value", "ci_low", "ci_high", "limit"})


def write(
    folder: Path,
    rows: Sequence[Row],
    verdicts: Iterable[Verdict],
    environments: Iterable[EnvironmentRecord],
) -> None:
    """Write all files of a run; the same facts give the same bytes."""
    with writing(folder):
        _write_csv(folder / "measurements.csv", COLUMNS, [row.to_record() for row in rows])
        records = [{name: getattr(verdict, name) for name in VERDICT_COLUMNS} for verdict in verdicts]
        _write_csv(folder / "verdicts.csv", VERDICT_COLUMNS, records)
        for target in dict.fromkeys(row.key.target for row in rows):
            own = [row.to_record() for row in rows if row.key.target == target]
            _write_csv(folder / target / "measurements.csv", COLUMNS, own)
        by_target: dict[str, list[object]] = {}
        for record in environments:
            of = {"backend": record.backend, "variant": record.variant, "suite": record.suite}
            by_target.setdefault(record.target, []).append(
                {**of, "phase": record.phase, "facts": dict(record.facts)}
            )
        for target, taken in by_target.items():
            text = json.dumps(taken, indent=1, sort_keys=True)
            write_atomically(folder / target / "environment.json", text.encode())


def _write_csv(path: Path, columns: Sequence[str], records: Iterable[Mapping[str, Any]]) -> None:
    """Write what pandas would, without the seconds that its import takes."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for record in records:
        writer.writerow([_cell(column, record[column]) for column in columns])
    write_atomically(path, text.getvalue().encode())


def _cell(column: str, value: Any) -> object:  # noqa: ANN401 - whatever a record holds
    """A measured number in the fewest digits that give it back, nothing where there is none."""
    if column not in NUMBERS:
        return value
    return "" if math.isnan(value) else repr(float(value))


def read(path: Path) -> pd.DataFrame:
    """Read a table that a run wrote.

    Raises
    ------
    ResultsError
        It is missing, or lacks columns of the contract.
    """
    import pandas as pd

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
