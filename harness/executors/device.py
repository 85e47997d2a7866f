"""Batches on one device, over its link, one worker at a time.

A worker that dies or hangs costs the job that it was running; the rest goes on in a new one. A link that
dies costs nothing but time: the job that was cut is begun again when the device is back.
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
from harness.core.job import Batch, Event, JobResult, Status
from harness.executors.connection import Connection
from harness.executors.worker_session import WorkerSession

#: Pauses between the tries to reach a device again: a Raspberry Pi reboots in about 40 s.
PAUSES_S = (1.0, 3.0, 10.0, 30.0, 60.0)
#: How often a job is begun again whose link died; perhaps it takes the device down itself.
RETRIES = 2


class DeviceExecutor:
    """Runs batches in order; every case of every batch gets exactly one result.

    Parameters
    ----------
    link : Link
    store : Path
        The host's folder with ``data/<sha256>.npy``.
    pauses_s : tuple of float
        As many as there are tries to reach the device again after its link died.
    retries : int
        How often a job is begun again whose link died.
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
    def here(self) -> bool:
        """A device that sees the host's files is this machine."""
        return not self.connection.ships

    @property
    def beside(self) -> int:
        """One batch after the other."""
        return 1

    def probe(self, names: Iterable[str]) -> dict[str, Availability]:
        """Ask the device which backends can run on it.

        Raises
        ------
        TargetUnavailable
            It cannot be reached or made ready.
        """
        self.connection.connect()
        return self.connection.probe(names)

    def run(self, batches: Iterable[Batch]) -> Generator[Event, None, None]:
        """Run batches in order; every case of every batch gets exactly one result."""
        for batch in batches:
            rest = yield from self.attempt(batch)
            yield from unmeasured(rest, self.gone)

    def attempt(self, batch: Batch) -> Generator[Event, None, Batch]:
        """Run one batch; returns what has no result, because the device is ``gone`` or it was stopped."""
        rest, cuts = batch, 0
        while rest.cases and not self.gone and not self._stopped.is_set():
            answered = 0
            talk = WorkerSession(rest, self.connection, self._store, self._stopped)
            with closing(talk.events()) as events:
                for event in events:
                    answered += isinstance(event, JobResult)
                    yield event
            rest = replace(rest, cases=rest.cases[answered:])
            if talk.lost:
                cuts = 1 if answered else cuts + 1
                self.gone = self._reach_again(talk.lost)
                if cuts > self._retries and not self.gone and rest.cases:
                    reason = f"the link died {cuts} times under this job\n{talk.lost}"
                    yield JobResult(rest.jobs[0].key, Status.ERROR, reason, cause=Cause.WORKER_FAILED)
                    rest, cuts = replace(rest, cases=rest.cases[1:]), 0
        return rest

    def _reach_again(self, lost: str) -> str:
        """Try until the device is back; why it counts as gone, or nothing."""
        for count, pause_s in enumerate(self._pauses_s, 1):
            if self._stopped.wait(pause_s):
                return ""
            try:
                self.connection.connect()
            except TargetUnavailable as error:
                said = "; ".join(filter(None, (error.what, error.cause)))
                lost = f"{said} (try {count} after the link died)"
            else:
                return ""
        return lost

    def stop(self) -> None:
        """Let ``run`` end soon, from another thread; what runs is ended without a result."""
        self._stopped.set()

    def close(self) -> None:
        """Let the device go."""
        self.connection.close()


def unmeasured(batch: Batch, gone: str) -> Generator[Event, None, None]:
    """Say ERROR of every case, where the device is gone."""
    if gone:
        yield from (JobResult(job.key, Status.ERROR, gone, cause=Cause.WORKER_FAILED) for job in batch.jobs)
