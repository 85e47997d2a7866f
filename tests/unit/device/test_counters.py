from __future__ import annotations

import mmap
import os
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.device import counters, environment
from harness.device.counters import ClockReading, Counters, Scheduling, read_clocks


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for /proc."""
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    folder = tmp_path / "proc"
    for task in ("1", "2"):
        (folder / "self/task" / task).mkdir(parents=True)
    return folder


def test_memory_of_this_process_grows_with_what_is_touched() -> None:
    size_byte = 32 * 2**20
    # Pages of its own: the heap of a process that ran other tests has free ones.
    with Counters() as reader, mmap.mmap(-1, size_byte) as touched:
        before = reader.memory_byte()
        for page in range(0, size_byte, mmap.PAGESIZE):
            touched[page] = 1
        after = reader.memory_byte()
    assert before is not None
    assert after is not None
    assert 0.9 * size_byte < after - before < 1.5 * size_byte


def test_files_are_read_anew_and_waiting_threads_are_added(proc: Path) -> None:
    (proc / "self/statm").write_text("900 25 3 4 0 5 0\n")
    (proc / "stat").write_text("cpu  1 2 3 4 5 6 7 8 9 0\ncpu0 1 2 3 4 5 6 7 80 9 0\n")
    for task, waited in (("1", 40), ("2", 2)):
        (proc / f"self/task/{task}/schedstat").write_text(f"1000 {waited} 3\n")
    tick_ns = 10**9 // os.sysconf("SC_CLK_TCK")
    with Counters() as reader:
        assert reader.memory_byte() == 25 * resource.getpagesize()
        waited_ns, steal_ns, faults = reader.scheduling()
        assert (waited_ns, steal_ns) == (42, 8 * tick_ns)
        assert faults >= 0
        (proc / "self/task/2/schedstat").write_text("1000 500 3\n")
        assert reader.scheduling().waited_ns == 540


def test_what_the_kernel_does_not_count_is_none_or_minus_one(proc: Path) -> None:
    with Counters() as reader:
        assert reader.memory_byte() is None
        assert reader.scheduling()[:2] == (-1, -1)


def test_a_closed_reader_has_closed_its_files() -> None:
    folder = Path("/proc/self/fd")
    before = len(list(folder.iterdir()))
    with Counters() as reader:
        assert len(list(folder.iterdir())) > before
        reader.scheduling()
    assert len(list(folder.iterdir())) == before
    assert reader.memory_byte() is None


def test_a_thread_that_ended_is_left_out() -> None:
    done, thread = threading.Event(), None
    thread = threading.Thread(target=done.wait)
    thread.start()
    with Counters() as reader:
        assert isinstance(reader.scheduling(), Scheduling)
        done.set()
        thread.join()
        assert isinstance(reader.scheduling(), Scheduling)


def clock_of(values: list[int]) -> Iterator[int]:
    yield from values


def test_the_reading_that_took_least_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = clock_of([0, 90_000, 100_000, 100_400])
    monkeypatch.setattr(counters, "raw_ns", lambda: next(raw))
    monkeypatch.setattr(time, "time_ns", lambda: 7)
    now = clock_of([1, 2])
    assert read_clocks(lambda: next(now)) == ClockReading(2, 100_200, 7)


def test_a_machine_that_always_interrupts_gives_its_best_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    took = [50_000, 9_000, 30_000, 80_000, 80_000, 80_000, 80_000, 80_000]
    raw = clock_of([value for i, part in enumerate(took) for value in (10**6 * i, 10**6 * i + part)])
    monkeypatch.setattr(counters, "raw_ns", lambda: next(raw))
    now = clock_of(list(range(counters.TRIES)))
    assert read_clocks(lambda: next(now))[:2] == (1, 10**6 + 4_500)


def test_without_a_raw_clock_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(time, "CLOCK_MONOTONIC_RAW", raising=False)
    assert counters.raw_ns() == counters.NO_CLOCK
    assert read_clocks(lambda: 5)[:2] == (5, counters.NO_CLOCK)


def test_clocks_of_this_machine_agree_to_a_thousandth() -> None:
    """Over a busy while; a thousandth is twice of what NTP may adjust."""
    before = read_clocks(time.perf_counter_ns)
    assert before.raw_ns != counters.NO_CLOCK
    end = before.clock_ns + 50_000_000
    while time.perf_counter_ns() < end:
        pass
    after = read_clocks(time.perf_counter_ns)
    ratio = (after.clock_ns - before.clock_ns) / (after.raw_ns - before.raw_ns)
    assert abs(ratio - 1) < 1e-3
