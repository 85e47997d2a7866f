"""What runs inside a Dask worker: a batch as a task, and the streams of its worker process.

Plain functions that take and return texts, numbers and bytes. The batch itself runs in a fresh child process
with the host's code; the Dask worker only passes its streams on, and ends it when the host is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import logging
import os
import secrets
import select
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from harness.device import process_end, worker
from harness.device.probe import probe
from harness.executors import board_side
from harness.executors.program import TOKEN

#: Folder for data and bundles, unless ``HARNESS_CACHE`` names another.
FOLDER = "~/.cache/deployment-validation-harness"
#: Size of one message at most.
CHUNK_BYTE = 2**20
#: How long to wait for output of a worker before the answer is empty.
POLL_S = 2.0
#: Output within this time goes into the same message.
GATHER_S = 0.005
#: How often a task checks whether it has begun, or should end.
CHECK_S = 0.02


class RunningBatch:
    """A worker process, from its start until the host calls ``end``."""

    def __init__(self, bundle: str, about: dict[str, Any]) -> None:
        self.about, self.called_s = about, time.monotonic()
        self.since_utc = datetime.now(UTC).isoformat(timespec="seconds")
        self.finished = threading.Event()
        self._reading, self._writing, self._closed = threading.Lock(), threading.Lock(), False
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        token = secrets.token_hex(16)
        self._mark = f"{TOKEN}={token}"
        self._process = subprocess.Popen(
            worker.command(worker.own_python()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,
            cwd=folder(),
            env={**os.environ, **_environment(bundle), TOKEN: token},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()

    def write(self, data: bytes) -> bool:
        """Write bytes to the process; False if it does not read any more."""
        view = memoryview(data)
        with self._writing:
            try:
                while view and not self._closed:
                    view = view[os.write(self._in, view) :]
            except BrokenPipeError:
                return False
            return not self._closed

    def read(self) -> dict[str, Any]:
        """Return the output so far; after its end the exit ``status`` and the ``stderr`` tail too."""
        data, timeout_s = bytearray(), POLL_S
        with self._reading:
            while len(data) < CHUNK_BYTE and not self._closed:
                has_ended = self._process.poll() is not None  # a child of its own may hold the pipe open
                if not select.select([self._out], [], [], 0 if has_ended else timeout_s)[0]:
                    if has_ended and not data:
                        return self._ended()
                    return {"data": bytes(data)}
                piece = os.read(self._out, CHUNK_BYTE)
                if not piece and not data:
                    return self._ended()
                if not piece:
                    break
                data += piece
                timeout_s = GATHER_S
            return {"data": bytes(data)}

    def _ended(self) -> dict[str, Any]:
        return {"data": b"", "status": self._status(), "stderr": process_end.tail(self._stderr)}

    def _status(self) -> int:
        try:
            return self._process.wait(worker.EXIT_GRACE_S)
        except subprocess.TimeoutExpired:
            self.end()
            return self._process.wait()

    def end(self) -> None:
        """Kill the process and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        board_side.end_processes(self._mark)

    def close(self) -> None:
        """Kill the process, and close its streams once no thread uses them."""
        self.end()
        with self._reading, self._writing:
            self._closed = True
            for stream in (self._process.stdin, self._process.stdout, self._stderr):
                cast(io.BufferedIOBase, stream).close()


#: What this Dask worker runs, by token.
RUNNING: dict[str, RunningBatch] = {}


def run_batch(token: str, bundle: str, about: dict[str, Any], silence_s: float) -> None:
    """Run one batch: a task that takes the device's resource while it runs.

    Parameters
    ----------
    token : str
        Identifies the batch in the calls of the host.
    bundle : str
        Name of the bundle, received before.
    about : mapping
        For ``harness fleet``.
    silence_s : float
        The host counts as gone if it has not called for so long.
    """
    batch = RunningBatch(bundle, about)
    RUNNING[token] = batch
    try:
        while not batch.finished.wait(CHECK_S) and time.monotonic() - batch.called_s < silence_s:
            pass
    finally:
        batch.close()
        del RUNNING[token]


async def has_begun(token: str) -> bool:
    """Whether the task runs; returns as soon as it does."""
    end_s = time.monotonic() + POLL_S
    while token not in RUNNING and time.monotonic() < end_s:
        await asyncio.sleep(CHECK_S)
    return token in RUNNING


async def write_stdin(token: str, data: bytes) -> bool:
    """Write to the worker process; False if it does not read any more."""
    batch = RUNNING[token]
    batch.called_s = time.monotonic()
    return await asyncio.to_thread(batch.write, data)


async def read_stdout(token: str, done: int) -> dict[str, Any]:
    """Return the output of the worker process; `done` is the number of jobs that the host has results of."""
    batch = RUNNING[token]
    batch.called_s, batch.about["done"] = time.monotonic(), done
    return await asyncio.to_thread(batch.read)


async def end(token: str) -> None:
    """End the task and its process."""
    if token in RUNNING:
        await asyncio.to_thread(RUNNING[token].end)
        RUNNING[token].finished.set()


async def running() -> list[dict[str, Any]]:
    """What runs here, for ``harness fleet``."""
    return [{**batch.about, "since_utc": batch.since_utc} for batch in RUNNING.values()]


async def ready(keep: str, room_byte: int) -> dict[str, Any]:
    """Make room, and return the facts of this device and the bundles that it has."""
    logging.getLogger("distributed.worker").addFilter(_without_calls)

    def prepare() -> dict[str, Any]:
        with _locked_folder() as home:
            return {**board_side.facts(home), **board_side.make_room(home, [keep], room_byte)}

    return await asyncio.to_thread(prepare)


async def receive(name: str, sha256: str, content: bytes) -> dict[str, Any]:
    """Unpack a bundle."""

    def unpack() -> dict[str, Any]:
        with _locked_folder() as home:
            if (home / name / board_side.SIZE_FILE).is_file():  # another worker of this machine received it
                return {"type": "received"}
            return board_side.receive(home, name, sha256, io.BytesIO(content))

    return await asyncio.to_thread(unpack)


def probe_backends(names: list[str], bundle: str) -> dict[str, Any]:
    """Probe backends; also a task, so that nothing is measured at the same time."""
    answers = probe(names, environment=_environment(bundle))
    return {name: asdict(availability) for name, availability in answers.items()}


def folder() -> Path:
    """Return the folder for what this device received."""
    return Path(os.environ.get("HARNESS_CACHE") or FOLDER).expanduser()


def _environment(bundle: str) -> dict[str, str]:
    return {"PYTHONPATH": str(folder() / bundle)}


@contextlib.contextmanager
def _locked_folder() -> Iterator[Path]:
    """Lock the folder, which all Dask workers of a machine share."""
    home = folder()
    home.mkdir(parents=True, exist_ok=True)
    with (home / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield home


def _without_calls(record: logging.LogRecord) -> bool:
    """Filter the log lines that Dask writes for every call of the host."""
    return not str(record.msg).startswith("Run out-of-band function")
