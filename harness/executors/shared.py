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
    """Each device takes the next batch when it is free; the others finish the work of one that is gone.

    Parameters
    ----------
    devices : sequence of DeviceExecutor
    """

    def __init__(self, devices: Sequence[DeviceExecutor]) -> None:
        self._devices = devices
        self._work = _Work(())

    @property
    def parallel_batches(self) -> int:
        """One batch a device."""
        return len(self._devices)

    def probe(self, names: Iterable[str]) -> Mapping[str, Availability]:
        """Prepare every device and ask which backends run; the devices must be alike.

        Raises
        ------
        TargetUnavailable
            One cannot be reached or prepared, or runs something else than the first.
        """
        names = list(names)
        with ThreadPoolExecutor(len(self._devices)) as pool:
            answers = [pool.submit(device.probe, names) for device in self._devices]
            try:
                first, *others = [answer.result() for answer in answers]
            except BaseException:  # also Ctrl-C while waiting for a board
                self.close()
                raise
        kinds = [device.connection.facts.get("kind", "") for device in self._devices]
        refuse_unlike("hosts", list(zip(kinds, [first, *others], strict=True)))
        return first

    def run(self, batches: Iterable[Batch]) -> Generator[Event, None, None]:
        """Run batches, each on a device that is free; every case gets exactly one result."""
        self._work = work = _Work(batches)
        with closing(run_parallel([[(_Lane(device, work), ())] for device in self._devices])) as events:
            yield from events
        gone = "\n".join(dict.fromkeys(device.gone for device in self._devices))
        for batch in work.left():
            yield from unmeasured(batch, gone)

    def stop(self) -> None:
        """End ``run`` soon, from another thread; running jobs end without a result."""
        self._work.stop()
        for device in self._devices:
            device.stop()

    def close(self) -> None:
        """Release the devices."""
        for device in self._devices:
            device.close()


class _Work:
    """Batches that wait, and how many are running: what fails on one device comes back for the others."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._waiting, self._running, self._stopped = deque(batches), 0, False
        self._changed = threading.Condition()

    def take(self) -> Batch | None:
        """Return the next batch; None once there will be no more."""
        with self._changed:
            while not self._waiting and self._running and not self._stopped:
                self._changed.wait()
            if not self._waiting or self._stopped:
                return None
            self._running += 1
            return self._waiting.popleft()

    def put_back(self, rest: Batch) -> None:
        """Say that a batch does not run any more, and return the part that was not measured."""
        with self._changed:
            self._running -= 1
            if rest.cases:
                self._waiting.appendleft(rest)
            self._changed.notify_all()

    def stop(self) -> None:
        """Give out no more batches."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def left(self) -> Sequence[Batch]:
        return tuple(self._waiting)


class _Lane:
    """One device that takes batches from the common work."""

    def __init__(self, device: DeviceExecutor, work: _Work) -> None:
        self._device, self._work = device, work
        self.parallel_batches = device.parallel_batches
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
        One differs from the first.
    """
    (kind, runs), *others = devices
    for other_kind, other_runs in others:
        if (other_runs, other_kind) != (runs, kind):
            raise TargetUnavailable(
                f"the {what} of this target are not alike, so their numbers cannot be combined",
                cause=f"one is {_description(kind, runs)}, another {_description(other_kind, other_runs)}",
                next_step="write a target file for each kind",
            )


def _description(kind: str, runs: Mapping[str, Availability]) -> str:
    backends = (
        f"{name} {backend.reason.splitlines()[0] if backend.reason else backend.version}"
        for name, backend in runs.items()
    )
    return f"{kind} with {', '.join(backends)}"
