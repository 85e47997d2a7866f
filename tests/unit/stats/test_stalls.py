from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats.intervals import clopper_pearson
from harness.stats.stalls import BURST_CALLS, limit_ns, stalls

US, MS = 1_000, 1_000_000


def calls(n: int, every: int = 0, stall_ns: int = 20 * MS) -> np.ndarray:
    """`n` calls of 100 µs; of `every` calls, the last one stalls."""
    times_ns = np.full(n, 100 * US)
    if every:
        times_ns[every - 1 :: every] = stall_ns
    return times_ns


def entries(times_ns: np.ndarray, waited_ns: int = 0, steal_ns: int = 0, faults: int = 0) -> np.ndarray:
    """An entry with the same counters for each slow call."""
    slow = np.flatnonzero(times_ns > 600 * US)
    return np.array([(call, waited_ns, steal_ns, faults) for call in slow], np.int64).reshape(-1, 4)


@pytest.mark.parametrize(
    ("typical_ns", "limit"), [(20 * US, 1_020 * US), (100 * US, 1_100 * US), (1 * MS, 10 * MS)]
)
def test_limit_is_ten_calls_or_a_millisecond_more(typical_ns: int, limit: int) -> None:
    assert limit_ns(np.full(9, typical_ns)) == limit


def test_one_stall_in_five_hundred_is_the_backends() -> None:
    parts = [calls(2_000, 500)] * 5
    result = stalls(parts, [entries(part) for part in parts])
    assert (result.count, result.unexplained, result.processes, result.bursts) == (20, 20, 5, 20)
    assert result.share == clopper_pearson(20, 10_000)
    assert result.unexplained_at_least == clopper_pearson(16, 8_000).low > 1e-3
    assert result.longest_ns == 20 * MS


@pytest.mark.parametrize(
    ("counters", "unexplained"),
    [
        # A stall of 20 ms, where a call of 1.1 ms is none.
        ({"waited_ns": 19 * MS}, 0),
        ({"waited_ns": 18 * MS}, 20),
        ({"steal_ns": 19 * MS}, 0),
        ({"waited_ns": 9 * MS, "steal_ns": 10 * MS}, 0),
        ({"faults": 1}, 0),
        ({"waited_ns": -1, "steal_ns": -1}, 20),
    ],
)
def test_what_the_kernel_counted_is_not_the_backends(counters: dict[str, int], unexplained: int) -> None:
    parts = [calls(2_000, 500)] * 5
    result = stalls(parts, [entries(part, **counters) for part in parts])
    assert (result.count, result.unexplained) == (20, unexplained)
    assert (result.unexplained_at_least > 0) == (unexplained > 0)


def test_one_disturbed_process_proves_nothing() -> None:
    parts = [calls(2_000), calls(2_000, 20), calls(2_000)]
    result = stalls(parts, [entries(part) for part in parts])
    assert (result.unexplained, result.processes) == (100, 1)
    assert result.unexplained_at_least == 0.0


@pytest.mark.parametrize(
    ("every", "is_proved"),
    [
        ((1_000, 1_000, 0, 0, 0), False),  # in two of five processes
        ((1_000, 2_000, 2_000, 0, 0), False),  # two, besides those of the first process
        ((1_000, 1_000, 2_000, 0, 0), True),
    ],
)
def test_few_stalls_prove_nothing(every: tuple[int, ...], is_proved: bool) -> None:
    parts = [calls(2_000, part) for part in every]
    assert (stalls(parts, [entries(part) for part in parts]).unexplained_at_least > 0) == is_proved


def test_a_single_process_is_judged_by_itself() -> None:
    part = calls(2_000, 500)
    assert stalls([part], [entries(part)]).unexplained_at_least == clopper_pearson(4, 2_000).low


def test_a_stall_that_was_not_noted_is_not_blamed_on_the_backend() -> None:
    part = calls(2_000, 500)
    nothing = np.empty((0, 4), np.int64)
    assert stalls([part], [nothing]).unexplained == 0


def test_no_stall() -> None:
    result = stalls([calls(500), calls(300)], [np.empty((0, 4), np.int64)] * 2)
    assert (result.count, result.bursts, result.longest_ns, result.unexplained) == (0, 0, 0, 0)
    assert result.share.n == 800


@given(st.sets(st.integers(0, 299), max_size=40))
def test_stalls_close_to_each_other_are_one_burst(where: set[int]) -> None:
    times_ns = calls(300)
    times_ns[sorted(where)] = 5 * MS
    bursts, last = 0, -(10**9)
    for call in sorted(where):
        bursts += call - last > BURST_CALLS
        last = call
    result = stalls([times_ns], [entries(times_ns)])
    assert (result.bursts, result.count) == (bursts, len(where))
