"""SQL over all runs of a results folder, by DuckDB in this process.

The tables are loaded first; then the engine is locked off files, network and extensions, because what is
asked may have been copied from somewhere, and the files are untrusted input.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.core.commands import install
from harness.core.errors import ResultsError, UsageError
from harness.core.measurement import COLUMNS
from harness.store import tables
from harness.store.runs import LeftOut, StoredRun, stored

if TYPE_CHECKING:
    import duckdb

#: So many rows are printed; the CSV has all.
SHOWN = 200
#: Longer cells are cut on the screen.
WIDEST = 100


def _typed(columns: Sequence[str], integers: frozenset[str]) -> dict[str, str]:
    return {
        name: "DOUBLE" if name in tables.NUMBERS else "BIGINT" if name in integers else "VARCHAR"
        for name in columns
    }


MEASUREMENTS = _typed(COLUMNS, frozenset({"severity", "n"}))
VERDICTS = _typed(("run_id", *tables.VERDICT_COLUMNS), frozenset({"n"}))
CARDS = {"run_id": "VARCHAR", "variant": "VARCHAR", "card": "JSON"}
VIEWS = {"measurements": MEASUREMENTS, "verdicts": VERDICTS, "cards": CARDS}


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows that a query gave, and the runs that it did not see."""

    frame: pd.DataFrame
    left_out: tuple[LeftOut, ...]


def query(sql: str, results: Path) -> Answer:
    """Ask all runs of a folder.

    Raises
    ------
    UsageError
        The SQL is wrong, is no single SELECT, or DuckDB is missing.
    ResultsError
        No run can be read.
    """
    try:
        import duckdb
    except ModuleNotFoundError as error:
        raise UsageError(
            "harness query needs DuckDB, which is not installed",
            next_step=install("query"),
        ) from error
    runs, left_out = stored(results)
    connection = duckdb.connect(":memory:")
    try:
        left_out += _load(connection, runs)
        if len(left_out) and connection.execute("SELECT count(*) FROM measurements").fetchall() == [(0,)]:
            raise ResultsError(
                "no run of this folder can be read", where=str(results),
                cause="; ".join(map(str, left_out[:3])),
            )  # fmt: skip
        _lock(connection)
        return Answer(_ask(connection, sql), tuple(left_out))
    finally:
        connection.close()


def _load(connection: duckdb.DuckDBPyConnection, runs: Sequence[StoredRun]) -> list[LeftOut]:
    for name, columns in VIEWS.items():
        listed = ", ".join(f'"{column}" {kind}' for column, kind in columns.items())
        connection.execute(f"CREATE TABLE {name} ({listed})")
    left_out = []
    for run in runs:
        try:
            _load_run(connection, run)
        except Exception as error:  # noqa: BLE001 - one run that cannot be read does not hide the others
            left_out.append(LeftOut.because(run.run_id, error))
    connection.unregister("loaded")
    return left_out


def _load_run(connection: duckdb.DuckDBPyConnection, run: StoredRun) -> None:
    """Load one run whole or not at all."""
    import duckdb

    frame = tables.read(run.table)
    verdicts = run.folder.path / "verdicts.csv"
    try:
        verdict_rows = tables.read_verdicts(verdicts) if verdicts.is_file() else None
        cards = [
            [run.run_id, path.stem, json.dumps(json.loads(path.read_text()))]
            for path in sorted((run.folder.path / "cards").glob("*.json"))
        ]
    except (OSError, ValueError) as error:
        raise ResultsError(f"verdicts.csv or a card cannot be read: {error}") from error
    connection.execute("BEGIN")
    try:
        _insert(connection, "measurements", MEASUREMENTS, frame)
        if verdict_rows is not None:
            _insert(connection, "verdicts", VERDICTS, verdict_rows.assign(run_id=run.run_id))
        if cards:
            connection.executemany("INSERT INTO cards VALUES (?, ?, ?)", cards)
    except duckdb.Error as error:
        connection.execute("ROLLBACK")
        raise ResultsError(f"a table holds what does not belong there: {error}") from error
    connection.execute("COMMIT")


def _insert(
    connection: duckdb.DuckDBPyConnection, view: str, columns: Mapping[str, str], frame: pd.DataFrame
) -> None:
    run_columns = [name for name in columns if name in frame]
    listed = ", ".join(f'"{name}"' for name in run_columns)
    cast = ", ".join(f'CAST("{name}" AS {columns[name]})' for name in run_columns)
    # As objects: the engine reads NaN of a text column as the text nan.
    objects = frame[run_columns].astype(object)
    present = objects.notna() & (objects != "")
    connection.register("loaded", objects.where(present, None))
    connection.execute(f"INSERT INTO {view} ({listed}) SELECT {cast} FROM loaded")  # noqa: S608 - our own names


def _lock(connection: duckdb.DuckDBPyConnection) -> None:
    """Shut the engine off from everything but what was loaded; no statement can open it again."""
    for setting in (
        "temp_directory = ''", "enable_external_access = false", "python_enable_replacements = false",
        "autoinstall_known_extensions = false", "autoload_known_extensions = false",
        "lock_configuration = true",
    ):  # fmt: skip
        connection.execute(f"SET {setting}")


def _ask(connection: duckdb.DuckDBPyConnection, sql: str) -> pd.DataFrame:
    import duckdb

    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise UsageError(
                f"a query is one SELECT, and this is {_kinds(statements)}",
                where=sql, next_step="views: " + ", ".join(VIEWS),
            )  # fmt: skip
        relation = connection.execute(statements[0])
        names = _distinct([column[0] for column in relation.description])
        return pd.DataFrame(relation.fetchall(), columns=names, dtype=object)
    except duckdb.Error as error:
        raise UsageError(
            f"DuckDB refuses the query: {error}", where=sql,
            next_step=f"the columns: harness query 'DESCRIBE measurements'; views: {', '.join(VIEWS)}",
        ) from error  # fmt: skip


def _kinds(statements: Sequence[Any]) -> str:
    return ", ".join(statement.type.name for statement in statements) or "nothing"


def _distinct(names: Sequence[str]) -> list[str]:
    """Two columns of one name are numbered."""
    return [
        f"{name}_{names[:index].count(name) + 1}" if name in names[:index] else name
        for index, name in enumerate(names)
    ]


def text(answer: Answer) -> str:
    """Draw a table for a terminal: numbers to the right, what is missing left empty."""
    frame = answer.frame
    shown = frame[:SHOWN]
    columns = []
    for name in frame.columns:
        values = shown[name].tolist()
        numbers = all(isinstance(value, int | float) for value in values if value is not None) and bool(
            values
        )
        cells = [tables.plain(name), *("" if value is None else _cell(value) for value in values)]
        width = max(map(len, cells))
        columns.append([cell.rjust(width) if numbers else cell.ljust(width) for cell in cells])
    lines = ["  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]
    if lines:
        lines.insert(1, "  ".join("-" * len(column[0]) for column in columns))
    lines += [f"… {len(frame) - SHOWN} more rows: --csv has them all"] * (len(frame) > SHOWN)
    return "\n".join([*lines, f"{len(frame)} row{'s' * (len(frame) != 1)}"])


def _cell(value: object) -> str:
    cell = tables.plain(value)
    return cell if len(cell) <= WIDEST else f"{cell[: WIDEST - 1]}…"
