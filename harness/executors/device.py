"""Batches on one device, over its connection, one worker at a time.

A worker that dies or hangs costs the job that it was running; the other jobs run in a new worker. A lost
connection costs only time: the interrupted job is started again when the device is back.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from harness.core.cause import Cause
from harness.core.contracts import Availability
from harness.core.errors import TargetUnavailable
from harness.core.job import Batch, Event, JobResult, Part, Samples, Status, merge
from harness.executors.connection import Connection
from harness.executors.worker_session import WorkerSession

#: Pauses between attempts to reach a device again: a Raspberry Pi reboots in about 40 s.
PAUSES_S = (1.0, 3.0, 10.0, 30.0, 60.0)
#: How often a job is started again after a lost connection; the job may be what takes the device down.
RETRIES = 2


class DeviceExecutor:
    """Runs batches in order; every case of every batch gets exactly one result.

    Parameters
    ----------
    connection : Connection
    store : Path
        The host's folder with ``data/<sha256>.npy``.
    pauses_s : tuple of float
        Pauses before each attempt to reach the device again.
    retries : int
        How often a job is started again after a lost connection.
    """

    def __init__(
        self,
        connection: Connection,
        store: Path,
        pauses_s: tuple[float, ...] = PAUSES_S,
        retries: int = RETRIES,
    ) -> None:
        self.connection, self._store, self._pauses_s, self._retries = connection, store, pauses_s, retries
        self._stopped = threading.Event()
        self.gone = ""

    @property
    def parallel_batches(self) -> int:
        """One batch after the other."""
        return 1

    def probe(self, names: Iterable[str]) -> dict[str, Availability]:
        """Ask the device which backends can run on it.

        Raises
        ------
        TargetUnavailable
            It cannot be reached or prepared.
        """
        self.connection.connect()
        return self.connection.probe(names)

    def run(self, batches: Iterable[Batch]) -> Generator[Event, None, None]:
        """Run batches in order; every case of every batch gets exactly one result."""
        for batch in batches:
            rest = yield from self.attempt(batch)
            yield from unmeasured(rest, self.gone)

    def attempt(self, batch: Batch) -> Generator[Event, None, Batch]:
        """Run one batch; returns what has no result because the device is ``gone`` or was stopped."""
        rest, losses = batch, 0
        while rest.cases and not self.gone and not self._stopped.is_set():
            results, parts = 0, list[Samples]()
            session = WorkerSession(rest, self.connection, self._store, self._stopped)
            with closing(session.events()) as events:
                for event in events:
                    if isinstance(event, Part):
                        parts.append(event.samples)
                    elif isinstance(event, JobResult):
                        results, parts = results + 1, []
                    yield event
            rest = replace(rest, cases=rest.cases[results:])
            if session.lost and parts:  # it does not begin again: --resume goes on from them
                reason = f"the connection was lost during this job, which can be resumed\n{session.lost}"
                yield JobResult(
                    rest.jobs[0].key, Status.ERROR, reason, merge(parts), cause=Cause.RUNTIME_UNAVAILABLE
                )
                rest = replace(rest, cases=rest.cases[1:])
            if session.lost:
                losses = 1 if results else losses + 1
                self.gone = self._reconnect(session.lost)
                if losses > self._retries and not self.gone and rest.cases:
                    reason = f"the connection was lost {losses} times during this job\n{session.lost}"
                    yield JobResult(rest.jobs[0].key, Status.ERROR, reason, cause=Cause.WORKER_FAILED)
                    rest, losses = replace(rest, cases=rest.cases[1:]), 0
        return rest

    def _reconnect(self, reason: str) -> str:
        """Try until the device is back; returns why it counts as gone, or nothing."""
        for count, pause_s in enumerate(self._pauses_s, 1):
            if self._stopped.wait(pause_s):
                return ""
            try:
                self.connection.connect()
            except TargetUnavailable as error:
                text = "; ".join(filter(None, (error.what, error.cause)))
                reason = f"{text} (attempt {count} after the connection was lost)"
            else:
                return ""
        return reason

    def stop(self) -> None:
        """End ``run`` soon, from another thread; the running job ends without a result."""
        self._stopped.set()

    def close(self) -> None:
        """Release the device."""
        self.connection.close()


def unmeasured(batch: Batch, gone: str) -> Generator[Event, None, None]:
    """Make an ERROR of every case if the device is gone."""
    if gone:
        yield from (JobResult(job.key, Status.ERROR, gone, cause=Cause.WORKER_FAILED) for job in batch.jobs)
