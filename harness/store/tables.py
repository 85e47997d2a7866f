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

from harness.core.errors import ResultsError
from harness.core.job import EnvironmentRecord
from harness.core.measurement import COLUMNS, KEY_COLUMNS, UNITS, Row
from harness.core.metric import Declared, Role
from harness.core.plan import HOST
from harness.core.untrusted import encodable
from harness.core.verdict import GATE, State, Verdict
from harness.store.cache import write_atomically, writing

if TYPE_CHECKING:  # slow to import
    import pandas as pd

VERDICT_COLUMNS = tuple(field.name for field in fields(Verdict))
#: Columns without which there is no verdict.
VERDICTS_NEED = (
    "gate", "target", "backend", "variant", "state", "severity", "on_inconclusive", "sentence",
)  # fmt: skip
#: Columns of floating-point numbers, in both tables.
NUMBERS = frozenset({"value", "ci_low", "ci_high", "limit"})
#: Columns that a comparison looks at.
COMPARED = (
    *KEY_COLUMNS, "unit", "value", "ci_low", "ci_high", "n", "status", "reason", "model",
)  # fmt: skip
#: Text that begins with one of them is a formula to a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\n")
#: Columns that are text even where they look like numbers (a variant ``8``, a version ``1.32``).
TEXTS = frozenset(COLUMNS) - NUMBERS - {"severity", "n"}


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
            of_target = [row.to_record() for row in rows if row.key.target == target]
            _write_csv(folder / target / "measurements.csv", COLUMNS, of_target)
        by_target: dict[str, list[object]] = {}
        for record in environments:
            batch = {"backend": record.backend, "variant": record.variant, "suite": record.suite}
            by_target.setdefault(record.target, []).append(
                {**batch, "phase": record.phase, "facts": dict(record.facts)}
            )
        for target, taken in by_target.items():
            text = json.dumps(taken, indent=1, sort_keys=True)
            write_atomically(folder / target / "environment.json", text.encode())


def write_cards(
    folder: Path, run: Mapping[str, Any], cards: Mapping[str, Any], rows: Iterable[Row], metrics: Declared
) -> None:  # fmt: skip
    """Write ``cards/<variant>.json``: facts from when it was made, and its loss by class."""
    names = run["model"]["class_names"]
    losses = {(suite, name) for suite, name, _ in metrics.with_role(Role.CLASS_LOSS)}
    classes: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        m = row.measurement
        if row.key.target == HOST and (row.key.suite, m.metric) in losses and "/" in row.case:
            label = int(row.case.rpartition("/")[2])
            entry = {"label": label, "name": names[label] if label < len(names) else str(label)}
            lost = {"loss_pt": m.value, "ci_low": m.ci_low, "ci_high": m.ci_high, "n": m.n}
            classes.setdefault(row.key.variant, []).append(entry | lost)
    with writing(folder):
        for variant, card in cards.items():
            whole = {**card, "classes": classes.get(variant, []), "validation": run["validation_path"]}
            text = json.dumps(whole, indent=1, sort_keys=True)
            write_atomically(folder / "cards" / f"{variant}.json", text.encode())


def _write_csv(path: Path, columns: Sequence[str], records: Iterable[Mapping[str, Any]]) -> None:
    write_atomically(path, csv_bytes(columns, records))


def csv_bytes(columns: Sequence[str], records: Iterable[Mapping[str, Any]]) -> bytes:
    """Give what pandas would write, without the seconds that its import takes."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for record in records:
        writer.writerow([_cell(column, record[column]) for column in columns])
    return encodable(text.getvalue()).encode()


def _cell(column: str, value: Any) -> object:  # noqa: ANN401 - whatever a record holds
    """A measured number in the fewest digits that give it back, nothing where there is none."""
    if column not in NUMBERS:
        return inert(value) if isinstance(value, str) else value
    return "" if math.isnan(value) else repr(float(value))


def read(path: Path) -> pd.DataFrame:
    """Read a table that a run wrote, CSV or Parquet.

    Texts are texts whatever they look like (a variant ``NA``, a version ``1.10``), and empty where there is
    none; numbers are NaN where there is none.

    Raises
    ------
    ResultsError
        It is missing, empty, cut, or has other columns than those of the contract.
    """
    import pandas as pd

    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    except (OSError, ValueError, ImportError) as error:
        raise _unreadable(path, error) from error
    check_columns(list(frame.columns), path)
    cut = frame["status"].isna() | (frame["status"] == "")
    if cut.any():
        raise cut_off(path, int(frame.index[cut][0]) + 2)
    return frame


def read_verdicts(path: Path) -> pd.DataFrame:
    """Read ``verdicts.csv`` with texts as texts; runs of earlier versions lack waivers, and checks.

    Raises
    ------
    ResultsError
        It is missing, damaged, or has states that this version does not know.
    """
    try:
        frame = _read_csv(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if absent_columns := [name for name in VERDICTS_NEED if name not in frame]:
        raise ResultsError(f"the table lacks the columns {', '.join(absent_columns)}", where=str(path))
    if foreign := sorted(set(frame["state"]) - set(State)):
        raise ResultsError(
            f"the table has the state {foreign[0]!r:.60}", where=str(path),
            cause="it is damaged, or a newer version wrote it", next_step="harness judge RUN writes it anew",
        )  # fmt: skip
    absent = {"waived": "", "kind": GATE}
    return frame.assign(**{name: value for name, value in absent.items() if name not in frame})


def _read_csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    numbers = NUMBERS | {"severity", "n"}
    frame = pd.read_csv(path, dtype="str", keep_default_na=False)
    # ``severity`` is a number of measurements.csv and the word block or warn in verdicts.csv.
    is_verdicts = "on_inconclusive" in frame
    for name in numbers & set(frame.columns) - ({"severity"} if is_verdicts else set()):
        column = pd.to_numeric(frame[name].where(frame[name] != ""))
        frame[name] = column.astype("float64") if name in NUMBERS else column
    for name in frame.columns[[dtype.kind not in "fiu" for dtype in frame.dtypes]]:
        if frame[name].str.startswith("'").any():
            frame[name] = frame[name].map(restored)
    return frame


def _unreadable(path: Path, error: Exception) -> ResultsError:
    import pandas as pd

    cause = "it is empty" if isinstance(error, pd.errors.EmptyDataError) else ""
    return ResultsError(f"the table cannot be read: {error}", where=str(path), cause=cause)


def check_columns(names: Sequence[str], path: Path) -> None:
    """Refuse a table whose columns are not those of the contract."""
    absent = [column for column in COLUMNS if column not in names]
    if absent:
        raise ResultsError(
            f"the table lacks the columns {', '.join(absent)}",
            where=str(path),
            cause="it is another CSV, or one of another version",
        )
    foreign = [str(column) for column in names if column not in COLUMNS]
    if foreign:
        raise ResultsError(
            f"the table has columns that this version does not know: {', '.join(foreign)}",
            where=str(path),
            cause="a newer version wrote it, or another program added them",
            next_step="update the harness, or take the columns out",
        )


def cut_off(path: Path, line: int) -> ResultsError:
    """Say that a table ends in the middle of a line."""
    return ResultsError(
        f"line {line} of the table is cut", where=str(path), cause="it was copied while it was written",
        next_step="copy it again, or write it anew: harness judge RUN",
    )  # fmt: skip


def clean(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """Leave the reference's rows out, and put all numbers in the table's own units.

    Raises
    ------
    ResultsError
        A number cannot be read.
    """
    import numpy as np

    frame = frame[frame["target"] != HOST].reset_index(drop=True)
    empty = [name for name in ("reference", "reason", "unit") if name in frame]
    frame = frame.assign(**{name: _filled(frame[name]) for name in empty})
    try:
        for column in ("value", "ci_low", "ci_high"):
            frame[column] = frame[column].astype(np.float64)
    except ValueError as error:
        raise ResultsError(
            f"the column {column} has a value that is not a number: {error}", where=where
        ) from error
    for unit in frame["unit"].unique():
        table_unit, factor = UNITS.get(unit, (unit, 1.0))
        if table_unit == unit:
            continue
        rows = frame["unit"] == unit
        for column in ("value", "ci_low", "ci_high"):
            frame[column] = frame[column].where(~rows, frame[column] * factor)
        frame["unit"] = frame["unit"].astype("str").where(~rows, table_unit)
    return frame


def _filled(column: pd.Series) -> pd.Series:
    if column.dtype.name == "category" and "" not in column.cat.categories:
        column = column.cat.add_categories("")
    return column.fillna("")


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write a CSV whole or not at all; what a spreadsheet would take for a formula gets an apostrophe."""
    safe = frame.copy()
    safe.columns = [inert(str(name)) for name in frame.columns]
    for column in safe.columns[[dtype.kind in "OTU" for dtype in safe.dtypes]]:
        texts = {value: inert(value) for value in safe[column].unique() if isinstance(value, str)}
        safe[column] = safe[column].map(lambda value, texts=texts: texts.get(value, value))
    with writing(path):
        write_atomically(path, safe.to_csv(index=False, lineterminator="\n").encode())


def inert(text: str) -> str:
    """Return text that no spreadsheet takes for a formula: an apostrophe goes before it.

    `restored` gives it back. A carriage return becomes a line feed.
    """
    line = _whole_line(text)
    begins = line[:1] in _FORMULA or (line[:1] == "'" and line[1:2] in (*_FORMULA, "'"))
    return f"'{line}" if begins else line


def restored(text: str) -> str:
    """Return the text that `inert` was given; text of other programs stays as it is."""
    return text[1:] if text[:1] == "'" and text[1:2] in (*_FORMULA, "'") else text


def _whole_line(text: str) -> str:
    """Replace carriage returns: the csv module does not quote them, and readers end a line there."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def plain(text: object) -> str:
    """Make untrusted text safe for a terminal: control characters are replaced."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(text))
