"""Several equal devices that share the work of one target."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from harness.core.contracts import Availability
from harness.core.errors import TargetUnavailable
from harness.core.job import Batch, Event
from harness.executors.device import DeviceExecutor, unmeasured
from harness.executors.parallel import run_parallel


class SharedExecutor:
    """Each device takes the next batch when it is free; one that is gone leaves its work to the others.

    Parameters
    ----------
    devices : sequence of DeviceExecutor
    """

    def __init__(self, devices: Sequence[DeviceExecutor]) -> None:
        self._devices = devices
        self._work = _Work(())

    @property
    def here(self) -> bool:
        """Whether the first, like the others, uses this machine's processors."""
        return self._devices[0].here

    @property
    def beside(self) -> int:
        """One batch a device."""
        return len(self._devices)

    def probe(self, names: Iterable[str]) -> Mapping[str, Availability]:
        """Make every device ready and ask which backends run; the devices must be alike.

        Raises
        ------
        TargetUnavailable
            One cannot be reached or made ready, or runs something else than the first.
        """
        names = list(names)
        with ThreadPoolExecutor(len(self._devices)) as pool:
            answers = [pool.submit(device.probe, names) for device in self._devices]
            try:
                first, *others = [answer.result() for answer in answers]
            except BaseException:  # Ctrl-C, too, while one queues for a board
                self.close()
                raise
        kinds = [device.connection.facts.get("kind", "") for device in self._devices]
        refuse_unlike("hosts", list(zip(kinds, [first, *others], strict=True)))
        return first

    def run(self, batches: Iterable[Batch]) -> Generator[Event, None, None]:
        """Run batches, each on the device that is free; every case gets exactly one result."""
        self._work = work = _Work(batches)
        with closing(run_parallel([[(_Lane(device, work), ())] for device in self._devices])) as events:
            yield from events
        gone = "\n".join(dict.fromkeys(device.gone for device in self._devices))
        for batch in work.left():
            yield from unmeasured(batch, gone)

    def stop(self) -> None:
        """Let ``run`` end soon, from another thread; what runs is ended without a result."""
        self._work.stop()
        for device in self._devices:
            device.stop()

    def close(self) -> None:
        """Let the devices go."""
        for device in self._devices:
            device.close()


class _Work:
    """Batches that wait, and how many are being run: what fails on one device comes back for the others."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._waiting, self._running, self._stopped = deque(batches), 0, False
        self._changed = threading.Condition()

    def take(self) -> Batch | None:
        """Return the next batch; None where there will be none any more."""
        with self._changed:
            while not self._waiting and self._running and not self._stopped:
                self._changed.wait()
            if not self._waiting or self._stopped:
                return None
            self._running += 1
            return self._waiting.popleft()

    def put_back(self, rest: Batch) -> None:
        """Say that a batch is not being run any more, and what of it was not measured."""
        with self._changed:
            self._running -= 1
            if rest.cases:
                self._waiting.appendleft(rest)
            self._changed.notify_all()

    def stop(self) -> None:
        """Let nobody take anything any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def left(self) -> Sequence[Batch]:
        return tuple(self._waiting)


class _Lane:
    """One device at the common work."""

    def __init__(self, device: DeviceExecutor, work: _Work) -> None:
        self._device, self._work = device, work
        self.here, self.beside = device.here, device.beside
        self.probe, self.close = device.probe, device.close

    def run(self, batches: Iterable[Batch]) -> Generator[Event, None, None]:
        while not self._device.gone and (batch := self._work.take()) is not None:
            rest = batch
            try:
                rest = yield from self._device.attempt(batch)
            finally:
                self._work.put_back(rest)
            if rest.cases:
                return

    def stop(self) -> None:
        self._work.stop()
        self._device.stop()


def refuse_unlike(what: str, devices: Sequence[tuple[str, Mapping[str, Availability]]]) -> None:
    """Compare the devices of one target: what each is, and what runs on it.

    Raises
    ------
    TargetUnavailable
        One is not like the first.
    """
    (kind, runs), *others = devices
    for other, found in others:
        if (found, other) != (runs, kind):
            raise TargetUnavailable(
                f"the {what} of this target are not alike, so that their numbers would not belong together",
                cause=f"one is {_told(kind, runs)}, another {_told(other, found)}",
                next_step="write a target file for each kind",
            )


def _told(kind: str, found: Mapping[str, Availability]) -> str:
    runs = (
        f"{name} {one.reason.splitlines()[0] if one.reason else one.version}" for name, one in found.items()
    )
    return f"{kind} with {', '.join(runs)}"
