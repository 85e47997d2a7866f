"""What runs inside a Dask worker: a batch as a task, and the bytes that its worker process says and hears.

Plain functions that take and return texts, numbers and bytes. The batch itself runs in a fresh child process
with the host's own code; the Dask worker only holds its streams, and ends it when the host is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import logging
import os
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

from harness.device import worker
from harness.device.probe import probe
from harness.executors import board_side

#: Data and bundles are kept here, or where ``HARNESS_CACHE`` says: under the user's home, as over ssh.
FOLDER = "~/.cache/deployment-validation-harness"
#: One message over the wire at most.
CHUNK_BYTE = 2**20
#: A worker that says nothing is asked again after it.
POLL_S = 2.0
#: What follows so soon goes into the same message.
GATHER_S = 0.005
#: How often a task looks whether it has begun, or should end.
LOOK_S = 0.02


class Held:
    """A worker process, between its start and the host's ``end``."""

    def __init__(self, ours: str, about: dict[str, Any]) -> None:
        self.about, self.heard_s = about, time.monotonic()
        self.since_utc = datetime.now(UTC).isoformat(timespec="seconds")
        self.finished = threading.Event()
        self._reading, self._writing, self._closed = threading.Lock(), threading.Lock(), False
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._process = subprocess.Popen(
            worker.command(_python()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,
            cwd=folder(),
            env={**os.environ, **_environment(ours)},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()

    def write(self, data: bytes) -> bool:
        """Hand bytes on; False where nobody reads them any more."""
        view = memoryview(data)
        with self._writing:
            try:
                while view and not self._closed:
                    view = view[os.write(self._in, view) :]
            except BrokenPipeError:
                return False
            return not self._closed

    def read(self) -> dict[str, Any]:
        """Return what was said, soon; its ``status`` and last words where it will say no more."""
        data, timeout_s = bytearray(), POLL_S
        with self._reading:
            while len(data) < CHUNK_BYTE and not self._closed:
                if not select.select([self._out], [], [], timeout_s)[0]:
                    return {"data": bytes(data)}
                piece = os.read(self._out, CHUNK_BYTE)
                if not piece and not data:
                    return {"data": b"", "status": self._status(), "said": worker.tail(self._stderr)}
                if not piece:
                    break
                data += piece
                timeout_s = GATHER_S
            return {"data": bytes(data)}

    def _status(self) -> int:
        try:
            return self._process.wait(worker.EXIT_GRACE_S)
        except subprocess.TimeoutExpired:
            self.end()
            return self._process.wait()

    def end(self) -> None:
        """End the process and what it spawned."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """End the process; let its streams go when nobody is at them any more."""
        self.end()
        with self._reading, self._writing:
            self._closed = True
            for stream in (self._process.stdin, self._process.stdout, self._stderr):
                cast(io.BufferedIOBase, stream).close()


#: What this Dask worker runs, by token.
HELD: dict[str, Held] = {}


def hold(token: str, ours: str, about: dict[str, Any], silence_s: float) -> None:
    """Run one batch: the task, which has the device's resource as long as it lasts.

    Parameters
    ----------
    token : str
        By it the host reaches what runs.
    ours : str
        Name of the bundle, received before.
    about : mapping
        For ``harness fleet``.
    silence_s : float
        A host that has not asked for so long is gone.
    """
    held = Held(ours, about)
    HELD[token] = held
    try:
        while not held.finished.wait(LOOK_S) and time.monotonic() - held.heard_s < silence_s:
            pass
    finally:
        held.close()
        del HELD[token]


async def begun(token: str) -> bool:
    """Whether the task runs, as soon as it does."""
    end_s = time.monotonic() + POLL_S
    while token not in HELD and time.monotonic() < end_s:
        await asyncio.sleep(LOOK_S)
    return token in HELD


async def say(token: str, data: bytes) -> bool:
    """Let the worker process hear; False where it hears nothing any more."""
    held = HELD[token]
    held.heard_s = time.monotonic()
    return await asyncio.to_thread(held.write, data)


async def hear(token: str, done: int) -> dict[str, Any]:
    """Return what the worker process said; the host tells how many jobs are done."""
    held = HELD[token]
    held.heard_s, held.about["done"] = time.monotonic(), done
    return await asyncio.to_thread(held.read)


async def end(token: str) -> None:
    """End the task and its process."""
    if token in HELD:
        await asyncio.to_thread(HELD[token].end)
        HELD[token].finished.set()


async def running() -> list[dict[str, Any]]:
    """What runs here, for ``harness fleet``."""
    return [{**held.about, "since_utc": held.since_utc} for held in HELD.values()]


async def ready(keep: str, room_byte: int) -> dict[str, Any]:
    """Say what this device is; make room, and say whether the bundle that is wanted is here."""
    logging.getLogger("distributed.worker").addFilter(_not_each_call)

    def look() -> dict[str, Any]:
        with _alone() as home:
            return {**board_side.facts(home), **board_side.make_room(home, [keep], room_byte)}

    return await asyncio.to_thread(look)


async def receive(name: str, sha256: str, content: bytes) -> dict[str, Any]:
    """Unpack a bundle."""

    def unpack() -> dict[str, Any]:
        with _alone() as home:
            if (home / name / board_side.NOTE).is_file():  # by another worker of this machine
                return {"type": "received"}
            return board_side.receive(home, name, sha256, io.BytesIO(content))

    return await asyncio.to_thread(unpack)


def look(names: list[str], ours: str) -> dict[str, Any]:
    """Probe backends: a task, too, so that nothing is measured beside it."""

    def command(module: str, *arguments: str) -> list[str]:
        return worker.command(_python(), module, *arguments)

    return {name: asdict(found) for name, found in probe(names, command, _environment(ours)).items()}


def folder() -> Path:
    """Where this device keeps what it was sent."""
    return Path(os.environ.get("HARNESS_CACHE") or FOLDER).expanduser()


def _environment(ours: str) -> dict[str, str]:
    return {"PYTHONPATH": str(folder() / ours)}


def _python() -> list[str]:
    """Start this Python; -P keeps a checkout that the Dask worker stands in from being imported."""
    return [*worker.own_python(), "-P"]


@contextlib.contextmanager
def _alone() -> Iterator[Path]:
    """Several Dask workers of one machine share the folder."""
    home = folder()
    home.mkdir(parents=True, exist_ok=True)
    with (home / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield home


def _not_each_call(record: logging.LogRecord) -> bool:
    """A line of the log for each message would bury all others."""
    return not str(record.msg).startswith("Run out-of-band function")
