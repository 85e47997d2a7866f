"""All runs of a results folder, oldest first; those that cannot be read are named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.errors import HarnessError, ResultsError
from harness.core.unexpected import one_line
from harness.store.run_folder import RunFolder

#: Folders beside the runs that are none.
NO_RUNS = frozenset({"baselines"})
#: A folder with none of these is no run.
_MARKS = ("run.json", "plan.json", "journal.jsonl", "measurements.csv", "measurements.parquet")


@dataclass(frozen=True, slots=True)
class StoredRun:
    """One run with its table.

    Parameters
    ----------
    folder : RunFolder
    run : mapping
        ``run.json``.
    table : Path
        Its ``measurements.csv``, or the same as Parquet.
    """

    folder: RunFolder
    run: Mapping[str, Any]
    table: Path

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.folder.run_id

    @property
    def created_utc(self) -> str:
        """When it began."""
        return str(self.run.get("created_utc", ""))


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A run that is left out, and why."""

    run_id: str
    why: str

    @classmethod
    def because(cls, run_id: str, error: Exception) -> LeftOut:
        """Leave a run out because of an error of the harness, or an exception that nobody expected."""
        if isinstance(error, HarnessError):
            return cls(run_id, "; ".join(filter(None, (error.what, error.cause))))
        return cls(run_id, f"it cannot be read: {one_line(error)}")

    def __str__(self) -> str:
        return f"{self.run_id} is left out: {self.why}"


def stored(results: Path) -> tuple[list[StoredRun], list[LeftOut]]:
    """Find the runs of a folder by ``created_utc``, then by name.

    Raises
    ------
    ResultsError
        The folder is missing or holds no run.
    """
    runs: list[StoredRun] = []
    unread: list[LeftOut] = []
    for path in run_folders(results):
        run = read_run(path)
        if isinstance(run, StoredRun):
            runs.append(run)
        else:
            unread.append(run)
    if not runs:
        raise ResultsError(
            "no run of this folder can be read" if unread else "the results folder holds no run",
            where=str(results), cause="; ".join(map(str, unread[:3])),
            next_step="harness validate makes one; --results DIR names another folder",
        )  # fmt: skip
    runs.sort(key=lambda run: (run.created_utc, run.run_id))
    return runs, unread


def run_folders(results: Path) -> list[Path]:
    """Return the folders of runs by name, readable or not.

    Raises
    ------
    ResultsError
        The results folder is missing.
    """
    if not results.is_dir():
        raise ResultsError(
            "there is no such results folder", where=str(results),
            next_step="harness validate makes it; --results DIR names another",
        )  # fmt: skip
    return [
        path
        for path in sorted(results.iterdir())
        if not path.is_symlink()
        and path.is_dir()
        and path.name not in NO_RUNS
        and any((path / mark).is_file() for mark in _MARKS)
    ]


def read_run(path: Path) -> StoredRun | LeftOut:
    """Read ``run.json`` of a folder, or say why the run cannot be read now."""
    folder = RunFolder(path)
    if not (path / "run.json").is_file():
        return LeftOut(path.name, "it has no run.json: it was interrupted at its start")
    if folder.being_written():
        return LeftOut(path.name, "it is being written")
    try:
        run = folder.read_run(whole=False)
    except Exception as error:  # noqa: BLE001 - one run that cannot be read does not hide the others
        return LeftOut.because(path.name, error)
    for name in ("measurements.csv", "measurements.parquet"):
        if (path / name).is_file():
            return StoredRun(folder, run, path / name)
    return LeftOut(
        path.name, f"it was interrupted before its table was written: harness judge {path.name} writes it"
    )
