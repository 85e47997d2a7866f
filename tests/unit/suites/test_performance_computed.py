"""Calls that are not computed, or late: on a clock that passes with the work, so that ratios are exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.core.cause import Cause, Reason
from harness.core.job import Samples, Status
from harness.core.measurement import Measurement
from harness.core.preprocess import Feeds, Outputs
from harness.testing.faults import FAULTS, Call, Fault
from suites.performance.calls import call_rows
from suites.performance.computed import FEWEST_PAIRS, computed, ratio_at_least
from tests.unit.suites.planted import StepClock
from tests.unit.testing.faults.linear import Linear, right, samples

BY_NAME: dict[str, Fault] = {fault.name: fault for fault in FAULTS}
WORK_NS, OVERHEAD_NS = 10_000, 500


class Timed:
    """A session with a fault, whose work takes time on a clock."""

    inputs, outputs, effective = Linear.inputs, Linear.outputs, {}

    def __init__(self, clock: StepClock, fault: str) -> None:
        self._clock = clock
        self._plant = BY_NAME[fault].plant(BY_NAME[fault].size)
        self._call = Call(self.inputs, self.outputs, None)  # type: ignore[arg-type]

    def _compute(self, feeds: Feeds) -> Outputs:
        self._clock.now_ns += WORK_NS
        return {"y": right(feeds["x"])}

    def run(self, feeds: Feeds) -> Outputs:
        self._clock.now_ns += OVERHEAD_NS
        return self._plant.run(self._call, self._compute, feeds)


class TimedBound(Timed):
    def bind(self, feeds: Feeds) -> Callable[[], Outputs]:
        given = {name: x.copy() for name, x in feeds.items()}

        def call() -> Outputs:
            self._call.bound = True
            try:
                return self.run(given)
            finally:
                self._call.bound = False

        return call


def rows_of(fault: str, kind: type[Timed] = TimedBound, **arrays: Any) -> dict[str, Measurement]:
    clock = StepClock()
    made = computed(kind(clock, fault), {"x": samples(2)}, clock, 24)  # type: ignore[arg-type]
    assert made is not None
    handles = np.array([(0, 1, 100 * reading, 9, 4) for reading in range(33)])
    measured = Samples(
        {
            "inputs": np.array([10, 0]),
            "handles": handles,
            "reread": np.array(made.answers),
            **{f"{name}_ns": times for name, times in made.times_ns.items()},
            **arrays,
        }
    )
    return {row.metric: row for row in call_rows(measured, None)}


def test_an_honest_session() -> None:
    rows = rows_of("healthy")
    assert {name: row.value for name, row in rows.items()} == {
        "timed_inputs_changed": 0,
        "reused_buffer_wrong": 0,
        "new_input_ratio_at_least": 1,
        "late_ratio_at_least": 0,
        "bound_ratio_at_least": 1,
        "descriptor_growth_at_least": 0,
        "thread_growth_at_least": 0,
    }
    assert rows["new_input_ratio_at_least"].n == 24
    assert rows["reused_buffer_wrong"].n == FEWEST_PAIRS


@pytest.mark.parametrize(
    ("fault", "metric", "value"),
    [
        ("remembers-answers", "new_input_ratio_at_least", (WORK_NS + OVERHEAD_NS) / OVERHEAD_NS),
        ("computes-late", "late_ratio_at_least", WORK_NS / OVERHEAD_NS),
        ("bound-call-does-nothing", "bound_ratio_at_least", (WORK_NS + OVERHEAD_NS) / OVERHEAD_NS),
        ("remembers-buffers", "reused_buffer_wrong", FEWEST_PAIRS),
    ],
)
def test_a_shortcut_shows_in_its_row(fault: str, metric: str, value: float) -> None:
    assert rows_of(fault)[metric].value == pytest.approx(value)


def test_a_session_without_bound_calls() -> None:
    row = rows_of("healthy", Timed)["bound_ratio_at_least"]
    assert (row.value, row.status, row.reason) == (0, Status.OK, "the session has no bound call")


def test_without_floats_nothing_is_measured() -> None:
    clock = StepClock()
    feeds = {"x": np.zeros((2, 6), np.int64)}
    assert computed(Timed(clock, "healthy"), feeds, clock, 24) is None  # type: ignore[arg-type]
    rows = call_rows(Samples({"inputs": np.array([10, 0]), "handles": np.zeros((1, 5), int)}), None)
    assert [row.status for row in rows[1:5]] == [Status.SKIPPED] * 4


def test_one_slow_part_is_no_ratio() -> None:
    less = np.full(48, 100)
    more = np.where(np.arange(48) < 40, 300, 100)  # a neighbour disturbed three of four parts
    assert ratio_at_least(more, less) == (3, 1)
    assert ratio_at_least(3 * less, less) == (3, 3)
    assert ratio_at_least(3 * less, less, added=less) == (2, 2)


def test_on_an_emulator_times_are_invalid_and_answers_are_not() -> None:
    clock = StepClock()
    made = computed(Timed(clock, "healthy"), {"x": samples(2)}, clock, 1)  # type: ignore[arg-type]
    assert made is not None
    arrays = {f"{name}_ns": times for name, times in made.times_ns.items()}
    arrays |= {"inputs": np.array([1, 0]), "reread": np.array(made.answers), "handles": np.zeros((2, 5), int)}
    rows = {row.metric: row for row in call_rows(Samples(arrays), Reason(Cause.EMULATED_CLOCK, "emulated"))}
    assert rows["new_input_ratio_at_least"].status is Status.INVALID
    assert (rows["reused_buffer_wrong"].status, rows["reused_buffer_wrong"].n) == (Status.OK, 1)


@pytest.mark.parametrize(
    ("descriptors", "growth"),
    [
        (np.arange(33), 0.01),  # one in 100 calls
        (np.minimum(np.arange(33), 12), 0),  # a pool that is full
        (np.where(np.arange(33) > 30, 40, 9), 0),  # once
        (np.full(33, 9), 0),
        (np.full(33, -1), None),
    ],
)
def test_handles_that_stay(descriptors: np.ndarray, growth: float | None) -> None:
    handles = np.array([(0, 1, 100 * reading, count, 4) for reading, count in enumerate(descriptors)])
    row = rows_of("healthy", handles=handles)["descriptor_growth_at_least"]
    if growth is None:
        assert row.status is Status.SKIPPED
    else:
        assert row.value == pytest.approx(growth)
