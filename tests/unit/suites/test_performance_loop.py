from __future__ import annotations

import gc
import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.job import Case
from harness.core.preprocess import Outputs
from harness.device.counters import Counters, Scheduling
from suites.performance import loop
from suites.performance.loop import (
    CHEAP_BYTE,
    MAX_CALLS,
    READINGS,
    WARM_UP_CALLS,
    Answers,
    Place,
    Watch,
    answers_of,
    time_calls,
    timed_loop,
    warm_up,
)
from tests.unit.suites.planted import StepClock

LOOP = {"warm_up_seconds": 1e-6, "seconds": 1e-5, "max_seconds": 1.0}
CASE = Case("single_stream", params=LOOP)


def planted(clock: StepClock, durations_ns: list[int]) -> Callable[[], None]:
    """A call that takes the given times one after the other, the last one for ever."""
    left = iter(durations_ns)

    def call() -> None:
        clock.now_ns += next(left, durations_ns[-1])

    return call


def nothing(_result: object, _elapsed_ns: int) -> None:
    pass


def one(value: float) -> Outputs:
    return {"y": np.array([value, 2.0], np.float32), "k": np.array([7])}


class PlannedCounters(Counters):
    """Counters whose readings a test gives."""

    def __init__(self, scheduling: Iterator[Scheduling], memory: Iterator[int | None]) -> None:
        self._planned, self._memories = scheduling, memory

    def scheduling(self) -> Scheduling:
        return next(self._planned)

    def memory_byte(self) -> int | None:
        return next(self._memories)


def quiet() -> PlannedCounters:
    return PlannedCounters(itertools.repeat(Scheduling(0, 0, 0)), itertools.repeat(None))


# The loop


def test_time_calls_returns_each_duration_in_order() -> None:
    clock = StepClock()
    times_ns, _ = time_calls(planted(clock, [5, 900, 7, 11]), clock, 4, nothing)
    assert times_ns.dtype == np.int64
    assert times_ns.tolist() == [5, 900, 7, 11]


def test_what_is_done_between_calls_is_not_in_their_times() -> None:
    clock, seen = StepClock(), []

    def watch(result: object, elapsed_ns: int) -> None:
        clock.now_ns += 10_000
        seen.append((result, elapsed_ns))

    times_ns, (clock_ns, _, _) = time_calls(planted(clock, [5, 6, 7]), clock, 3, watch)
    assert times_ns.tolist() == [5, 6, 7]
    assert seen == [(None, 5), (None, 6), (None, 7)]
    assert clock_ns == 30_018


def test_clocks_of_a_loop_are_those_before_and_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([(100, 1_000, 50), (400, 1_500, -1)])
    monkeypatch.setattr(loop, "read_clocks", lambda clock: next(readings))
    _, clocks = time_calls(lambda: None, StepClock(), 2, nothing)
    assert clocks == [300, 500, -1]


def test_collector_is_off_only_inside_the_loop() -> None:
    seen = []
    assert gc.isenabled()
    time_calls(lambda: seen.append(gc.isenabled()), StepClock(), 3, nothing)
    assert seen == [False] * 3
    assert gc.isenabled()


def test_collector_comes_back_after_a_failing_call() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        time_calls(fail, StepClock(), 1, nothing)
    assert gc.isenabled()


def test_warm_up_forgets_the_slow_first_calls() -> None:
    clock = StepClock()
    assert warm_up(planted(clock, [90_000] * 3 + [10]), clock, 3e-4) == 10
    clock = StepClock()
    started = clock.now_ns
    warm_up(planted(clock, [10]), clock, 1e-6)
    assert clock.now_ns - started == 1_000


def test_warm_up_calls_a_slow_model_a_few_times_all_the_same() -> None:
    clock = StepClock()
    started = clock.now_ns
    assert warm_up(planted(clock, [10**9]), clock, 1e-6) == 10**9
    assert clock.now_ns - started == WARM_UP_CALLS * 10**9


@pytest.mark.parametrize(
    ("typical_ns", "least", "calls"),
    [
        (100, 1, 100),  # by seconds: 1e-5 s of 100 ns
        (100, 300, 300),  # by the early-stopping rule
        (10**7, 300, 100),  # by max_seconds: 1 s of 10 ms
        (10**10, 300, 1),  # never less than one
    ],
)
def test_number_of_timed_calls(typical_ns: int, least: int, calls: int) -> None:
    clock = StepClock()
    times_ns, _ = timed_loop(planted(clock, [typical_ns]), clock, CASE, least)
    assert len(times_ns) == calls


def test_call_that_a_coarse_clock_does_not_see_counts_as_1_ns() -> None:
    readings = itertools.count()
    times_ns, _ = timed_loop(lambda: None, lambda: next(readings) // 64, CASE, 1)
    assert len(times_ns) == 10_000


def test_trivial_calls_are_capped() -> None:
    clock = StepClock()
    case = Case("single_stream", params={**LOOP, "seconds": 1.0})
    assert len(timed_loop(planted(clock, [1]), clock, case, 1)[0]) == MAX_CALLS


# Answers


def call_with(
    clock: StepClock, wrong: dict[int, float], duration_ns: int = 100, first: int = 0
) -> tuple[Callable[[], Outputs], list[int]]:
    """A call that answers 1, and otherwise in the calls of `wrong`, counted from `first`; and its count."""
    made = [0]

    def call() -> Outputs:
        clock.now_ns += duration_ns
        made[0] += 1
        return one(wrong.get(made[0] - 1 - first, 1.0))

    return call, made


def test_one_wrong_answer_in_five_thousand_timed_calls_is_counted_and_placed() -> None:
    clock = StepClock()
    case = Case("single_stream", params={**LOOP, "seconds": 5e-4})
    # The first answer, ten calls of warm-up, and one whose answer is compared to time the comparison.
    call, _ = call_with(clock, {4_321: 1.5}, first=12)
    times_ns, samples = timed_loop(call, clock, case, 1, place=Place(3, 2))
    assert len(times_ns) == 5_000
    assert samples.arrays["answers"].tolist() == [[3, 2, 5_001, 1]]
    # A call that is not timed follows each of the readings of counters before it.
    untimed = 4_321 // (5_000 // READINGS)
    assert samples.arrays["wrong_calls"].tolist() == [[3, 2, 4_321 - untimed]]
    assert samples.arrays["wrong_difference"].tolist() == [0.5]
    assert samples.values == {}


def test_a_healthy_loop_has_no_wrong_answer() -> None:
    clock = StepClock()
    _, samples = timed_loop(call_with(clock, {})[0], clock, CASE, 1)
    assert samples.arrays["answers"].tolist() == [[0, 1, 101, 0]]
    assert samples.arrays["wrong_calls"].shape == (0, 3)
    assert samples.arrays["wrong_difference"].tolist() == [0.0]
    assert samples.arrays["slow_calls"].shape == (0, 6)


def test_a_call_without_outputs_is_not_compared_and_the_reason_is_stored() -> None:
    clock = StepClock()
    _, samples = timed_loop(planted(clock, [100]), clock, CASE, 1)
    assert samples.arrays["answers"].tolist() == [[0, 1, 0, 0]]
    assert samples.values == {"answers_na": "a call of this session returns no outputs"}


def test_text_alone_cannot_be_compared() -> None:
    assert answers_of({"label": np.array(["a"])}) is None
    assert answers_of({"label": np.array(["a"], object), "y": np.array([1.0])}) is not None
    assert answers_of(None) is None


@given(
    st.lists(st.sampled_from([1.0, 1.0, 1.0, 2.0, 3.0, math.nan]), min_size=1, max_size=60),
)
def test_wrong_answers_are_those_that_are_not_the_first(values: list[float]) -> None:
    answers = Answers(one(values[0]))
    for call, value in enumerate(values[1:]):
        answers.look(call, one(value))
    wrong, calls = answers.wrong()
    names = [repr(value) for value in values]
    commonest = max(names.count(name) for name in set(names))
    assert answers.looked == len(names)
    if names.count(names[0]) > 1 or commonest == 1:
        assert wrong == len(names) - names.count(names[0])
        assert calls == [call - 1 for call, name in enumerate(names) if name != names[0]]
    else:  # the first answer came once, and another one more often
        assert wrong == len(names) - commonest
        assert calls[0] == -1


def test_answers_that_change_for_good_are_wrong_from_then_on() -> None:
    answers = Answers(one(1.0))
    for call in range(5_000):
        answers.look(call, one(1.0 if call < 1_000 else 2.0))
    wrong, calls = answers.wrong()
    assert (wrong, calls[0]) == (4_000, 1_000)


def test_bits_are_compared_not_values() -> None:
    answers = Answers({"y": np.array([0.0, math.nan])})
    assert answers.look(0, {"y": np.array([0.0, math.nan])})
    assert not answers.look(1, {"y": np.array([-0.0, math.nan])})
    assert answers.largest_difference == 0.0
    assert not answers.look(2, {"y": np.array([0.0, 1.0])})
    assert answers.largest_difference == math.inf


@pytest.mark.parametrize(
    "other",
    [{}, {"z": np.array([1.0])}, {"y": np.array([[1.0, 1.0]])}, {"y": np.array([1.0, 1.0], np.float32)}],
)
def test_another_form_is_another_answer(other: Outputs) -> None:
    answers = Answers({"y": np.array([1.0])})
    assert not answers.look(0, other)
    assert answers.wrong() == (1, [0])
    assert answers.largest_difference == math.inf


def test_the_first_answer_does_not_change_with_the_memory_that_it_was_read_from() -> None:
    memory = np.array([1.0])
    answers = Answers({"y": memory})
    memory[:] = 2.0
    assert not answers.look(0, {"y": memory})
    assert answers.largest_difference == 1.0


def test_many_different_answers_are_counted_and_few_are_stored() -> None:
    answers = Answers(one(0.0))
    for call in range(1_000):
        answers.look(call, one(call + 1.0))
    wrong, calls = answers.wrong()
    assert wrong == 1_000
    assert calls == list(range(loop.MOST_WRONG))


def test_large_outputs_are_compared_less_often_and_an_untimed_call_follows() -> None:
    clock, made = StepClock(), [0]

    def call() -> Outputs:
        clock.now_ns += 100
        made[0] += 1
        return {"y": np.zeros(3 * CHEAP_BYTE, np.uint8)}

    times_ns, samples = timed_loop(call, clock, CASE, 1)
    looked = -(-len(times_ns) // 3)
    assert samples.arrays["answers"].tolist() == [[0, 1, looked + 1, 0]]
    warmed = 1 + 10 + 1
    readings = len(times_ns) // (len(times_ns) // READINGS)
    assert made[0] == warmed + len(times_ns) + looked + readings


def test_a_comparison_that_is_slow_against_the_call_is_made_less_often() -> None:
    class SlowBytes(np.ndarray):  # type: ignore[type-arg]
        def tobytes(self, order: object = None) -> bytes:
            clock.now_ns += 10
            return b"1"

    clock = StepClock()
    answers = Answers({"y": np.zeros(1)})
    outputs = {"y": np.zeros(1).view(SlowBytes)}
    assert answers.every(outputs, clock, 10_000) == 1
    assert answers.every(outputs, clock, 100) == 5
    assert answers.every(outputs, clock, 1) == loop.MOST_EVERY


def test_outputs_on_a_device_are_fetched_after_a_share_of_the_calls() -> None:
    clock, fetched = StepClock(), [0]

    def fetch() -> Outputs:
        fetched[0] += 1
        return one(1.0)

    _, samples = timed_loop(planted(clock, [100]), clock, CASE, 1, fetch=fetch, every=40)
    assert samples.arrays["answers"].tolist() == [[0, 1, 4, 0]]
    assert fetched[0] == 1 + 3


# Counters


def test_a_slow_call_is_stored_with_what_the_kernel_counted_since_the_reading_before() -> None:
    readings = iter([Scheduling(0, 0, 0), Scheduling(3_000, 0, 0), Scheduling(5_000, 10, 2)])
    counters = PlannedCounters(readings, itertools.repeat(None))
    watch = Watch(None, 10_000, 1_000, counters, None)
    for elapsed_ns in (1_000, 501_000, 501_001, 1_000, 10**9):
        watch(None, elapsed_ns)
    assert watch.slow == [(2, 3_000, 0, 0), (4, 2_000, 10, 2)]


def test_a_call_is_slow_against_a_long_typical_one_too() -> None:
    watch = Watch(None, 10_000, 10**6, quiet(), None)
    for elapsed_ns in (10**6, 5 * 10**6, 5 * 10**6 + 1):
        watch(None, elapsed_ns)
    assert [call for call, *_ in watch.slow] == [2]


def test_memory_is_read_before_the_loop_and_regularly_in_it() -> None:
    counters = PlannedCounters(itertools.repeat(Scheduling(0, 0, 0)), itertools.count(100))
    watch = Watch(None, 320, 1_000, counters, None)
    for _ in range(320):
        watch(None, 1_000)
    assert watch.memory == [(10 * i, 100 + i) for i in range(READINGS + 1)]


def test_a_loop_of_few_calls_reads_memory_after_each() -> None:
    counters = PlannedCounters(itertools.repeat(Scheduling(0, 0, 0)), itertools.count(100))
    watch = Watch(None, 3, 1_000, counters, None)
    for _ in range(3):
        watch(None, 1_000)
    assert [calls for calls, _ in watch.memory] == [0, 1, 2, 3]


@pytest.mark.parametrize(("typical_ns", "again"), [(loop.LONG_CALL_NS - 1, 2), (loop.LONG_CALL_NS, 0)])
def test_caches_are_filled_again_where_a_call_is_short(typical_ns: int, again: int) -> None:
    made = []
    watch = Watch(lambda: made.append(1), 2, typical_ns, quiet(), None)
    watch(None, 1)
    watch(None, 1)
    assert len(made) == again


def test_a_machine_without_the_file_has_no_readings() -> None:
    watch = Watch(None, 2, 1_000, quiet(), None)
    watch(None, 1_000)
    assert watch.memory == []
