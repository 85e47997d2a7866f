"""The journal of a run: JSON lines with a checksum each.

Arrays lie beside it as ``.npy`` files by hash and are written before the line that names them, so a line that
can be read names samples that exist. Those of a part of a job that goes on are small, in its line: what
was flushed survives a loss of power. What a kill, a disk or another program damaged is named, never guessed.
"""

from __future__ import annotations

import base64
import fcntl
import io
import json
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from harness.core import machine_facts, npy
from harness.core.artifact import sha256_file
from harness.core.cause import Cause
from harness.core.errors import ResultsError
from harness.core.job import EnvironmentRecord, JobKey, JobResult, Part, Samples, Status, merge
from harness.core.untrusted import MAX_RAW, MAX_REASON, cut, is_count, is_text, shown, storable
from harness.store.cache import write_atomically, writing

FILE = "journal.jsonl"
_LINE = re.compile(rb'\{"crc32": "(?P<crc32>[0-9a-f]{8})", "body": (?P<body>.*)\}')
#: The key of a result, in a line whose rest cannot be read.
_KEY = re.compile(rb'"key": (\[[^\[\]]{1,2000}\])')
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(slots=True)
class Entries:
    """What a journal holds.

    Parameters
    ----------
    results : mapping of JobKey to JobResult
        The last one of each job.
    environments : list of EnvironmentRecord
    parts : mapping of JobKey to Samples
        The parts of a job that are in no result, joined.
    damaged : list of str
        One sentence for each line that cannot be read and was not written again later.
    """

    results: dict[JobKey, JobResult] = field(default_factory=dict)
    environments: list[EnvironmentRecord] = field(default_factory=list)
    parts: dict[JobKey, Samples] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)


def read(folder: Path) -> Entries:
    """Read the journal of a run; a torn last line counts as never written."""
    try:
        content = (folder / FILE).read_bytes()
    except FileNotFoundError:
        return Entries()
    entries, damaged = Entries(), dict[str, JobKey | None]()
    parts: dict[JobKey, list[Samples]] = {}
    *lines, torn = content.split(b"\n")
    for number, line in enumerate([*lines, torn], 1):
        try:
            event = _event(_body(line), folder)
        except _Damage as error:
            if number > len(lines):
                break  # the last line of a process that was killed
            key, is_part = _key_of(line), b'"type": "part"' in line
            what = "a part" if is_part else "the result"
            of = f", {what} of {named(key)}," if key is not None else ""
            damaged[f"line {number} of {FILE}{of} cannot be used: {error}"] = None if is_part else key
            if key is not None and not is_part:
                entries.results.pop(key, None)  # what it replaced does not count again
        else:
            if isinstance(event, JobResult):
                entries.results[event.key] = event
                parts.pop(event.key, None)  # it has them
            elif isinstance(event, Part):
                parts.setdefault(event.key, []).append(event.samples)
            else:
                entries.environments.append(event)
    for job, samples in parts.items():
        try:
            entries.parts[job] = merge(samples)
        except (ValueError, TypeError) as error:
            damaged[f"the parts of {named(job)} in {FILE} do not fit each other: {error}"] = None
    entries.damaged = [text for text, key in damaged.items() if key not in entries.results]
    return entries


def named(key: JobKey) -> str:
    """A job in words."""
    severity = f" {key.severity}" if key.severity else ""
    return f"{key.suite} {key.case}{severity} of {key.variant} ({key.setting}) on {key.target}/{key.backend}"


class _Damage(Exception):
    """A line that cannot be used."""


def _body(line: bytes) -> Mapping[str, Any]:
    match = _LINE.fullmatch(line)
    if match is None or f"{zlib.crc32(match['body']):08x}".encode() != match["crc32"]:
        raise _Damage("its checksum does not fit")
    try:
        body = json.loads(match["body"])
    except (ValueError, RecursionError) as error:
        raise _Damage("it is no JSON") from error
    if not isinstance(body, dict):
        raise _Damage("it is no JSON object")
    return body


def _event(body: Mapping[str, Any], folder: Path) -> JobResult | Part | EnvironmentRecord:
    try:
        if body["type"] == "result":
            return _result(body, folder)
        if body["type"] == "part":
            return _part(body)
        target, backend, variant, suite = map(str, body["of"])
        facts = storable(body["facts"])
        if not isinstance(facts, dict):
            raise _Damage("facts is no JSON object")
        if (problem := machine_facts.problem(facts)) is not None:
            raise _Damage(f"facts.{problem[0]} is {shown(problem[1])}, not {problem[2]}")
        return EnvironmentRecord(target, backend, variant, suite, str(body["phase"]), facts)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _Damage(f"a field is missing or wrong: {error}") from error


def _result(body: Mapping[str, Any], folder: Path) -> JobResult:
    key = _checked_key(body["key"])
    arrays = {}
    for name, digest in body["arrays"].items():
        if not _SHA256.fullmatch(digest):
            raise _Damage(f"{digest!r:.80} names no array")
        try:
            with open(f"{folder / key.target / 'samples'}/{digest}.npy", "rb") as stream:  # noqa: PTH123 - thousands
                content = stream.read()
        except OSError as error:
            raise _Damage(f"the array {digest[:8]} cannot be read: {error.strerror}") from error
        if sha256(content).hexdigest() != digest:
            raise _Damage(f"the array {digest[:8]} is damaged")
        arrays[name] = npy.from_bytes(content)
    values, effective = storable(body["values"]), storable(body["effective"])
    if not isinstance(values, dict) or not isinstance(effective, dict):
        raise _Damage("values or effective is no JSON object")
    duration_ns = body["duration_ns"]
    host_ns = body.get("host_ns", 0)  # runs of earlier versions have none
    if not is_count(duration_ns) or not is_count(host_ns):
        raise _Damage("duration_ns or host_ns is no count")
    return JobResult(
        key, Status(body["status"]), cut(str(body["reason"]), MAX_REASON), Samples(arrays, values),
        {name: str(text) for name, text in effective.items()},
        str(storable(body["started_utc"])), duration_ns, Cause.read(body.get("cause")),
        cut(str(body.get("raw", "")), MAX_RAW), host_ns,
    )  # fmt: skip


def _part(body: Mapping[str, Any]) -> Part:
    values = storable(body["values"])
    if not isinstance(values, dict):
        raise _Damage("values is no JSON object")
    arrays = {
        name: npy.from_bytes(base64.b64decode(text, validate=True)) for name, text in body["inline"].items()
    }
    return Part(_checked_key(body["key"]), Samples(arrays, values))


def _checked_key(value: object) -> JobKey:
    if not isinstance(value, list) or len(value) != len(JobKey._fields) or not is_count(value[-1]):
        raise _Damage("the key is not that of a job")
    if not all(map(is_text, value[:-1])) or "/" in value[0] or value[0] in (".", ".."):
        raise _Damage("the key is not that of a job")
    return JobKey(*value)


def _key_of(line: bytes) -> JobKey | None:
    """The key in a line that cannot be used, if that much can be read."""
    match = _KEY.search(line)
    try:
        return None if match is None else _checked_key(json.loads(match[1]))
    except (ValueError, _Damage):
        return None


class Journal:
    """Appends results, one line each; a context manager that holds the run's lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stream: io.FileIO | None = None

    def __enter__(self) -> Self:
        with writing(self._folder):
            stream = (self._folder / FILE).open("a+b", buffering=0)
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

    def append(self, event: JobResult | Part | EnvironmentRecord) -> None:
        """Store one event before the next one is measured."""
        with writing(self._folder):
            if isinstance(event, JobResult):
                arrays = {name: self._store(event.key.target, a) for name, a in event.samples.arrays.items()}
                body: dict[str, Any] = {
                    "type": "result", "key": list(event.key), "status": event.status.value,
                    "reason": event.reason, "cause": event.cause.value, "raw": event.raw,
                    "values": dict(event.samples.values), "arrays": arrays,
                    "effective": dict(event.effective), "started_utc": event.started_utc,
                    "duration_ns": event.duration_ns, "host_ns": event.host_ns,
                }  # fmt: skip
            elif isinstance(event, Part):
                inline = {
                    name: base64.b64encode(npy_bytes(array)).decode()
                    for name, array in event.samples.arrays.items()
                }
                body = {
                    "type": "part", "key": list(event.key), "values": dict(event.samples.values),
                    "inline": inline,
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
        content = npy_bytes(array)
        digest = sha256(content).hexdigest()
        path = self._folder / target / "samples" / f"{digest}.npy"
        if not path.is_file() or sha256_file(path) != digest:  # a damaged file is replaced
            write_atomically(path, content)
        return digest


def npy_bytes(array: NDArray[Any]) -> bytes:
    """The ``.npy`` file of an array."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _line(body: Mapping[str, Any]) -> bytes:
    text = json.dumps(body, sort_keys=True)
    return f'{{"crc32": "{zlib.crc32(text.encode()):08x}", "body": {text}}}\n'.encode()


def _cut_torn_line(stream: io.FileIO) -> None:
    """Cut what a kill left of a last line, so that the next line starts on its own."""
    stream.seek(0)
    content = stream.read()
    end = content.rfind(b"\n") + 1
    if end < len(content):
        stream.truncate(end)
    stream.seek(0, os.SEEK_END)
