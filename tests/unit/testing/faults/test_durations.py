"""Faults of time, on a clock that the session moves."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from harness.testing.faults.durations import Grows, Slower, SlowFirst, SlowLoad, Stalls, _Timed
from harness.testing.faults.fault import Call
from tests.unit.testing.faults.linear import ARTIFACT, Linear, LinearBackend, opened, right, samples

CALL_NS = 1000


@dataclass
class StepClock:
    """Moves by 1 ns each time that it is read."""

    now_ns: int = 0

    def __call__(self) -> int:
        self.now_ns += 1
        return self.now_ns


def times_ns(plant: _Timed, calls: int) -> list[int]:
    """How long each call takes where the real session takes ``CALL_NS``."""
    clock = StepClock()
    plant._clock = clock

    def compute(_: Feeds) -> Outputs:
        clock.now_ns += CALL_NS
        return {}

    call, times = Call(Linear.inputs, Linear.outputs, Options()), []
    for _ in range(calls):
        start = clock.now_ns
        plant.run(call, compute, {})
        call.calls += 1
        times.append(clock.now_ns - start)
    return times


@pytest.mark.parametrize(
    ("plant", "expected"),
    [
        (lambda: Slower(0.1), [1100, 1100, 1100, 1100]),
        (lambda: Slower(0.3), [1300, 1300, 1300, 1300]),
        (lambda: Stalls(2), [1000, 1000 + Stalls.LEAST_NS, 1000, 1000 + Stalls.LEAST_NS]),
        (lambda: Grows(100.0), [1000, 1100, 1200, 1300]),
    ],
)
def test_each_call_takes_as_long_as_the_sentence_says(
    plant: Callable[[], _Timed], expected: list[int]
) -> None:
    np.testing.assert_allclose(times_ns(plant(), 4), expected, atol=8)  # the clock moves when it is read


def test_a_load_and_a_first_call_wait_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waits_s: list[float] = []
    monkeypatch.setattr(time, "sleep", waits_s.append)
    session = SlowLoad(0.3).open(LinearBackend(), ARTIFACT, Options())
    assert waits_s == [0.3]
    call, first = Call(Linear.inputs, Linear.outputs, Options()), SlowFirst(0.2)
    for calls in range(3):
        call.calls = calls
        assert np.array_equal(first.run(call, session.run, {"x": samples()})["y"], right(samples()))
    assert waits_s == [0.3, 0.2]


@pytest.mark.parametrize("name", ["slower-10", "stall", "slower-with-uptime"])
def test_answers_are_right(name: str) -> None:
    assert np.array_equal(opened(name).run({"x": samples()})["y"], right(samples()))


def test_slow_clocks_agree_with_each_other_and_show_less_time_than_passed() -> None:
    code = (
        "import time\nfrom harness.device.counters import read_clocks\n"
        "from tests.unit.testing.faults.linear import planted\n"
        "real = time.clock_gettime_ns\nplanted('slow-clocks', 0.5)\n"
        "now = lambda: real(time.CLOCK_MONOTONIC)\n"
        "read_clocks(time.perf_counter_ns)\nbefore, first = read_clocks(time.perf_counter_ns), now()\n"
        "while now() < first + 50_000_000: pass\n"
        "after, passed = read_clocks(time.perf_counter_ns), now() - first\n"
        "print(*((end - start) / passed for start, end in zip(before, after)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(0.45 < float(share) < 0.55 for share in done.stdout.split()), done.stdout


def test_slow_clock_shows_less_time_than_passed() -> None:
    code = (
        "import time; from tests.unit.testing.faults.linear import planted\n"
        "wall, start = time.monotonic_ns, time.perf_counter_ns\n"
        "planted('slow-clock', 0.5)\n"
        "began, first = time.perf_counter_ns(), wall()\n"
        "while wall() < first + 50_000_000: pass\n"
        "print((time.perf_counter_ns() - began) / (wall() - first), time.perf_counter() * 1e9 - began > 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    share, moves = done.stdout.split()
    assert 0.45 < float(share) < 0.55
    assert moves == "True"
