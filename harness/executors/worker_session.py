"""One worker on a device, from its start to its end: the request, its answers, its deadlines."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from harness.core.cause import Cause
from harness.core.errors import StreamEnded, TargetUnavailable, WorkerError
from harness.core.job import Batch, EnvironmentRecord, Event, Job, JobKey, JobResult, Samples, Started, Status
from harness.core.wire import Readable, read_frame, write_frame
from harness.device import worker
from harness.executors.connection import Connection
from harness.executors.program import Program

#: A worker that has not begun its first job by then has a runtime that hangs at import.
START_DEADLINE_S = 120.0
#: A stop is noticed within this time.
STOP_WITHIN_S = 0.5
#: How many messages the host sends in the time after which a worker takes it for gone.
KEEPALIVES_PER_SILENCE = 6


class WorkerSession:
    """Yields a result for every case that began, and for at least one.

    A lost connection or a stop ends it earlier.

    Parameters
    ----------
    batch : Batch
    connection : Connection
    store : Path
        The host's folder with ``data/<sha256>.npy``.
    stopped : threading.Event
        Set to end the session.

    Attributes
    ----------
    lost : str
        Why the connection counts as lost; the job that ran has no result then.
    """

    def __init__(self, batch: Batch, connection: Connection, store: Path, stopped: threading.Event) -> None:
        self._batch, self._connection, self._store, self._stopped = batch, connection, store, stopped
        self._frames: queue.Queue[tuple[dict[str, Any], dict[str, Any]] | WorkerError | None] = queue.Queue()
        self._writing = threading.Lock()
        self._running: Job | None = None
        self._done = 0
        self.lost = ""

    def events(self) -> Generator[Event, None, None]:
        """Start the worker and yield its events; closing the generator ends the worker."""
        connection = self._connection
        try:
            program = connection.start(self._batch, self._stopped)
        except TargetUnavailable as error:  # lost since the last batch
            self.lost = "; ".join(filter(None, (error.what, error.cause)))
            return
        reader = threading.Thread(target=self._read, args=(program.stdout,), daemon=True)
        reader.start()
        ended = threading.Event()
        try:
            with contextlib.suppress(BrokenPipeError):  # it died at once; the end of its output says so below
                program.stdin.write(
                    worker.request(
                        self._batch, connection.store, ships=connection.ships,
                        room_byte=connection.room_byte, silence_s=connection.silence_s,
                    )
                )  # fmt: skip
                program.stdin.flush()
            if connection.silence_s is not None:
                interval_s = connection.silence_s / KEEPALIVES_PER_SILENCE
                arguments = (program.stdin, interval_s, ended)
                threading.Thread(target=self._keep_alive, args=arguments, daemon=True).start()
            yield from self._follow(program)
        finally:
            ended.set()
            program.end()
            reader.join()
            program.close()

    def _read(self, stdout: Readable) -> None:
        try:
            while (frame := read_frame(stdout)) is not None:
                self._frames.put(frame)
            self._frames.put(None)
        except WorkerError as error:
            self._frames.put(error)

    def _keep_alive(self, stdin: BinaryIO, interval_s: float, ended: threading.Event) -> None:
        while not ended.wait(interval_s):
            with contextlib.suppress(OSError, ValueError), self._writing:  # closed: the end is seen elsewhere
                write_frame(stdin, {"type": "alive"})

    def _send(self, stdin: BinaryIO, kind: str, name: str) -> None:
        """Send one file of the batch; any other file is refused."""
        artifact = self._batch.artifact
        paths = {
            ("artifacts", f"{artifact.sha256}/{file.name}"): artifact.folder / file.name
            for file in artifact.files
        }
        paths |= {
            ("data", f"{digest}.npy"): self._store / "data" / f"{digest}.npy"
            for ref in self._batch.data.values()
            for digest in ref.inputs.values()
        }
        header: dict[str, Any] = {"type": "file"}
        content = {}
        try:
            content = {"content": np.fromfile(paths[kind, name], np.uint8)}
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

    def _follow(self, program: Program) -> Iterator[Event]:
        slowdown = self._connection.slowdown
        while True:
            deadline_s = self._running.case.deadline_s if self._running else START_DEADLINE_S
            deadline_s *= slowdown
            try:
                frame = self._next(deadline_s)
            except queue.Empty:
                program.end()
                if not self._stopped.is_set():
                    yield from self._failed(self._deadline_reason(deadline_s), program)
                return
            if frame is None or isinstance(frame, StreamEnded):
                if self._done < len(self._batch.cases):
                    status = program.status()
                    self.lost = self._connection.why_lost(status)
                    if self.lost:
                        self.lost = "\n".join(filter(None, (self.lost, program.stderr_tail())))
                    else:
                        reason = str(frame or f"the worker {worker.exit_text(status)}")
                        yield from self._failed(reason, program)
                return
            event = frame if isinstance(frame, WorkerError) else self._read_event(program, *frame)
            if isinstance(event, WorkerError):
                program.end()
                if self._done < len(self._batch.cases):
                    yield from self._failed(str(event), program)
                return
            if event is not None:
                yield event
            if isinstance(event, EnvironmentRecord) and event.phase == "after":
                return  # nothing follows; whatever the runtime still does ends with its process group

    def _read_event(
        self, program: Program, header: dict[str, Any], arrays: dict[str, Any]
    ) -> Event | WorkerError | None:
        """Turn a frame into an event; a request for a file is answered and gives None."""
        match header.get("type"):
            case "environment":
                batch = self._batch
                facts = {**header["facts"], **self._connection.facts}
                return EnvironmentRecord(
                    batch.target, batch.backend, batch.variant, batch.suite, header["phase"], facts
                )
            case "need":
                self._send(program.stdin, header["kind"], header["name"])
                return None
            case "start":
                self._running = self._batch.jobs[self._done]
                return Started(self._running.key)
            case "result":
                self._done, self._running = self._done + 1, None
                return JobResult(
                    key=JobKey(*header["key"]),
                    status=Status(header["status"]),
                    reason=header["reason"],
                    samples=Samples(arrays, header["values"]),
                    effective=header["effective"],
                    started_utc=header["started_utc"],
                    duration_ns=header["duration_ns"],
                    cause=Cause.read(header.get("cause")),
                    raw=str(header.get("raw", "")),
                )
            case kind:
                return WorkerError(f"the worker sent a {kind!r}")

    def _deadline_reason(self, deadline_s: float) -> str:
        if self._running is None:
            return f"the worker did not start within {deadline_s:g} s"
        return f"the job passed its deadline of {deadline_s:g} s and was ended"

    def _failed(self, reason: str, program: Program) -> Iterator[JobResult]:
        """Make an ERROR of the job that ran; of every job if none had begun: a new worker would fail too."""
        stderr = program.stderr_tail()
        text = f"{reason}\n{stderr}" if stderr else reason
        unfinished = self._batch.jobs[self._done :]
        for job in unfinished[:1] if self._running is not None or self._done else unfinished:
            yield JobResult(job.key, Status.ERROR, text, cause=Cause.WORKER_FAILED)
