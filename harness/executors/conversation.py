"""One worker on a device, from its start to its end: it is asked, answered and followed."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from harness import worker
from harness.core.errors import WorkerError
from harness.core.job import Batch, EnvironmentRecord, Event, JobKey, JobResult, Samples, Started, Status
from harness.core.wire import read_frame, write_frame
from harness.executors.link import Link

#: A worker that has not begun its first job by then has a runtime that hangs at import.
START_DEADLINE_S = 120.0
#: A stop is noticed within this time.
STOP_WITHIN_S = 0.5
#: How often the host says that it is alive before a worker takes it for gone.
BEATS_A_SILENCE = 6


class Conversation:
    """Ends in as many results as cases were begun, and in at least one unless the link died or it was stopped.

    Parameters
    ----------
    batch : Batch
    link : Link
    store : Path
        The host's folder with ``data/<sha256>.npy``.
    room_byte : int, optional
        Of the depot on the device.
    stopped : threading.Event
        Set by whoever wants the end.

    Attributes
    ----------
    lost : str
        Why the link counts as dead; the job that ran has no result then.
    """

    def __init__(
        self, batch: Batch, link: Link, store: Path, room_byte: int | None, stopped: threading.Event
    ) -> None:
        self._batch, self._link, self._store, self._room_byte = batch, link, store, room_byte
        self._stopped = stopped
        self._frames: queue.Queue[tuple[dict[str, Any], dict[str, Any]] | WorkerError | None] = queue.Queue()
        self._writing = threading.Lock()
        self.lost = ""

    def events(self) -> Iterator[Event]:
        with tempfile.TemporaryFile() as stderr:
            # A session of its own: Ctrl-C reaches the harness only, and ending it ends its children too.
            process = subprocess.Popen(
                self._link.command("harness.worker"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
                env={**os.environ, **self._link.environment()},
            )
            stdin, stdout = cast(BinaryIO, process.stdin), cast(BinaryIO, process.stdout)
            reader = threading.Thread(target=self._read, args=(stdout,), daemon=True)
            reader.start()
            ended = threading.Event()
            try:
                with contextlib.suppress(BrokenPipeError):  # it died at once; its end of file says so below
                    stdin.write(
                        worker.request(
                            self._batch, self._link.store, ships=self._link.ships,
                            room_byte=self._room_byte, silence_s=self._link.silence_s,
                        )
                    )  # fmt: skip
                    stdin.flush()
                if self._link.silence_s is not None:
                    threading.Thread(target=self._say_alive, args=(stdin, ended), daemon=True).start()
                yield from self._follow(process, stderr)
            finally:
                ended.set()
                _end_group(process)
                reader.join()
                with contextlib.suppress(BrokenPipeError):  # what it never read is still in the buffer
                    stdin.close()
                stdout.close()

    def _read(self, stdout: BinaryIO) -> None:
        try:
            while (frame := read_frame(stdout)) is not None:
                self._frames.put(frame)
            self._frames.put(None)
        except WorkerError as error:
            self._frames.put(error)

    def _say_alive(self, stdin: BinaryIO, ended: threading.Event) -> None:
        assert self._link.silence_s is not None
        while not ended.wait(self._link.silence_s / BEATS_A_SILENCE):
            with contextlib.suppress(OSError, ValueError), self._writing:  # closed: the end is seen elsewhere
                write_frame(stdin, {"type": "alive"})

    def _send(self, stdin: BinaryIO, kind: str, name: str) -> None:
        """Send one file of the batch, or say that it is none of it: a device gets nothing else."""
        artifact = self._batch.artifact
        known = {
            ("artifacts", f"{artifact.sha256}/{file.name}"): artifact.folder / file.name
            for file in artifact.files
        }
        known |= {
            ("data", f"{digest}.npy"): self._store / "data" / f"{digest}.npy"
            for ref in self._batch.data.values()
            for digest in ref.inputs.values()
        }
        header: dict[str, Any] = {"type": "file"}
        content = {}
        try:
            content = {"content": np.fromfile(known[kind, name], np.uint8)}
        except (KeyError, OSError) as error:
            header = {"type": "refused", "reason": f"the host does not have {kind}/{name}: {error}"}
        with contextlib.suppress(BrokenPipeError), self._writing:
            write_frame(stdin, header, content)

    def _next(self, deadline_s: float) -> Any:  # noqa: ANN401 - what the queue holds
        """Wait for the next frame; raises ``queue.Empty`` at the deadline, or soon after a stop."""
        end_s = time.monotonic() + deadline_s
        while True:
            try:
                return self._frames.get(timeout=max(0.0, min(STOP_WITHIN_S, end_s - time.monotonic())))
            except queue.Empty:
                if self._stopped.is_set() or time.monotonic() >= end_s:
                    raise

    def _follow(self, process: subprocess.Popen[bytes], stderr: Any) -> Iterator[Event]:  # noqa: ANN401
        jobs = iter(self._batch.jobs)
        start_s = START_DEADLINE_S * self._link.slowdown
        running, deadline_s = None, start_s
        done = 0
        while True:
            try:
                frame = self._next(deadline_s)
            except queue.Empty:
                _end_group(process)
                if self._stopped.is_set():
                    return
                if running is None:
                    reason = f"the worker did not start within {deadline_s:g} s"
                else:
                    reason = f"the job passed its deadline of {deadline_s:g} s and was ended"
                yield from self._failed(running, done, reason, stderr)
                return
            if frame is None or isinstance(frame, WorkerError):
                if isinstance(frame, WorkerError):
                    _end_group(process)
                if done < len(self._batch.cases):
                    if frame is None and (lost := self._link.lost(_end(process))):
                        said = worker.tail(stderr)
                        self.lost = f"{lost}: {said}" if said else lost
                        return
                    how = str(frame) if frame is not None else f"the worker {worker.exit_text(_end(process))}"
                    yield from self._failed(running, done, how, stderr)
                return
            header, arrays = frame
            match header.get("type"):
                case "environment":
                    b = self._batch
                    yield EnvironmentRecord(
                        b.target, b.backend, b.variant, b.suite, header["phase"], header["facts"]
                    )
                    if header["phase"] == "after":
                        return  # all is said; whatever the runtime still does ends with its group
                case "need":
                    self._send(cast(BinaryIO, process.stdin), header["kind"], header["name"])
                case "start":
                    running = next(jobs)
                    deadline_s = running.case.deadline_s * self._link.slowdown
                    yield Started(running.key)
                case "result":
                    done, running, deadline_s = done + 1, None, start_s
                    yield JobResult(
                        key=JobKey(*header["key"]),
                        status=Status(header["status"]),
                        reason=header["reason"],
                        samples=Samples(arrays, header["values"]),
                        effective=header["effective"],
                        started_utc=header["started_utc"],
                        duration_ns=header["duration_ns"],
                    )
                case kind:
                    _end_group(process)
                    yield from self._failed(running, done, f"the worker sent a {kind!r}", stderr)
                    return

    def _failed(self, running: Any, done: int, reason: str, stderr: Any) -> Iterator[JobResult]:  # noqa: ANN401
        """ERROR for the job that ran; if none had begun, a new worker would fare no better: for all."""
        said = worker.tail(stderr)
        text = f"{reason}\n{said}" if said else reason
        unstarted = self._batch.jobs[done:]
        for job in unstarted[:1] if running is not None or done else unstarted:
            yield JobResult(job.key, Status.ERROR, text)


def _end(process: subprocess.Popen[bytes]) -> int:
    """Exit status of a worker whose output ended; one that lives on regardless is ended."""
    try:
        return process.wait(worker.EXIT_GRACE_S)
    except subprocess.TimeoutExpired:
        _end_group(process)
        return process.wait()


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the worker and whatever it spawned."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
