"""What the kernel counts for this process, read in about a microsecond: cheap enough between timed calls."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

from harness.device import environment

#: Reads of the three clocks; the one that took least counts.
TRIES = 8
#: A reading that took less is not repeated.
SHORT_NS = 5_000
NO_CLOCK = -1


class Scheduling(NamedTuple):
    """What kept this process from running so far; -1 where the kernel does not tell.

    Attributes
    ----------
    waited_ns : int
        Its threads were ready and waited for a core, all together. Threads that were started later than the
        counters were opened are left out.
    steal_ns : int
        Other guests of the hypervisor took the cores, all together; counted in ticks of 10 ms.
    faults : int
        Pages that were read from a disk.
    """

    waited_ns: int
    steal_ns: int
    faults: int


class ClockReading(NamedTuple):
    """Three clocks at one moment, in ns; -1 where there is none."""

    clock_ns: int
    raw_ns: int
    wall_ns: int


class Counters:
    """Counters of this process; the files stay open, because opening one takes longer than reading it."""

    def __init__(self) -> None:
        root = environment.ROOT / "proc"
        self._page_byte = resource.getpagesize()
        self._tick_ns = 10**9 // os.sysconf("SC_CLK_TCK")
        self._memory = _open(root / "self/statm")
        self._cpu = _open(root / "stat")
        tasks = sorted((root / "self/task").glob("*/schedstat"))
        self._tasks = [file for path in tasks if (file := _open(path)) is not None]

    def memory_byte(self) -> int | None:
        """Resident memory; None where there is no ``/proc/self/statm``."""
        words = _words(self._memory)
        return int(words[1]) * self._page_byte if len(words) > 1 else None

    def handles(self) -> tuple[int, int]:
        """Open files and threads of this process; -1 where there is no ``/proc``."""
        here = environment.ROOT / "proc/self"
        return _entries(here / "fd"), _entries(here / "task")

    def scheduling(self) -> Scheduling:
        """Read what kept this process from running so far."""
        waited_ns, is_counted = 0, False
        for file in self._tasks:
            words = _words(file)  # none: the thread has ended
            if len(words) > 1:
                waited_ns, is_counted = waited_ns + int(words[1]), True
        ticks = _words(self._cpu)
        steal_ns = int(ticks[8]) * self._tick_ns if len(ticks) > 8 else -1
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
        return Scheduling(waited_ns if is_counted else -1, steal_ns, faults)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for file in (self._memory, self._cpu, *self._tasks):
            if file is not None:
                os.close(file)
        self._memory = self._cpu = None
        self._tasks = []


def read_clocks(clock: Callable[[], int]) -> ClockReading:
    """Read `clock`, the raw monotonic clock and the wall clock at one moment.

    The process may lose its core between two reads: the reading that took least time counts.
    """
    best, least_ns = ClockReading(0, NO_CLOCK, NO_CLOCK), 0
    for attempt in range(TRIES):
        before_ns = raw_ns()
        now_ns, wall_ns = clock(), time.time_ns()
        after_ns = raw_ns()
        took_ns = after_ns - before_ns
        if not attempt or took_ns < least_ns:
            middle_ns = before_ns + took_ns // 2 if before_ns >= 0 else NO_CLOCK
            best, least_ns = ClockReading(now_ns, middle_ns, wall_ns), took_ns
        if took_ns < SHORT_NS:
            break
    return best


def raw_ns() -> int:
    """The monotonic clock that nobody adjusts; -1 where there is none."""
    which = getattr(time, "CLOCK_MONOTONIC_RAW", None)
    return time.clock_gettime_ns(which) if which is not None else NO_CLOCK


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY)
    except OSError:
        return None


def _entries(folder: Path) -> int:
    try:
        return len(os.listdir(folder))  # noqa: PTH208 - nothing else is made of the names
    except OSError:
        return -1


def _words(file: int | None) -> list[bytes]:
    """Words of the first line."""
    if file is None:
        return []
    with contextlib.suppress(OSError):
        return os.pread(file, 256, 0).partition(b"\n")[0].split()
    return []
