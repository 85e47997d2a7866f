"""SQL over all runs of a results folder, by DuckDB in this process.

The index of the tables is brought up to date first; then the engine is locked off files, network and
extensions, because what is asked may have been copied from somewhere, and the files are untrusted input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.compare.query_index import VIEWS, indexed
from harness.config.folders import cache_folder
from harness.core.commands import install
from harness.core.errors import UsageError
from harness.store import tables
from harness.store.runs import LeftOut

if TYPE_CHECKING:
    import duckdb

#: So many rows are printed; the CSV has all.
SHOWN = 200
#: Longer cells are cut on the screen.
WIDEST = 100


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows that a query gave, and the runs that it did not see."""

    frame: pd.DataFrame
    left_out: tuple[LeftOut, ...]


def query(sql: str, results: Path, tell: Callable[[str], None] = lambda _: None) -> Answer:
    """Ask all runs of a folder.

    Parameters
    ----------
    sql : str
        One SELECT.
    results : Path
    tell : callable
        Is given a line when many runs are read into the index.

    Raises
    ------
    UsageError
        The SQL is wrong, is no single SELECT, or DuckDB is missing.
    ResultsError
        No run can be read.
    """
    try:
        import duckdb  # noqa: F401 - whether it is installed
    except ModuleNotFoundError as error:
        raise UsageError(
            "harness query needs DuckDB, which is not installed",
            next_step=install("query"),
        ) from error
    with indexed(results, cache_folder(), tell) as (connection, left_out):
        _lock(connection)
        return Answer(_ask(connection, sql), tuple(left_out))


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
