"""What is new since the start of a batch disturbs it; what was there before, or is not known, does not."""

from __future__ import annotations

import pytest

from harness.stats.disturbance import disturbance, overload

NA = {"na": "no sensor"}


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (0x0, 0x0, ""),
        (0x50000, 0x50000, ""),  # sticky since boot: another day's trouble
        (0x0, 0x50000, "under-voltage, throttling"),  # it came and went in between
        (0x0, 0x4, "throttling"),
        (0x80000, 0x80008, "the soft temperature limit"),  # again, now
        (0x10000, 0x20000 | 0x10000, "a capped frequency"),
    ],
)
def test_new_throttling(before: int, after: int, says: str) -> None:
    found = disturbance({"throttled": before}, {"throttled": after})
    assert found == (f"the board reported {says}" if says else "")


@pytest.mark.parametrize(("steal", "disturbed"), [(0, False), (5, False), (6, True), (50, True)])
def test_time_that_other_guests_took(steal: int, disturbed: bool) -> None:
    before = {"cpu_time": {"busy": 1000, "idle": 1000, "steal": 700}}
    after = {"cpu_time": {"busy": 1060 - steal, "idle": 1040, "steal": 700 + steal}}
    found = disturbance(before, after)
    assert bool(found) is disturbed
    if disturbed:
        assert f"other guests took {steal}%" in found.replace(" %", "%")


def test_both_are_told() -> None:
    before = {"throttled": 0, "cpu_time": {"busy": 0, "idle": 0, "steal": 0}}
    after = {"throttled": 1, "cpu_time": {"busy": 1, "idle": 0, "steal": 1}}
    assert disturbance(before, after) == (
        "the board reported under-voltage; other guests took 50% of this machine's time"
    )


@pytest.mark.parametrize(("before", "after"), [(NA, 5), (5, NA), (NA, NA)])
def test_what_is_not_known_says_nothing(before: object, after: object) -> None:
    assert disturbance({"throttled": before, "cpu_time": NA}, {"throttled": after, "cpu_time": NA}) == ""
    assert disturbance({}, {}) == ""


@pytest.mark.parametrize(("waited_ns", "says"), [(0, ""), (200, ""), (201, "67%"), (900, "90%")])
def test_a_process_that_got_less_than_a_third_of_a_core(waited_ns: int, says: str) -> None:
    found = overload({"scheduling": {"ran_ns": 100, "waited_ns": waited_ns}})
    assert bool(found) is bool(says)
    assert says in found


@pytest.mark.parametrize("facts", [{}, {"scheduling": NA}, {"scheduling": {"ran_ns": 0, "waited_ns": 0}}])
def test_a_kernel_that_counts_no_waiting_says_nothing(facts: dict[str, object]) -> None:
    assert overload(facts) == ""
