"""The run's folder: what was asked, what is planned, and a journal of what was measured."""

from __future__ import annotations

import difflib
import fcntl
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from harness.core import npy
from harness.core.errors import ResultsError
from harness.core.groups import Groups
from harness.core.job import EnvironmentRecord, JobKey, JobResult, Samples
from harness.core.plan import Plan
from harness.store import journal, plan_file, shapes
from harness.store.cache import write_atomically, writing
from harness.store.journal import Journal, npy_bytes

#: Version of the folder's layout and of the table.
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Facts:
    """What a run's folder holds.

    Parameters
    ----------
    run : mapping
        ``run.json``.
    plan : Plan
        The artifacts' files need not be on this machine.
    labels : ndarray, optional
    results : mapping of JobKey to JobResult
        Skipped ones included.
    environments : list of EnvironmentRecord
    cards : mapping of variant to its card
    groups : tuple of Groups
        What columns of the data divide the samples into.
    damaged : tuple of str
        One sentence for each stored result that cannot be read; its job counts as not run.
    parts : mapping of JobKey to Samples
        What an interrupted job measured.
    """

    run: Mapping[str, Any]
    plan: Plan
    labels: NDArray[Any] | None
    results: Mapping[JobKey, JobResult]
    environments: list[EnvironmentRecord] = field(default_factory=list)
    cards: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    groups: tuple[Groups, ...] = ()
    damaged: tuple[str, ...] = ()
    parts: Mapping[JobKey, Samples] = field(default_factory=dict)


class RunFolder:
    """One run on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.path.name

    def create(
        self,
        run: Mapping[str, Any],
        plan: Plan,
        labels: NDArray[Any] | None,
        cards: Mapping[str, Any] | None = None,
        groups: Sequence[Groups] = (),
    ) -> None:
        """Write what is known before the first measurement; ``run.json`` last: it marks a whole start."""
        with writing(self.path):
            self.path.mkdir(parents=True)
        try:
            self._write(run, plan, labels, cards or {}, groups)
        except BaseException:
            shutil.rmtree(self.path, ignore_errors=True)  # no half of a run is left
            raise

    def _write(
        self,
        run: Mapping[str, Any],
        plan: Plan,
        labels: NDArray[Any] | None,
        cards: Mapping[str, Any],
        groups: Sequence[Groups],
    ) -> None:
        with writing(self.path):
            if groups:
                text = json.dumps([one.to_json() for one in groups])
                write_atomically(self.path / "groups.json", text.encode())
            if labels is not None:
                write_atomically(self.path / "labels.npy", npy_bytes(labels))
            write_atomically(self.path / "plan.json", json.dumps(plan_file.to_json(plan)).encode())
            write_atomically(self.path / "cards.json", json.dumps(cards).encode())
            text = json.dumps({"schema_version": SCHEMA_VERSION, **run}, indent=1, sort_keys=True)
            write_atomically(self.path / "run.json", text.encode())

    def replace_plan(self, plan: Plan) -> None:
        """Store a plan in place of the first one."""
        with writing(self.path):
            write_atomically(self.path / "plan.json", json.dumps(plan_file.to_json(plan)).encode())

    def read_run(self, *, whole: bool = True) -> dict[str, Any]:
        """``run.json``.

        Parameters
        ----------
        whole : bool
            It must have all that judging a run takes; else what its tables are read with.

        Raises
        ------
        ResultsError
            This is no run, a damaged one, or one of a newer harness.
        """
        path = self.path / "run.json"
        if not path.is_file():
            raise ResultsError(
                "this is not the folder of a run",
                where=str(self.path),
                cause="run.json is missing",
                next_step="name a run id, a unique prefix of one, a folder, or latest",
            )
        run: dict[str, Any] = shapes.read(path, shapes.Version)
        if run["schema_version"] != SCHEMA_VERSION:
            wrote = run.get("versions", {}).get("deployment-validation-harness", "unknown")
            raise ResultsError(
                f"the run has the schema version {run['schema_version']}, this harness reads "
                f"{SCHEMA_VERSION}",
                where=str(self.path),
                cause=f"it was written by version {wrote} of the harness",
                next_step=f"read it with version {wrote} of the harness, in another virtual environment",
            )
        shapes.check(run, shapes.Run if whole else shapes.Head, path)
        return run

    def read_plan(self) -> Plan:
        """Read ``plan.json`` alone."""
        return plan_file.read(self.path / "plan.json")

    def facts(self) -> Facts:
        """Read everything back; a torn last line of the journal counts as never written.

        Raises
        ------
        ResultsError
            This is no run, or a damaged one; names the file and the place in it.
        """
        run = self.read_run()
        plan = self.read_plan()
        cards = shapes.read(self.path / "cards.json", shapes.Cards)
        path = self.path / "groups.json"
        groups = tuple(map(Groups.from_json, shapes.read(path, shapes.GroupsFile) if path.exists() else ()))
        path = self.path / "labels.npy"
        try:
            labels = npy.from_bytes(path.read_bytes()) if path.exists() else None
        except (OSError, ValueError) as error:
            raise shapes.damaged(path, str(error)) from error
        entries = journal.read(self.path)
        results = {result.key: result for result in plan.skipped} | entries.results
        damaged = tuple(entries.damaged)
        return Facts(run, plan, labels, results, entries.environments, cards, groups, damaged, entries.parts)

    def being_written(self) -> bool:
        """Whether a process holds the journal now."""
        try:
            with (self.path / "journal.jsonl").open("rb") as stream:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    def journal(self) -> Journal:
        """Open the journal for writing; only one process may."""
        return Journal(self.path)


def find_run(name: str, results: Path) -> RunFolder:
    """Find a run by id, unique prefix, folder or ``latest``.

    Raises
    ------
    ResultsError
        There is none, or several ids begin with the name.
    """
    direct = Path(name)
    if (direct / "run.json").is_file():
        return RunFolder(direct.resolve())
    exact = results / name
    if (exact / "run.json").is_file():
        return RunFolder(exact.resolve())
    folders = sorted(path.parent for path in results.glob("*/run.json") if not path.parent.is_symlink())
    matches = [path for path in folders if path.name.startswith(name)]
    if len(matches) == 1:
        return RunFolder(matches[0].resolve())
    several = ", ".join(path.name for path in matches[:5])
    near = difflib.get_close_matches(name, ["latest", *(path.name for path in folders)], n=1)
    meant = f"; did you mean {near[0]!r}?" if near and folders else ""
    raise ResultsError(
        f"{len(matches)} runs begin with {name!r}: {several}"
        if matches
        else f"there is no run {name!r}{meant}",
        where=str(results),
        next_step="name a run id, a unique prefix of one, a folder, or latest",
    )


def point_latest(results: Path, run_id: str) -> None:
    """Make ``results/latest`` a link to a run."""
    with writing(results):
        temporary = results / f".latest-{os.getpid()}"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(run_id, target_is_directory=True)
        temporary.replace(results / "latest")
