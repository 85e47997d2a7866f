"""The run's folder: what was asked, what is planned, and a journal of what was measured.

The journal is JSON lines with a checksum each. Arrays lie beside it as ``.npy`` files by hash and are
written before the line that names them, so a line that can be read names samples that exist.
"""

from __future__ import annotations

import difflib
import fcntl
import io
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import sha256_file
from harness.core.cause import Cause
from harness.core.errors import ResultsError
from harness.core.groups import Groups
from harness.core.job import EnvironmentRecord, JobKey, JobResult, Samples, Status
from harness.core.plan import Plan
from harness.store import plan_file
from harness.store.cache import write_atomically, writing

_LINE = re.compile(rb'\{"crc32": "(?P<crc32>[0-9a-f]{8})", "body": (?P<body>.*)\}')
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
    """

    run: Mapping[str, Any]
    plan: Plan
    labels: NDArray[Any] | None
    results: Mapping[JobKey, JobResult]
    environments: list[EnvironmentRecord] = field(default_factory=list)
    cards: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    groups: tuple[Groups, ...] = ()


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
                write_atomically(self.path / "labels.npy", _npy(labels))
            write_atomically(self.path / "plan.json", json.dumps(plan_file.to_json(plan)).encode())
            write_atomically(self.path / "cards.json", json.dumps(cards).encode())
            text = json.dumps({"schema_version": SCHEMA_VERSION, **run}, indent=1, sort_keys=True)
            write_atomically(self.path / "run.json", text.encode())

    def replace_plan(self, plan: Plan) -> None:
        """Store a plan in place of the first one."""
        with writing(self.path):
            write_atomically(self.path / "plan.json", json.dumps(plan_file.to_json(plan)).encode())

    def read_run(self) -> dict[str, Any]:
        """``run.json``.

        Raises
        ------
        ResultsError
            This is no run, or one of a newer harness.
        """
        try:
            run = json.loads((self.path / "run.json").read_text())
            run["schema_version"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ResultsError(
                "this is not the folder of a run",
                where=str(self.path),
                cause="run.json is missing or damaged",
                next_step="name a run id, a unique prefix of one, a folder, or latest",
            ) from error
        if run["schema_version"] != SCHEMA_VERSION:
            wrote = run.get("versions", {}).get("deployment-validation-harness", "unknown")
            raise ResultsError(
                f"the run has the schema version {run['schema_version']}, this harness reads "
                f"{SCHEMA_VERSION}",
                where=str(self.path),
                cause=f"it was written by version {wrote} of the harness",
                next_step=f"read it with version {wrote} of the harness, in another virtual environment",
            )
        assert isinstance(run, dict)
        return run

    def read_plan(self) -> Plan:
        """Read ``plan.json`` alone."""
        try:
            return plan_file.from_json(json.loads((self.path / "plan.json").read_text()))
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise ResultsError("plan.json is damaged", where=str(self.path)) from error

    def facts(self) -> Facts:
        """Read everything back; a torn last line of the journal counts as never written."""
        run = self.read_run()
        plan = self.read_plan()
        try:
            labels_path = self.path / "labels.npy"
            labels = np.load(labels_path, allow_pickle=False) if labels_path.exists() else None
            cards = json.loads((self.path / "cards.json").read_text())
            groups_path = self.path / "groups.json"
            listed = json.loads(groups_path.read_text()) if groups_path.exists() else []
            groups = tuple(Groups.from_json(value) for value in listed)
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise ResultsError(
                "cards.json, groups.json or labels.npy is damaged", where=str(self.path)
            ) from error
        results = {result.key: result for result in plan.skipped}
        environments = []
        for body in self._lines():
            if body["type"] == "result":
                result = self._result(body)
                if result is not None:
                    results[result.key] = result
            else:
                batch = dict(zip(("target", "backend", "variant", "suite"), body["of"], strict=True))
                environments.append(EnvironmentRecord(**batch, phase=body["phase"], facts=body["facts"]))
        return Facts(run, plan, labels, results, environments, cards, groups)

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

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            lines = (self.path / "journal.jsonl").read_bytes().splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            body = _checked(line)
            if body is not None:
                yield body

    def _result(self, body: Mapping[str, Any]) -> JobResult | None:
        """None where an array is missing or damaged: the job then counts as not run."""
        key = JobKey(*body["key"])
        arrays, folder = {}, f"{self.path / key.target / 'samples'}/"
        for name, digest in body["arrays"].items():
            try:
                with open(f"{folder}{digest}.npy", "rb") as stream:  # noqa: PTH123 - there are thousands
                    content = stream.read()
            except OSError:
                return None
            if sha256(content).hexdigest() != digest:
                return None
            arrays[name] = _from_npy(content)
        return JobResult(
            key, Status(body["status"]), body["reason"], Samples(arrays, body["values"]), body["effective"],
            body["started_utc"], body["duration_ns"],
            Cause.read(body.get("cause")), body.get("raw", ""),
        )  # fmt: skip


class Journal:
    """Appends results, one line each; a context manager that holds the run's lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stream: io.FileIO | None = None

    def __enter__(self) -> Self:
        with writing(self._folder):
            stream = (self._folder / "journal.jsonl").open("a+b", buffering=0)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.close()
            raise ResultsError(
                "another process is writing this run", where=str(self._folder), next_step="wait for it to end"
            ) from error
        _cut_torn_line(stream)
        self._stream = stream
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._stream is not None
        self._stream.close()

    def append(self, event: JobResult | EnvironmentRecord) -> None:
        """Store one event before the next one is measured."""
        with writing(self._folder):
            if isinstance(event, JobResult):
                arrays = {name: self._store(event.key.target, a) for name, a in event.samples.arrays.items()}
                body: dict[str, Any] = {
                    "type": "result", "key": list(event.key), "status": event.status.value,
                    "reason": event.reason, "cause": event.cause.value, "raw": event.raw,
                    "values": dict(event.samples.values), "arrays": arrays,
                    "effective": dict(event.effective), "started_utc": event.started_utc,
                    "duration_ns": event.duration_ns,
                }  # fmt: skip
            else:
                batch = [event.target, event.backend, event.variant, event.suite]
                body = {"type": "environment", "of": batch, "phase": event.phase, "facts": dict(event.facts)}
            assert self._stream is not None
            line = memoryview(_line(body))
            while line:  # unbuffered: what a full disk refuses is not tried again at close
                line = line[self._stream.write(line) :]
            os.fsync(self._stream.fileno())

    def _store(self, target: str, array: NDArray[Any]) -> str:
        content = _npy(array)
        digest = sha256(content).hexdigest()
        path = self._folder / target / "samples" / f"{digest}.npy"
        if not path.is_file() or sha256_file(path) != digest:  # a damaged file is replaced
            write_atomically(path, content)
        return digest


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


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _from_npy(content: bytes) -> NDArray[Any]:
    """What `_npy` wrote; thousands of arrays have few different heads, and reading one takes longest."""
    start = 10 + int.from_bytes(content[8:10], "little")
    shape, is_fortran, dtype = _head(content[:start])
    array = np.frombuffer(bytearray(memoryview(content)[start:]), dtype)  # which may be written to
    return array.reshape(shape, order="F" if is_fortran else "C")


@lru_cache(maxsize=256)
def _head(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    stream = io.BytesIO(content)
    if (version := np.lib.format.read_magic(stream)) != (1, 0):
        raise ValueError(f"an array of version {version}, and np.save writes 1.0 of what is measured")
    return np.lib.format.read_array_header_1_0(stream)


def _line(body: Mapping[str, Any]) -> bytes:
    text = json.dumps(body, sort_keys=True)
    return f'{{"crc32": "{zlib.crc32(text.encode()):08x}", "body": {text}}}\n'.encode()


def _checked(line: bytes) -> dict[str, Any] | None:
    match = _LINE.fullmatch(line)
    if match is None or f"{zlib.crc32(match['body']):08x}".encode() != match["crc32"]:
        return None
    body = json.loads(match["body"])
    return body if isinstance(body, dict) else None


def _cut_torn_line(stream: io.FileIO) -> None:
    """Cut what a kill left of a last line, so that the next line starts on its own."""
    stream.seek(0)
    content = stream.read()
    end = content.rfind(b"\n") + 1
    if end < len(content):
        stream.truncate(end)
    stream.seek(0, os.SEEK_END)
