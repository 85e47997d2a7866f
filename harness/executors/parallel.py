"""Executors in parallel: a run takes as long as its slowest device, not the sum of all."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from typing import Protocol

from harness.core.job import Batch, Event


class Runs(Protocol):
    """What a lane needs of an executor."""

    @property
    def parallel_batches(self) -> int:
        """How many batches it runs at the same time."""
        ...

    def run(self, batches: Iterable[Batch]) -> Generator[Event, None, None]:
        """Run batches in order; closing it ends what runs."""
        ...

    def stop(self) -> None:
        """End ``run`` soon; called from another thread."""
        ...


Lane = Sequence[tuple[Runs, Sequence[Batch]]]
"""What runs one after the other because it shares a machine."""


def run_parallel(
    lanes: Sequence[Lane], limit_s: Callable[[], float] | None = None
) -> Generator[Event, None, None]:
    """Run the lanes in parallel and yield their events as they arrive.

    An exception in one lane stops all. When the caller closes the generator, running jobs are ended at once.

    Parameters
    ----------
    lanes : sequence of Lane
    limit_s : callable, optional
        Seconds after which running jobs are ended, as if the caller had closed the generator.
    """
    events: queue.Queue[Event | BaseException | None] = queue.Queue()
    stopped = threading.Event()

    def run_lane(lane: Lane) -> None:
        try:
            for executor, batches in lane:
                if stopped.is_set():
                    return
                with closing(executor.run(batches)) as lane_events:
                    for event in lane_events:
                        events.put(event)
                        if stopped.is_set():
                            return
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            events.put(error)
        finally:
            events.put(None)

    threads = [threading.Thread(target=run_lane, args=(lane,)) for lane in lanes]
    for thread in threads:
        thread.start()
    running = len(threads)
    try:
        while running:
            try:
                event = events.get(timeout=limit_s() if limit_s is not None else None)
            except queue.Empty:
                return
            if event is None:
                running -= 1
            elif isinstance(event, BaseException):
                raise event
            else:
                yield event
    finally:
        stopped.set()
        if running:  # an executor that ended by itself may run again
            for lane in lanes:
                for executor, _ in lane:
                    executor.stop()
        for thread in threads:
            thread.join()


class Together:
    """Lanes of one machine as one executor, for batches of which nothing is timed.

    Parameters
    ----------
    lanes : sequence of Lane
        Each executor is in one of them.
    """

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._lanes = lanes
        self.parallel_batches = len(lanes)

    def run(self, batches: Iterable[Batch]) -> Generator[Event, None, None]:
        """Run the batches of the lanes, which are those that are given, at the same time."""
        yield from run_parallel(self._lanes)

    def stop(self) -> None:
        """End ``run`` soon, from another thread."""
        for lane in self._lanes:
            for executor, _ in lane:
                executor.stop()
