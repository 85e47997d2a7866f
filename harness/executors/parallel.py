"""Executors in parallel: a run takes as long as its slowest device, not the sum of all."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing

from harness.core.contracts import Executor
from harness.core.job import Batch, Event

Lane = Sequence[tuple[Executor, Sequence[Batch]]]
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
