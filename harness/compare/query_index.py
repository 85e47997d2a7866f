"""The tables of all runs of a results folder in one DuckDB file in the cache.

A run is read again when one of its files changed (size, times, inode); a damaged index is made anew. The
first query of a folder reads every CSV, the next ones only look at the files.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from harness.core.errors import ResultsError
from harness.core.measurement import COLUMNS
from harness.store import tables
from harness.store.cache import code_sha256, key_of, writing
from harness.store.runs import LeftOut, StoredRun, read_run, run_folders

if TYPE_CHECKING:
    import duckdb


def _typed(columns: tuple[str, ...], integers: frozenset[str]) -> dict[str, str]:
    return {
        name: "DOUBLE" if name in tables.NUMBERS else "BIGINT" if name in integers else "VARCHAR"
        for name in columns
    }


MEASUREMENTS = _typed(COLUMNS, frozenset({"severity", "n"}))
VERDICTS = _typed(("run_id", *tables.VERDICT_COLUMNS), frozenset({"n"}))
CARDS = {"run_id": "VARCHAR", "variant": "VARCHAR", "card": "JSON"}
VIEWS: Mapping[str, Mapping[str, str]] = {
    "measurements": MEASUREMENTS, "verdicts": VERDICTS, "cards": CARDS,
}  # fmt: skip
#: Where the rows are, with the folder that they come from; users see the views on them.
SCHEMA = "harness_index"
#: Which files of a folder were read.
READ = f"{SCHEMA}.read"
#: So many new runs take more than a second.
MANY = 20
#: What the rows of a run come from, beside its cards; the journal grows when it is resumed.
FILES = ("run.json", "journal.jsonl", "measurements.csv", "measurements.parquet", "verdicts.csv")


@contextmanager
def indexed(
    results: Path, cache: Path, tell: Callable[[str], None]
) -> Iterator[tuple[duckdb.DuckDBPyConnection, list[LeftOut]]]:
    """Bring the index of a results folder up to date, and open it for reading.

    Parameters
    ----------
    results : Path
    cache : Path
        Folder of the cache.
    tell : callable
        Is given a line when many runs are read.

    Yields
    ------
    connection
        Read-only, with the tables of `VIEWS`.
    list of LeftOut
        Runs that cannot be read.

    Raises
    ------
    ResultsError
        The folder is missing or holds no run that can be read.
    StoreError
        The cache cannot be written.
    """
    import duckdb

    folders = run_folders(results)
    # What another version of the code read may lack rows; the folder's name keeps two results folders apart.
    made_from = {
        "code": code_sha256(Path(tables.__file__).parent),
        "views": VIEWS,
        "of": str(results.resolve()),
    }
    path = cache / "query" / f"{key_of(made_from)}.duckdb"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_suffix(".lock").open("wb")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            left_out = _update(path, folders, tell)
        except duckdb.Error:  # a damaged file: everything in the cache can be made again
            path.unlink()
            left_out = _update(path, folders, tell)
        # Shared: two queries at once may read, and none may change the file meanwhile.
        fcntl.flock(lock, fcntl.LOCK_SH)
        with closing(duckdb.connect(path, read_only=True)) as connection:
            if connection.execute(f"SELECT 1 FROM {READ} LIMIT 1").fetchone() is None:  # noqa: S608 - ours
                raise ResultsError(
                    "no run of this folder can be read" if left_out else "the results folder holds no run",
                    where=str(results), cause="; ".join(map(str, left_out[:3])),
                    next_step="harness validate makes one; --results DIR names another folder",
                )  # fmt: skip
            yield connection, left_out


def _update(path: Path, folders: list[Path], tell: Callable[[str], None]) -> list[LeftOut]:
    """Read the runs that are new or changed, and drop those that are gone."""
    import duckdb

    left_out: list[LeftOut] = []
    with closing(duckdb.connect(path)) as connection:
        _create(connection)
        present = dict(connection.execute(f"SELECT folder, files FROM {READ}").fetchall())  # noqa: S608
        files = {folder.name: _state(folder) for folder in folders}
        for folder_name in [name for name, state in present.items() if files.get(name) != state]:
            connection.execute("BEGIN")
            for table in (*(f"{SCHEMA}.{name}" for name in VIEWS), READ):
                connection.execute(f"DELETE FROM {table} WHERE folder = ?", [folder_name])  # noqa: S608
            connection.execute("COMMIT")
        new = [folder for folder in folders if present.get(folder.name) != files[folder.name]]
        if len(new) >= MANY:
            tell(f"reading {len(new)} runs into the index of {folders[0].parent}; the next query does not")
        for folder in new:
            run = read_run(folder)
            try:
                if isinstance(run, LeftOut):
                    left_out.append(run)
                else:
                    _load(connection, run, files[folder.name])
            except Exception as error:  # noqa: BLE001 - one run that cannot be read does not hide the others
                left_out.append(LeftOut.because(folder.name, error))
    return left_out


def _create(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    connection.execute(f"CREATE TABLE IF NOT EXISTS {READ} (folder VARCHAR, files VARCHAR)")
    for name, columns in VIEWS.items():
        listed = ", ".join(f'"{column}" {kind}' for column, kind in columns.items())
        connection.execute(f"CREATE TABLE IF NOT EXISTS {SCHEMA}.{name} (folder VARCHAR, {listed})")
        connection.execute(
            f"CREATE VIEW IF NOT EXISTS {name} AS SELECT * EXCLUDE (folder) FROM {SCHEMA}.{name}"  # noqa: S608
        )


def _state(folder: Path) -> str:
    """Size, times and inode of each file that the tables come from."""
    state = {}
    for path in (
        *(
            folder / name
            for name in ("run.json", "journal.jsonl", "measurements.csv", "measurements.parquet")
        ),
        folder / "verdicts.csv",
        *sorted((folder / "cards").glob("*.json")),
    ):
        try:
            facts = path.stat()
        except OSError:
            continue
        state[path.name] = (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)
    return json.dumps(state)


def _load(connection: duckdb.DuckDBPyConnection, run: StoredRun, state: str) -> None:
    """Load one run whole or not at all."""
    import duckdb

    frame = tables.read(run.table)
    verdicts = run.folder.path / "verdicts.csv"
    try:
        verdict_rows = tables.read_verdicts(verdicts) if verdicts.is_file() else None
        cards = [
            [run.run_id, run.run_id, path.stem, json.dumps(json.loads(path.read_text()))]
            for path in sorted((run.folder.path / "cards").glob("*.json"))
        ]
    except (OSError, ValueError) as error:
        raise ResultsError(f"verdicts.csv or a card cannot be read: {error}") from error
    connection.execute("BEGIN")
    try:
        _insert(connection, "measurements", run.run_id, frame)
        if verdict_rows is not None:
            _insert(connection, "verdicts", run.run_id, verdict_rows.assign(run_id=run.run_id))
        if cards:
            connection.executemany(f"INSERT INTO {SCHEMA}.cards VALUES (?, ?, ?, ?)", cards)  # noqa: S608
        connection.execute(f"INSERT INTO {READ} VALUES (?, ?)", [run.run_id, state])  # noqa: S608
        connection.unregister("loaded")
    except duckdb.Error as error:
        connection.execute("ROLLBACK")
        raise ResultsError(f"a table holds what does not belong there: {error}") from error
    connection.execute("COMMIT")


def _insert(connection: duckdb.DuckDBPyConnection, name: str, folder: str, frame: pd.DataFrame) -> None:
    columns = VIEWS[name]
    run_columns = [column for column in columns if column in frame]
    listed = ", ".join(f'"{column}"' for column in run_columns)
    cast = ", ".join(f'CAST("{column}" AS {columns[column]})' for column in run_columns)
    # As objects: the engine reads NaN of a text column as the text nan.
    objects = frame[run_columns].astype(object)
    present = objects.notna() & (objects != "")
    connection.register("loaded", objects.where(present, None))
    connection.execute(
        f"INSERT INTO {SCHEMA}.{name} (folder, {listed}) SELECT ?, {cast} FROM loaded",  # noqa: S608 - our names
        [folder],
    )
