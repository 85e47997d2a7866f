"""One worker on a device, from its start to its end: the request, its answers, its deadlines."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from harness.core.cause import Cause
from harness.core.errors import StreamEnded, TargetUnavailable, WorkerError
from harness.core.job import (
    Batch,
    EnvironmentRecord,
    Event,
    Job,
    JobKey,
    JobResult,
    Samples,
    Started,
    Status,
    merge,
)
from harness.core.untrusted import MAX_NAME, MAX_REASON, cut, encodable, shown
from harness.core.wire import Readable, read_frame, write_frame
from harness.device import process_end, worker
from harness.executors import frames
from harness.executors.connection import Connection
from harness.executors.program import Program

#: A worker that has not begun its first job by then has a runtime that hangs at import.
START_DEADLINE_S = 120.0
#: A stop is noticed within this time.
STOP_WITHIN_S = 0.5
#: How many messages the host sends in the time after which a worker takes it for gone.
KEEPALIVES_PER_SILENCE = 6
#: A worker that does not take this much within its deadline is ended.
PIECE_BYTE = 2**20
#: Frames that wait for the host; a worker that sends more waits.
WAITING_FRAMES = 2

#: Key of a header: when its frame arrived, in ns of this machine's clock. It replaces what the worker sent.
ARRIVED = "arrived_ns"

Arrays = dict[str, NDArray[Any]]
Frame = tuple[dict[str, Any], Arrays]


class WorkerSession:
    """Yields a result for every case that began, and for at least one.

    A lost connection or a stop ends it earlier. A result counts once the worker goes on: with the next job,
    or with its end. What goes wrong before that (another result, a crash) is an ERROR of the job that ended.

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
        self._frames: queue.Queue[Frame | WorkerError | None] = queue.Queue(WAITING_FRAMES)
        self._outgoing: queue.SimpleQueue[bytes | tuple[dict[str, Any], Arrays]] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._running: Job | None = None
        self._began_ns = 0
        self._held: list[JobResult | EnvironmentRecord] = []
        self._ended_keys: list[JobKey] = []
        self._phase = ""
        self._parts: list[Samples] = []
        self._like = Samples()
        self._sent: set[tuple[str, str]] = set()
        self._end_s = self._deadline_s = 0.0
        self.lost = ""

    def events(self) -> Generator[Event, None, None]:
        """Start the worker and yield its events; closing the generator ends the worker."""
        connection = self._connection
        try:
            program = connection.start(self._batch, self._stopped)
        except TargetUnavailable as error:  # lost since the last batch
            self.lost = "; ".join(filter(None, (error.what, error.cause)))
            return
        self._outgoing.put(
            worker.request(
                self._batch, connection.store, ships=connection.ships,
                room_byte=connection.room_byte, silence_s=connection.silence_s,
            )
        )  # fmt: skip
        self._wait_for(START_DEADLINE_S)
        # Threads, because a worker that does not read or does not write must not keep the host waiting.
        reader = threading.Thread(target=self._read, args=(program.stdout,), daemon=True)
        writer = threading.Thread(target=self._write, args=(program.stdin,), daemon=True)
        reader.start()
        writer.start()
        try:
            yield from self._follow(program)
        finally:
            self._ended.set()
            program.end()
            reader.join()
            writer.join()
            program.close()

    def _read(self, stdout: Readable) -> None:
        last: WorkerError | None = None
        try:
            while (frame := read_frame(stdout)) is not None:
                # Here: later the frame may have waited for the host.
                frame[0][ARRIVED] = time.monotonic_ns()
                if not self._put(frame):
                    return
        except WorkerError as error:
            last = error
        except (OSError, ValueError) as error:  # closed while it was read
            last = StreamEnded(f"the worker's output cannot be read: {error}")
        except MemoryError:
            last = WorkerError("the worker sent more than this machine has memory for")
        self._put(last)

    def _put(self, frame: Frame | WorkerError | None) -> bool:
        """Pass a frame on, as soon as the host has dealt with those before it; False if it never will."""
        while not self._ended.is_set():
            with contextlib.suppress(queue.Full):
                self._frames.put(frame, timeout=STOP_WITHIN_S)
                return True
        return False

    def _write(self, stdin: BinaryIO) -> None:
        """Write what is to be sent, and a sign of life where the worker waits for one."""
        silence_s = self._connection.silence_s
        pause_s = (
            STOP_WITHIN_S if silence_s is None else min(STOP_WITHIN_S, silence_s / KEEPALIVES_PER_SILENCE)
        )
        alive_s = time.monotonic()
        stream = _Outgoing(stdin, lambda: self._wait_for(self._deadline_s))
        with contextlib.suppress(OSError, ValueError):  # closed: the end of its output says why
            while not self._ended.is_set():
                try:
                    message = self._outgoing.get(timeout=pause_s)
                except queue.Empty:
                    if silence_s is None or time.monotonic() - alive_s < silence_s / KEEPALIVES_PER_SILENCE:
                        continue
                    message = ({"type": "alive"}, {})
                    stream.restarts = False
                if isinstance(message, bytes):
                    stream.write(message)
                    stream.flush()
                else:
                    write_frame(stream, *message)
                stream.restarts, alive_s = True, time.monotonic()

    def _send(self, kind: object, name: object) -> None:
        """Send one file of the batch, once a job; any other file is refused."""
        paths = {
            ("artifacts", f"{artifact.sha256}/{file.name}"): artifact.folder / file.name
            for artifact in self._batch.artifacts
            for file in artifact.files
        }
        paths |= {
            ("data", f"{digest}.npy"): self._store / "data" / f"{digest}.npy"
            for ref in self._batch.data.values()
            for digest in ref.files
        }
        wanted = (str(kind)[:MAX_NAME], str(name)[:MAX_NAME])
        if wanted in self._sent:
            raise frames.refused(self._batch, "a request", "name", name, "a file that it was not sent yet")
        self._sent.add(wanted)
        header: dict[str, Any] = {"type": "file"}
        content = {}
        try:
            content = {"content": np.fromfile(paths[wanted], np.uint8)}
        except (KeyError, OSError) as error:
            reason = f"the host does not have {'/'.join(wanted)}: {error}"
            header = {"type": "refused", "reason": encodable(reason)}
        self._outgoing.put((header, content))
        self._wait_for(self._deadline_s)  # reading the file took some of the time

    def _wait_for(self, deadline_s: float) -> None:
        """Begin a deadline anew: of the start, of a job, of the time between two jobs."""
        self._deadline_s = deadline_s
        self._end_s = time.monotonic() + deadline_s * self._connection.slowdown

    def _next(self) -> Frame | WorkerError | None:
        """Wait for the next frame; raises ``queue.Empty`` at the deadline, or soon after a stop."""
        while True:
            left_s = self._end_s - time.monotonic()
            if left_s <= 0:  # also where frames never stop
                raise queue.Empty
            try:
                return self._frames.get(timeout=min(STOP_WITHIN_S, left_s))
            except queue.Empty:
                if self._stopped.is_set():
                    raise

    def _follow(self, program: Program) -> Iterator[Event]:
        while True:
            try:
                frame = self._next()
            except queue.Empty:
                program.end()
                if self._stopped.is_set():
                    yield from self._release()
                else:
                    yield from self._failed(self._deadline_reason(), program)
                return
            if frame is None or isinstance(frame, StreamEnded):
                yield from self._at_the_end(program, str(frame or ""))
                return
            events = frame if isinstance(frame, WorkerError) else self._accept(*frame)
            if isinstance(events, WorkerError):
                program.end()
                yield from self._failed(str(events), program)
                return
            yield from events
            if self._phase == frames.AFTER:
                return  # nothing follows; whatever the runtime still does ends with its process group

    def _at_the_end(self, program: Program, torn: str) -> Iterator[Event]:
        """Deal with an output that ended before the worker said so."""
        status = program.status()
        lost = self._connection.why_lost(status)
        if not lost:
            yield from self._failed(torn or f"the worker {process_end.exit_text(status)}", program)
        elif len(self._ended_keys) < len(self._batch.cases):
            self.lost = "\n".join(filter(None, (lost, program.stderr_tail())))
        yield from self._release()

    def _release(self) -> Iterator[Event]:
        """Yield what was held back until the worker went on."""
        held, self._held = self._held, []
        yield from held

    def _accept(self, header: Mapping[str, Any], arrays: Arrays) -> list[Event] | WorkerError:
        """Turn a frame into what happened; a request for a file is answered."""
        try:
            match header.get("type"):
                case "environment":
                    return self._environment(header)
                case "need":
                    self._send(header.get("kind"), header.get("name"))
                    return []
                case "start":
                    return self._start(header)
                case "part" | "result" as kind:
                    return (self._part if kind == "part" else self._result)(header, arrays)
                case kind:
                    return WorkerError(f"the worker sent a {shown(kind)}")
        except WorkerError as error:
            return error

    def _environment(self, header: Mapping[str, Any]) -> list[Event]:
        batch, job = self._batch, self._running
        record = frames.environment(header, batch, self._ended_keys, self._connection.facts)
        is_first, is_done = not (self._phase or job or self._ended_keys), self._next_job() is None
        fits = {
            frames.BEFORE: is_first,
            frames.DURING: job is None and len(self._held) == 1,
            frames.AFTER: job is None and is_done,
        }
        if not fits[record.phase]:
            raise frames.refused(batch, "an environment", "phase", record.phase, "the one that comes now")
        self._phase = record.phase
        if record.phase == frames.DURING:
            self._held.append(record)
            return []
        return [*self._release(), record]

    def _start(self, header: Mapping[str, Any]) -> list[Event]:
        job = self._next_job() if self._running is None else None
        if job is None:
            raise frames.refused(
                self._batch, "a start", "key", header.get("key"), "that of a job that is due"
            )
        frames.job_started(header, self._batch, job)
        self._running, self._sent, self._began_ns = job, set(), header[ARRIVED]
        self._parts, self._like = [], Samples()
        self._wait_for(job.case.deadline_s)
        return [*self._release(), Started(job.key)]

    def _part(self, header: Mapping[str, Any], arrays: Arrays) -> list[Event]:
        job = self._running
        if job is None or not job.case.in_parts:
            wanted = "that of a running job which is stored in parts"
            raise frames.refused(self._batch, "a part", "key", header.get("key"), wanted)
        part = frames.job_part(header, arrays, self._batch, job)
        try:
            merge([self._like, part.samples])
        except (ValueError, TypeError) as error:
            wanted = f"like those before: {error}"
            raise frames.refused(self._batch, "a part", "arrays", list(arrays), wanted) from error
        self._like = Samples({**part.samples.arrays, **self._like.arrays})
        self._parts.append(part.samples)
        return [part]

    def _result(self, header: Mapping[str, Any], arrays: Arrays) -> list[Event]:
        if self._running is None:
            key = header.get("key")
            raise frames.refused(self._batch, "a result", "key", key, "that of a running job: none runs")
        result = frames.job_result(header, arrays, self._batch, self._running)
        try:
            samples = merge([*self._parts, result.samples])
        except (ValueError, TypeError) as error:
            wanted = f"like those of its parts: {error}"
            raise frames.refused(self._batch, "a result", "arrays", list(arrays), wanted) from error
        result = replace(result, samples=samples, host_ns=max(0, header[ARRIVED] - self._began_ns))
        self._ended_keys.append(result.key)
        self._held, self._running = [result], None
        self._wait_for(START_DEADLINE_S)
        return []

    def _next_job(self) -> Job | None:
        """The job that comes next; none after the last one."""
        done = len(self._ended_keys)
        return self._batch.jobs[done] if done < len(self._batch.cases) else None

    def _deadline_reason(self) -> str:
        deadline_s = self._deadline_s * self._connection.slowdown
        if self._running is not None:
            return f"the job passed its deadline of {deadline_s:g} s and was ended"
        if self._held:
            return f"the worker did not go on after this job within {deadline_s:g} s"
        return f"the worker did not start within {deadline_s:g} s"

    def _failed(self, reason: str, program: Program) -> Iterator[JobResult]:
        """Make an ERROR of the job that ran or has just ended; of every job if none had begun.

        A new worker would fail too then.
        """
        stderr = program.stderr_tail()
        text = cut(f"{reason}\n{stderr}" if stderr else reason, MAX_REASON)
        if self._running is not None:
            keys = [self._running.key]
        elif self._held:
            text = f"after the result of this job: {text}"
            keys, self._held = self._ended_keys[-1:], []
        else:
            keys = [job.key for job in self._batch.jobs]
        for key in keys:
            samples = merge(self._parts) if self._running is not None else Samples()
            yield JobResult(key, Status.ERROR, text, samples, cause=Cause.WORKER_FAILED)


class _Outgoing:
    """Standard input of a worker; every piece that is written begins the deadline anew."""

    def __init__(self, stream: BinaryIO, written: Callable[[], None]) -> None:
        self._stream, self._written = stream, written
        self.restarts = True

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        for start in range(0, len(view), PIECE_BYTE):
            self._stream.write(view[start : start + PIECE_BYTE])
            if self.restarts:
                self._written()
        return len(view)

    def flush(self) -> None:
        self._stream.flush()
