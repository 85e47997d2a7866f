"""All runs of a results folder, oldest first; those that cannot be read are named, never passed over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.errors import HarnessError, ResultsError
from harness.store.run_folder import RunFolder

#: Folders beside the runs that are none.
NO_RUNS = frozenset({"baselines"})
#: A folder with none of these is no run.
_MARKS = ("run.json", "plan.json", "journal.jsonl", "measurements.csv", "measurements.parquet")


@dataclass(frozen=True, slots=True)
class StoredRun:
    """One run that ended.

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

    def __str__(self) -> str:
        return f"{self.run_id} is left out: {self.why}"


def stored(results: Path) -> tuple[list[StoredRun], list[LeftOut]]:
    """Find the runs of a folder by ``created_utc``, then by name.

    Raises
    ------
    ResultsError
        The folder is missing or holds no run.
    """
    if not results.is_dir():
        raise ResultsError(
            "there is no such results folder", where=str(results),
            next_step="harness validate makes it; --results DIR names another",
        )  # fmt: skip
    runs: list[StoredRun] = []
    left_out: list[LeftOut] = []
    for path in sorted(results.iterdir()):
        if (
            path.is_symlink()
            or not path.is_dir()
            or path.name in NO_RUNS
            or not any((path / mark).is_file() for mark in _MARKS)
        ):
            continue
        found = _look(path)
        if isinstance(found, StoredRun):
            runs.append(found)
        else:
            left_out.append(found)
    if not runs:
        raise ResultsError(
            "no run of this folder can be read" if left_out else "the results folder holds no run",
            where=str(results), cause="; ".join(map(str, left_out[:3])),
            next_step="harness validate makes one; --results DIR names another folder",
        )  # fmt: skip
    runs.sort(key=lambda each: (each.created_utc, each.run_id))
    return runs, left_out


def _look(path: Path) -> StoredRun | LeftOut:
    folder = RunFolder(path)
    if not (path / "run.json").is_file():
        return LeftOut(path.name, "it has no run.json: it was cut as it began")
    if folder.being_written():
        return LeftOut(path.name, "it is being written")
    try:
        run = folder.read_run()
    except HarnessError as error:
        return LeftOut(path.name, "; ".join(filter(None, (error.what, error.cause))))
    for name in ("measurements.csv", "measurements.parquet"):
        if (path / name).is_file():
            return StoredRun(folder, run, path / name)
    return LeftOut(path.name, f"it was cut before its table was written: harness judge {path.name} makes it")
