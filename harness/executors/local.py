"""Workers as child processes of this machine, one after the other.

A worker that dies or hangs costs the job that it was running; the rest goes on in a new one.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from harness import worker
from harness.core.errors import WorkerError
from harness.core.job import Batch, EnvironmentRecord, Event, JobKey, JobResult, Samples, Started, Status
from harness.core.target import Target
from harness.core.wire import read_frame

#: A worker that has not begun its first job by then has a runtime that hangs at import.
START_DEADLINE_S = 120.0


class LocalExecutor:
    """Run batches in fresh child processes.

    Parameters
    ----------
    target : Target
    store : Path
        Folder with ``data/<sha256>.npy``.
    """

    def __init__(self, target: Target, store: Path) -> None:
        self._target, self._store = target, store

    def run(self, batches: Iterable[Batch]) -> Iterator[Event]:
        """Run the batches in order; every case of every batch gets exactly one result."""
        for batch in batches:
            rest = batch
            while rest.cases:
                answered = 0
                for event in _Worker(rest, self._store).events():
                    answered += isinstance(event, JobResult)
                    yield event
                rest = replace(rest, cases=rest.cases[answered:])


class _Worker:
    """One worker process, from start to end; ends in as many results as it began cases, at least one."""

    def __init__(self, batch: Batch, store: Path) -> None:
        self._batch, self._store = batch, store
        self._frames: queue.Queue[tuple[dict[str, Any], dict[str, Any]] | WorkerError | None] = queue.Queue()

    def events(self) -> Iterator[Event]:
        with tempfile.TemporaryFile() as stderr:
            # A session of its own: Ctrl-C reaches the harness only, and ending it ends its children too.
            process = subprocess.Popen(
                worker.command(sys.executable),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
            )
            stdin, stdout = cast(BinaryIO, process.stdin), cast(BinaryIO, process.stdout)
            reader = threading.Thread(target=self._read, args=(stdout,), daemon=True)
            reader.start()
            try:
                try:
                    stdin.write(worker.request(self._batch, self._store))
                    stdin.flush()
                except BrokenPipeError:
                    pass  # it died at once; its end of file says so below
                yield from self._follow(process, stderr)
            finally:
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

    def _follow(self, process: subprocess.Popen[bytes], stderr: Any) -> Iterator[Event]:  # noqa: ANN401
        jobs = iter(self._batch.jobs)
        running, deadline_s = None, START_DEADLINE_S
        done = 0
        while True:
            try:
                frame = self._frames.get(timeout=deadline_s)
            except queue.Empty:
                _end_group(process)
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
                case "start":
                    running = next(jobs)
                    deadline_s = running.case.deadline_s
                    yield Started(running.key)
                case "result":
                    done, running, deadline_s = done + 1, None, START_DEADLINE_S
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
