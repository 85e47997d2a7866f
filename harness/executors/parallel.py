"""Executors beside each other: a run takes as long as its slowest device, not the sum."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Sequence
from contextlib import closing

from harness.core.contracts import Executor
from harness.core.job import Batch, Event

Lane = Sequence[tuple[Executor, Sequence[Batch]]]
"""What has to run one after the other, because it shares a machine."""


def run_parallel(lanes: Sequence[Lane]) -> Generator[Event, None, None]:
    """Run the lanes beside each other and yield what they say, as it comes.

    An exception of one lane stops all. When the caller stops listening, what runs is ended at once.
    """
    said: queue.Queue[Event | BaseException | None] = queue.Queue()
    stopped = threading.Event()

    def follow(lane: Lane) -> None:
        try:
            for executor, batches in lane:
                if stopped.is_set():
                    return
                with closing(executor.run(batches)) as events:
                    for event in events:
                        said.put(event)
                        if stopped.is_set():
                            return
        except BaseException as error:  # noqa: BLE001 - raised again where the caller listens
            said.put(error)
        finally:
            said.put(None)

    threads = [threading.Thread(target=follow, args=(lane,)) for lane in lanes]
    for thread in threads:
        thread.start()
    left = len(threads)
    try:
        while left:
            event = said.get()
            if event is None:
                left -= 1
            elif isinstance(event, BaseException):
                raise event
            else:
                yield event
    finally:
        stopped.set()
        if left:  # who has ended by itself may run again
            for lane in lanes:
                for executor, _ in lane:
                    executor.stop()
        for thread in threads:
            thread.join()
