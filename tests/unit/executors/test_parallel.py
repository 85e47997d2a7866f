"""Executors in parallel: order within a lane, no lane waits for another, one exception ends all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import closing

import pytest

from harness.core.job import Batch, Event, JobKey, Started
from harness.executors.parallel import Together, run_parallel


def started(name: str) -> Started:
    return Started(JobKey("t", "b", "deploy", "v", "s", name, 0))


class Scripted:
    """Yields a started job for each name, and calls each function in between."""

    def __init__(self, *script: str | Callable[[], object]) -> None:
        self._script = script
        self.stopped = threading.Event()

    def run(self, batches: Iterable[Batch]) -> Generator[Event, None, None]:
        for step in self._script:
            if isinstance(step, str):
                yield started(step)
            else:
                step()

    def stop(self) -> None:
        self.stopped.set()


def names(*lanes: list[Scripted]) -> list[str]:
    events = run_parallel([[(executor, []) for executor in lane] for lane in lanes])  # type: ignore[misc]
    return [event.key.case for event in events if isinstance(event, Started)]


def test_a_lane_keeps_its_order() -> None:
    assert names([Scripted("a", "b"), Scripted("c")]) == ["a", "b", "c"]


def test_lanes_do_not_wait_for_each_other() -> None:
    # Each waits for the other: one after the other, both would hang.
    first, second = threading.Event(), threading.Event()
    one = Scripted("a", first.set, lambda: second.wait(30), "b")
    other = Scripted("c", second.set, lambda: first.wait(30), "d")
    events = names([one], [other])
    assert sorted(events) == ["a", "b", "c", "d"]
    assert first.is_set()
    assert second.is_set()


def test_an_exception_in_one_ends_all() -> None:
    def fault() -> None:
        raise RuntimeError("planted")

    other = Scripted()
    other._script = (lambda: other.stopped.wait(30),)
    with pytest.raises(RuntimeError, match="planted"):
        names([Scripted(fault)], [other])
    assert other.stopped.is_set()


def test_all_end_when_the_caller_closes_the_events() -> None:
    waiting = Scripted()
    waiting._script = ("a", lambda: waiting.stopped.wait(30), "b")
    with closing(run_parallel([[(waiting, [])]])) as events:  # type: ignore[list-item]
        assert isinstance(next(events), Started)
    assert waiting.stopped.is_set()


def test_what_follows_waits_for_all_that_run_together() -> None:
    first, second = threading.Event(), threading.Event()
    one = Scripted("a", first.set, lambda: second.wait(30), "b")
    other = Scripted("c", second.set, lambda: first.wait(30), "d")
    together = Together([[(one, [])], [(other, [])]])
    events = names([together, Scripted("e")])  # type: ignore[list-item]
    assert sorted(events[:-1]) == ["a", "b", "c", "d"]
    assert events[-1] == "e"
    together.stop()
    assert one.stopped.is_set()
    assert other.stopped.is_set()
