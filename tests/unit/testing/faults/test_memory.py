"""Faults of memory, descriptors and threads, measured in a process of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import os, sys
from tests.unit.testing.faults.linear import *
name, size, calls, sessions = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
backend, x = planted(name, size), samples(1)
def state():
    pages = int(open("/proc/self/statm").read().split()[1])
    peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024
    threads = len(os.listdir("/proc/self/task"))
    return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd")), threads, peak
backend.open(ARTIFACT, Options())
before = state()
for _ in range(sessions):
    session = backend.open(ARTIFACT, Options())
    for _ in range(calls):
        assert np.array_equal(session.run({"x": x})["y"], right(x))
print(*(after - first for after, first in zip(state(), before)))
"""


def growth(name: str, size: float, calls: int, sessions: int) -> tuple[int, ...]:
    """Bytes, descriptors, threads and bytes at the peak that were added."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, name, str(size), str(calls), str(sessions)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return tuple(map(int, done.stdout.split()))


@pytest.mark.parametrize(
    ("name", "size", "calls", "sessions"),
    [("leak-per-call", 10_000, 2000, 1), ("leak-per-session", 2_000_000, 1, 10)],
)
def test_memory_grows_by_the_size(name: str, size: float, calls: int, sessions: int) -> None:
    grown, descriptors, threads, _ = growth(name, size, calls, sessions)
    assert 0.9 * 20e6 < grown < 1.3 * 20e6
    assert (descriptors, threads) == (0, 0)


def test_healthy_sessions_leave_nothing_behind() -> None:
    grown, descriptors, threads, _ = growth("healthy", 0, 500, 10)
    assert grown < 2e6
    assert (descriptors, threads) == (0, 0)


def test_descriptors_and_threads_by_session() -> None:
    assert growth("descriptors-per-session", 2, 1, 10)[1:3] == (20, 0)
    assert growth("threads-per-session", 2, 1, 10)[1:3] == (0, 20)


def test_peak_is_higher_and_the_memory_is_given_back() -> None:
    grown, _, _, peak = growth("higher-peak", 50e6, 1, 2)
    assert peak > 45e6
    assert grown < 5e6
