from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.core.cause import Cause, Reason
from harness.core.job import JobKey, JobResult, Samples, Status
from harness.core.measurement import Measurement
from harness.stats.intervals import clopper_pearson, over_processes
from suites.performance import steadiness
from suites.performance.checks import CHECKS
from tests.unit.suites.timed_facts import PROCESS_BYTE, facts

MS = 1_000_000
KEY = JobKey("pi", "tflite", "deploy", "int8", "performance", "single_stream", 0)
ALPHA = 0.05


def calls(n: int = 2_000, processes: int = 5, *, every: int = 0, growth: float = 0.0) -> list[NDArray[Any]]:
    """Processes of `n` calls of about 100 µs; one of `every` stalls; the last call takes 1 + `growth`."""
    rng, parts = np.random.default_rng(1), []
    for _ in range(processes):
        times_ns = 100_000 * (1 + growth * np.arange(n) / n) * rng.lognormal(0, 0.1, n)
        if every:
            times_ns[every - 1 :: every] += 20 * MS
        parts.append(times_ns.astype(np.int64))
    return parts


def only(rows: list[Measurement], metric: str) -> Measurement:
    (row,) = (row for row in rows if row.metric == metric)
    return row


def answers(samples: Samples) -> tuple[Measurement, Measurement]:
    share, count = steadiness.answer_rows(samples, ALPHA)
    assert (share.metric, count.metric) == ("timed_answers_wrong", "timed_answers_wrong_count")
    assert share.reason == count.reason
    return share, count


# Answers


def test_a_wrong_answer_is_told_with_its_rate_its_interval_and_its_place() -> None:
    parts = calls(963, 5)[:4] + calls(960, 1)
    share, count = answers(Samples(facts(parts, wrong=[(2, 1, 499)])))
    expected = clopper_pearson(1, 4_812)
    assert (share.value, share.ci_low, share.ci_high, share.n) == (
        expected.value, expected.low, expected.high, 4_812,
    )  # fmt: skip
    assert (count.value, count.n, count.status) == (1, 4_812, Status.OK)
    assert math.isnan(count.ci_low)
    assert count.reason == (
        "1 wrong answer in 4,812 calls, the first in call 500 of process 3; largest difference 0.5"
    )


@pytest.mark.parametrize(
    ("processes", "wrong", "text"),
    [
        (1, [(0, 1, 7)], "1 wrong answer in 2,000 calls, the first in call 8; largest difference 0.5"),
        (1, [(0, 1, -1)],
         "1 wrong answer in 2,000 calls, the first in the first call; largest difference 0.5"),
        (2, [(1, 1, 0), (1, 1, 5)],
         "2 wrong answers in 4,000 calls, the first in call 1 of process 2; largest difference 0.5"),
        (1, [], "no wrong answer in 2,000 calls"),
    ],
)  # fmt: skip
def test_words_of_wrong_answers(processes: int, wrong: list[tuple[int, int, int]], text: str) -> None:
    share, count = answers(Samples(facts(calls(processes=processes), wrong=wrong)))
    assert share.reason == text
    assert count.value == len(wrong)


def test_batch_size_is_named_where_there_are_several() -> None:
    arrays = facts(calls(processes=2))
    arrays["answers"] = np.array([[0, 1, 9, 0], [0, 8, 9, 1]])
    arrays["wrong_calls"] = np.array([[0, 8, 3]])
    assert "the first in call 4 at batch 8;" in answers(Samples(arrays))[0].reason


def test_answers_that_cannot_be_read_are_skipped_for_that_reason() -> None:
    rows = answers(Samples(facts(calls()), {"answers_na": "a call returns no outputs"}))
    assert {(row.status, row.reason) for row in rows} == {(Status.SKIPPED, "a call returns no outputs")}


# Clocks


@pytest.mark.parametrize(
    ("clock", "wall", "text"),
    [
        (
            0.8,
            1.0,
            "the clock of the calls ran 0.2 slow against the raw monotonic clock, the wall clock 0 off it",
        ),
        (
            1.05,
            1.0,
            "the clock of the calls ran 0.05 fast against the raw monotonic clock, the wall clock 0 off it",
        ),
        (
            1.0,
            3.0,
            "the clock of the calls ran 0 fast against the raw monotonic clock, the wall clock 2 off it",
        ),
    ],
)
def test_a_clock_is_compared_with_the_raw_one(clock: float, wall: float, text: str) -> None:
    (row,) = steadiness.clock_row(Samples(facts(calls(), clock=clock, wall=wall)), None)
    assert (row.metric, row.value, row.n) == ("clock_ratio", pytest.approx(clock), 5)
    assert row.reason == text


@pytest.mark.parametrize(
    ("device_s", "host_s", "ratio"),
    [
        (5.0, 5.25, 1.0),  # the messages and the host took a quarter of a second
        (5.25, 5.0, 1.0),  # the message of the start did
        (4.0, 5.0, 0.86),  # at 0.8 of the time, less what messages explain
        (6.25, 5.0, 1.19),
        (16.0, 20.0, 0.815),
    ],
)
def test_the_time_of_a_case_is_compared_with_the_clock_of_the_host(
    device_s: float, host_s: float, ratio: float
) -> None:
    result = JobResult(KEY, Status.OK, duration_ns=round(device_s * 1e9), host_ns=round(host_s * 1e9))
    row = steadiness.host_clock_row(result, None)
    assert (row.metric, row.value) == ("host_clock_ratio", pytest.approx(ratio))
    assert row.reason == f"the device counted {device_s:.3g} s, the host {host_s:.3g} s"
    check = next(check for check in CHECKS if check.name == "host-clock-agrees")
    assert check.gate.minimum is not None
    assert check.gate.maximum is not None
    assert (check.gate.minimum <= row.value <= check.gate.maximum) == (ratio == 1.0)


def test_timed_loops_that_took_longer_than_the_host_waited_count() -> None:
    loops = np.zeros((3, 5), np.int64)
    loops[:, 2] = 2 * 10**9
    samples = Samples({"clocks": loops})
    result = JobResult(KEY, Status.OK, samples=samples, duration_ns=3 * 10**9, host_ns=3 * 10**9)
    assert steadiness.host_clock_row(result, None).value == pytest.approx(1.9)


@pytest.mark.parametrize(
    ("host_ns", "why"), [(0, "the executor has not timed the case"), (10**9, "1 s are too short")]
)
def test_a_case_that_the_host_saw_too_shortly_is_not_compared(host_ns: int, why: str) -> None:
    result = JobResult(KEY, Status.OK, duration_ns=1, host_ns=host_ns)
    row = steadiness.host_clock_row(result, None)
    assert (row.status, row.reason) == (Status.SKIPPED, f"not compared with the host's clock: {why}")


def test_without_a_second_clock_or_time_enough_the_ratio_is_skipped() -> None:
    arrays = facts(calls())
    arrays["clocks"][:, 3] = -1
    (row,) = steadiness.clock_row(Samples(arrays), None)
    assert (row.status, row.reason) == (
        Status.SKIPPED, "no second clock to compare with: there is no raw monotonic clock",
    )  # fmt: skip
    (row,) = steadiness.clock_row(Samples(facts(calls(), loop_ns=2 * MS)), None)
    assert (row.status, row.reason) == (
        Status.SKIPPED, "no second clock to compare with: 10 ms are too short",
    )  # fmt: skip


def test_the_clock_of_an_emulator_is_invalid() -> None:
    why = Reason(Cause.EMULATED_CLOCK, "emulated clock")
    (row,) = steadiness.clock_row(Samples(facts(calls(), loop_ns=1)), why)
    assert (row.status, row.reason, row.cause) == (Status.INVALID, why.text, why.cause)


# Stalls


def test_a_stall_in_one_of_five_hundred_calls_is_told() -> None:
    parts = calls(every=500)
    slow = [(call, 0, 0, 0) for call in range(499, 2_000, 500)]
    rows = steadiness.stall_rows(parts, Samples(facts(parts, slow=slow)), None, ALPHA)
    assert only(rows, "stall_share").value == 20 / 10_000
    assert only(rows, "stall_bursts").value == 20
    assert only(rows, "stalls_at_least").value == clopper_pearson(16, 8_000).low
    assert only(rows, "stalls_at_least").reason == (
        "20 of 10,000 calls stalled, in 20 bursts, for up to 20.1 ms; 20 of them, in 5 of 5 processes, "
        "for longer than the machine kept the process from running"
    )
    assert only(rows, "latency_max").value == max(part.max() for part in parts)


def test_stalls_of_a_neighbour_are_not_the_backends() -> None:
    parts = calls(every=500)
    slow = [(call, 20 * MS, 0, 0) for call in range(499, 2_000, 500)]
    rows = steadiness.stall_rows(parts, Samples(facts(parts, slow=slow)), None, ALPHA)
    assert only(rows, "stall_share").value == 20 / 10_000
    assert only(rows, "stalls_at_least").value == 0
    assert only(rows, "stalls_at_least").reason == (
        "20 of 10,000 calls stalled, in 20 bursts, while the machine did not run the process"
    )


@pytest.mark.parametrize(
    ("cause", "stalls", "growth"),
    [
        (Cause.OVERLOAD, Status.OK, Status.OK),
        (Cause.CPU_STEAL, Status.OK, Status.OK),
        (Cause.THROTTLING, Status.OK, Status.INVALID),  # heat grows with uptime
        (Cause.EMULATED_CLOCK, Status.INVALID, Status.INVALID),
    ],
)
def test_a_proof_is_valid_beside_other_processes(cause: Cause, stalls: Status, growth: Status) -> None:
    parts, why = calls(), Reason(cause, "the machine was disturbed")
    rows = steadiness.stall_rows(parts, Samples(facts(parts)), why, ALPHA)
    rows += steadiness.growth_rows(parts, why, ALPHA)
    proofs = {"stalls_at_least": stalls, "latency_growth_at_least": growth}
    for row in rows:
        assert row.status is proofs.get(row.metric, Status.INVALID)
        assert row.reason.endswith(why.text)
    assert only(rows, "stalls_at_least").cause is (Cause.UNSPECIFIED if stalls is Status.OK else cause)


def test_no_stall_is_said_with_the_number_of_calls() -> None:
    parts = calls()
    rows = steadiness.stall_rows(parts, Samples(facts(parts)), None, ALPHA)
    assert only(rows, "stall_share").reason == "no stall in 10,000 calls"
    assert only(rows, "stall_share").ci_high == clopper_pearson(0, 10_000).high


# Growth of the latency


def test_growth_with_uptime_is_seen_in_each_process() -> None:
    parts = calls(growth=0.3)
    rows = steadiness.growth_rows(parts, None, ALPHA)
    growth, least = only(rows, "latency_growth"), only(rows, "latency_growth_at_least")
    thirds = np.array([np.median(part[-666:]) / np.median(part[:666]) for part in parts])
    expected = over_processes(thirds)
    assert (growth.value, growth.ci_low, growth.ci_high) == pytest.approx(
        (expected.value - 1, expected.low - 1, expected.high - 1)
    )
    # From 1.05 to 1.25 of the first call, in the thirds' middles.
    assert 0.1 < least.value < growth.value < 0.25
    assert least.reason == (
        f"+{growth.value:.1%} from the first to the last third of each process, "
        f"at least +{least.value:.1%} in each of 5"
    )


def test_growth_of_four_processes_of_five_is_not_proved() -> None:
    parts = calls(growth=0.5)[:4] + calls(processes=1)
    assert only(steadiness.growth_rows(parts, None, ALPHA), "latency_growth_at_least").value < 0.02


def test_no_growth() -> None:
    rows = steadiness.growth_rows(calls(), None, ALPHA)
    assert abs(only(rows, "latency_growth").value) < 0.02
    assert only(rows, "latency_growth_at_least").value < 0
    assert "at least" not in only(rows, "latency_growth").reason


def test_a_neighbour_that_slows_half_of_the_calls_of_the_last_third_is_no_growth() -> None:
    parts = calls()
    for part in parts:
        part[1_400:] *= np.where(np.arange(600) % 2, 3, 1)
    rows = steadiness.growth_rows(parts, None, ALPHA)
    assert only(rows, "latency_growth").value > 0.1
    assert only(rows, "latency_growth_at_least").value < 0.02


def test_drift_from_process_to_process() -> None:
    parts = [np.full(200, 1_000 + 10 * index) for index in range(5)]
    drift = only(steadiness.growth_rows(parts, None, ALPHA), "latency_drift")
    assert drift.value == pytest.approx(40 / 1_020)
    assert drift.n == 5


def test_few_calls_show_no_trend() -> None:
    rows = steadiness.growth_rows(calls(steadiness.LEAST_CALLS - 1), None, ALPHA)
    assert {(row.metric, row.status) for row in rows} == {
        ("latency_growth", Status.SKIPPED), ("latency_growth_at_least", Status.SKIPPED),
    }  # fmt: skip
    assert rows[0].reason == "a process has 119 calls, and a trend needs 120"


# Growth of the memory


def memory(samples: Samples) -> tuple[Measurement, Measurement]:
    rows = steadiness.memory_rows(samples, None, ALPHA)
    return only(rows, "memory_growth"), only(rows, "memory_growth_at_least")


def test_a_leak_is_told_in_bytes_a_call() -> None:
    growth, least = memory(Samples(facts(calls(6_000, 1), leak_byte=10_100)))
    assert growth.ci_low < growth.value < growth.ci_high
    assert growth.value == pytest.approx(10_100, rel=1e-3)
    assert growth.ci_high < 1.01 * growth.ci_low
    assert least.reason == "memory grows by 10.1 kB a call in 6,000 calls"
    # What an allocator may take once is left out.
    assert least.value == pytest.approx(10_100 - steadiness.ARENA_BYTE / (6_000 * 26 / 32), rel=0.02)


def test_loops_over_two_sizes_may_end_where_they_began() -> None:
    """Each counts its calls from zero; what is left after the warm-up may begin and end at one number."""
    readings = [(0, 1, call, 50e6) for call in range(9)] + [(0, 8, call, 50e6) for call in range(3)]
    assert readings[3][2] != readings[-1][2] == 2
    for first in range(9):
        part = np.array(readings[first:])[:, 2:]
        assert math.isfinite(steadiness._proved_byte(part))


def test_a_healthy_process_proves_no_growth() -> None:
    growth, least = memory(Samples(facts(calls(6_000, 1))))
    assert abs(growth.value) < 10
    assert least.value < 0
    assert least.reason == "no growth is proved in 6,000 calls"


def test_growth_before_the_warm_up_ends_is_left_out() -> None:
    arrays = facts(calls(6_000, 1))
    arrays["memory"][:7, 3] = np.linspace(0, PROCESS_BYTE, 7)
    growth, least = memory(Samples(arrays))
    assert abs(growth.value) < 10
    assert least.value < 0


def test_one_step_of_an_arena_proves_no_growth() -> None:
    for at in range(1, 33):
        arrays = facts(calls(6_000, 1))
        arrays["memory"][at:, 3] += 64_000_000
        assert memory(Samples(arrays))[1].value < 0


def test_a_leak_in_each_of_several_processes() -> None:
    growth, least = memory(Samples(facts(calls(2_000, 5), leak_byte=10_000)))
    assert growth.value == pytest.approx(10_000, rel=1e-2)
    assert growth.n == 10_000
    assert least.value == pytest.approx(10_000 - steadiness.ARENA_BYTE / (2_000 * 26 / 32), rel=0.05)
    arrays = facts(calls(2_000, 5), leak_byte=10_000)
    last = arrays["memory"][:, 0] == 4
    arrays["memory"][last, 3] = PROCESS_BYTE
    assert memory(Samples(arrays))[1].value < 0


def test_memory_that_cannot_be_read_is_skipped_for_that_reason() -> None:
    arrays = facts(calls())
    arrays["memory"] = np.empty((0, 4), np.int64)
    assert {(row.status, row.reason) for row in memory(Samples(arrays))} == {
        (Status.SKIPPED, "there is no /proc/self/statm")
    }
    few = facts(calls(processes=1))
    few["memory"] = few["memory"][:8]
    assert memory(Samples(few))[0].reason == "a loop of few calls has 6 readings, a trend needs 12"
