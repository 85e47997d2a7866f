"""One worker on a device, from its start to its end: it is asked, answered and followed."""

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
#: How often the host says that it is alive before a worker takes it for gone.
BEATS_A_SILENCE = 6


class WorkerSession:
    """Ends in a result for every case begun; in at least one, unless the link died or it was stopped.

    Parameters
    ----------
    batch : Batch
    link : Link
    store : Path
        The host's folder with ``data/<sha256>.npy``.
    stopped : threading.Event
        Set by whoever wants the end.

    Attributes
    ----------
    lost : str
        Why the link counts as dead; the job that ran has no result then.
    """

    def __init__(self, batch: Batch, connection: Connection, store: Path, stopped: threading.Event) -> None:
        self._batch, self._connection, self._store, self._stopped = batch, connection, store, stopped
        self._frames: queue.Queue[tuple[dict[str, Any], dict[str, Any]] | WorkerError | None] = queue.Queue()
        self._writing = threading.Lock()
        self._running: Job | None = None
        self._done = 0
        self.lost = ""

    def events(self) -> Generator[Event, None, None]:
        """Start the worker and yield what it says; closing the generator ends the worker."""
        try:
            program = self._connection.start(self._batch, self._stopped)
        except TargetUnavailable as error:  # the link died since the last batch
            self.lost = "; ".join(filter(None, (error.what, error.cause)))
            return
        reader = threading.Thread(target=self._read, args=(program.stdout,), daemon=True)
        reader.start()
        ended = threading.Event()
        try:
            with contextlib.suppress(BrokenPipeError):  # it died at once; its end of file says so below
                program.stdin.write(
                    worker.request(
                        self._batch, self._connection.store, ships=self._connection.ships,
                        room_byte=self._connection.room_byte, silence_s=self._connection.silence_s,
                    )
                )  # fmt: skip
                program.stdin.flush()
            if self._connection.silence_s is not None:
                threading.Thread(target=self._say_alive, args=(program.stdin, ended), daemon=True).start()
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

    def _say_alive(self, stdin: BinaryIO, ended: threading.Event) -> None:
        assert self._connection.silence_s is not None
        while not ended.wait(self._connection.silence_s / BEATS_A_SILENCE):
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

    def _follow(self, program: Program) -> Iterator[Event]:
        start_s = START_DEADLINE_S * self._connection.slowdown
        while True:
            deadline_s = (
                self._running.case.deadline_s * self._connection.slowdown if self._running else start_s
            )
            try:
                frame = self._next(deadline_s)
            except queue.Empty:
                program.end()
                if not self._stopped.is_set():
                    yield from self._failed(self._late(deadline_s), program)
                return
            if frame is None or isinstance(frame, StreamEnded):
                if self._done < len(self._batch.cases):
                    status = program.status()
                    self.lost = self._connection.lost(status)
                    if self.lost:
                        self.lost = "\n".join(filter(None, (self.lost, program.said())))
                    else:
                        ended = str(frame or f"the worker {worker.exit_text(status)}")
                        yield from self._failed(ended, program)
                return
            event = frame if isinstance(frame, WorkerError) else self._understand(program, *frame)
            if isinstance(event, WorkerError):
                program.end()
                if self._done < len(self._batch.cases):
                    yield from self._failed(str(event), program)
                return
            if event is not None:
                yield event
            if isinstance(event, EnvironmentRecord) and event.phase == "after":
                return  # all is said; whatever the runtime still does ends with its group

    def _understand(
        self, program: Program, header: dict[str, Any], arrays: dict[str, Any]
    ) -> Event | WorkerError | None:
        """Turn a frame into an event; a request for a file is answered, and is none."""
        match header.get("type"):
            case "environment":
                b = self._batch
                of = (b.target, b.backend, b.variant, b.suite)
                return EnvironmentRecord(*of, header["phase"], {**header["facts"], **self._connection.facts})
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

    def _late(self, deadline_s: float) -> str:
        if self._running is None:
            return f"the worker did not start within {deadline_s:g} s"
        return f"the job passed its deadline of {deadline_s:g} s and was ended"

    def _failed(self, reason: str, program: Program) -> Iterator[JobResult]:
        """ERROR for the job that ran; if none had begun, a new worker would fare no better: for all."""
        said = program.said()
        text = f"{reason}\n{said}" if said else reason
        unstarted = self._batch.jobs[self._done :]
        for job in unstarted[:1] if self._running is not None or self._done else unstarted:
            yield JobResult(job.key, Status.ERROR, text, cause=Cause.WORKER_FAILED)
