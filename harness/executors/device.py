"""Batches on one device, over its link, one worker at a time.

A worker that dies or hangs costs the job that it was running; the rest goes on in a new one. A link that
dies costs nothing but time: the job that was cut is begun again when the device is back.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from harness.core.contracts import Availability
from harness.core.errors import TargetUnavailable
from harness.core.job import Batch, Event, JobResult, Status
from harness.executors.conversation import Conversation
from harness.executors.link import Link
from harness.probe import probe

#: Pauses between the tries to reach a device again: a Raspberry Pi reboots in about 40 s.
PAUSES_S = (1.0, 3.0, 10.0, 30.0, 60.0)


class DeviceExecutor:
    """Runs batches in order; every case of every batch gets exactly one result.

    Parameters
    ----------
    link : Link
    store : Path
        The host's folder with ``data/<sha256>.npy``.
    room_byte : int, optional
        Of the depot on a device that files are shipped to.
    pauses_s : tuple of float
        As many as there are tries to reach the device again after its link died.
    """

    def __init__(
        self, link: Link, store: Path, room_byte: int | None = None, pauses_s: tuple[float, ...] = PAUSES_S
    ) -> None:
        self._link, self._store, self._room_byte, self._pauses_s = link, store, room_byte, pauses_s
        self._stopped = threading.Event()

    @property
    def here(self) -> bool:
        """A device that sees the host's files is this machine."""
        return not self._link.ships

    def probe(self, names: Iterable[str]) -> dict[str, Availability]:
        """Ask the device which backends can run on it.

        Raises
        ------
        TargetUnavailable
            It cannot be reached or made ready.
        """
        self._link.connect()
        return probe(names, self._link.command, self._link.environment(), self._link.slowdown)

    def run(self, batches: Iterable[Batch]) -> Generator[Event, None, None]:
        """Run batches in order; every case of every batch gets exactly one result."""
        gone = ""
        for batch in batches:
            rest = batch
            tries = iter(self._pauses_s)
            while rest.cases and not self._stopped.is_set():
                if gone:
                    yield from (JobResult(job.key, Status.ERROR, gone) for job in rest.jobs)
                    break
                answered = 0
                talk = Conversation(rest, self._link, self._store, self._room_byte, self._stopped)
                with closing(talk.events()) as events:
                    for event in events:
                        answered += isinstance(event, JobResult)
                        yield event
                rest = replace(rest, cases=rest.cases[answered:])
                if answered:
                    tries = iter(self._pauses_s)
                if talk.lost:
                    gone = self._reach_again(talk.lost, tries)

    def _reach_again(self, lost: str, tries: Iterator[float]) -> str:
        """Try until the device is back; why it counts as gone, or nothing."""
        for count, pause_s in enumerate(tries, 1):
            if self._stopped.wait(pause_s):
                return ""
            try:
                self._link.connect()
            except TargetUnavailable as error:
                lost = f"{error.what} (try {count} after the link died)"
            else:
                return ""
        return lost

    def stop(self) -> None:
        """Let ``run`` end soon, from another thread; what runs is ended without a result."""
        self._stopped.set()

    def close(self) -> None:
        """Let the device go."""
        self._link.close()
