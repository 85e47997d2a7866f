"""What is new since the start of a batch disturbs it; what was there before, or is not known, does not."""

from __future__ import annotations

import math

import pytest

from harness.core.cause import Cause, Reason
from harness.core.job import EnvironmentRecord
from harness.stats.disturbance import Load, both_crowded, busier, disturbance, loads, overload

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
    disturbed = disturbance({"throttled": before}, {"throttled": after})
    assert disturbed == ((Reason(Cause.THROTTLING, f"the board reported {says}"),) if says else ())


@pytest.mark.parametrize(("steal", "disturbed"), [(0, False), (5, False), (6, True), (50, True)])
def test_time_that_other_guests_took(steal: int, disturbed: bool) -> None:
    before = {"cpu_time": {"busy": 1000, "idle": 1000, "steal": 700}}
    after = {"cpu_time": {"busy": 1060 - steal, "idle": 1040, "steal": 700 + steal}}
    reasons = disturbance(before, after)
    assert bool(reasons) is disturbed
    if reasons:
        assert reasons[0].cause is Cause.CPU_STEAL
        assert f"other guests took {steal}%" in reasons[0].text


def test_both_are_reported() -> None:
    before = {"throttled": 0, "cpu_time": {"busy": 0, "idle": 0, "steal": 0}}
    after = {"throttled": 1, "cpu_time": {"busy": 1, "idle": 0, "steal": 1}}
    assert disturbance(before, after) == (
        Reason(Cause.THROTTLING, "the board reported under-voltage"),
        Reason(Cause.CPU_STEAL, "other guests took 50% of this machine's time"),
    )


@pytest.mark.parametrize(("before", "after"), [(NA, 5), (5, NA), (NA, NA)])
def test_what_is_not_known_says_nothing(before: object, after: object) -> None:
    assert disturbance({"throttled": before, "cpu_time": NA}, {"throttled": after, "cpu_time": NA}) == ()
    assert disturbance({}, {}) == ()


def gpu(bits: object = 0, **ns: object) -> dict[str, object]:
    policies = {"power": 7, "thermal": 0, "sync_boost": 0, "board_limit": 0}
    return {"gpu_state": {"throttle_reasons": bits, "throttled_ns": {**policies, **ns}}}


@pytest.mark.parametrize(
    ("bits", "says"),
    [
        (0x1, ""),  # idle
        (0x2 | 0x100, ""),  # settings
        (0x400, ""),  # the reliability of its voltage: as fast as it can be
        (0x4, "a power cap"),
        (0x8 | 0x40, "a hardware slowdown, a thermal slowdown by hardware"),
        (0x10, "the clocks of its sync boost group"),
        (0x20 | 0x1, "a thermal slowdown by software"),
        (0x80, "a power brake"),
        (0x200, "a board limit"),
    ],
)
def test_a_gpu_that_is_throttled_now(bits: int, says: str) -> None:
    text = f"the GPU was held below its clocks by {says}"
    expected = (Reason(Cause.THROTTLING, text),) if says else ()
    assert disturbance(gpu(), gpu(bits)) == expected
    assert disturbance(gpu(), gpu(), [gpu(), gpu(bits), gpu()]) == expected
    assert disturbance(gpu(bits), gpu()) == ()  # it was before


def test_a_gpu_that_was_throttled_between_two_readings() -> None:
    assert disturbance(gpu(power=9), gpu(power=9)) == ()  # another day's
    assert disturbance(gpu(), gpu(thermal=2_500_000)) == (
        Reason(Cause.THROTTLING, "the GPU was held below its clocks by thermal (2.5 ms)"),
    )
    (disturbed,) = disturbance(gpu(), gpu(power=8, sync_boost=3_000_000))
    assert "by power (1e-06 ms), sync boost (3 ms)" in disturbed.text
    assert disturbance(gpu(power=9), gpu(power=1)) == ()  # the driver was loaded anew


@pytest.mark.parametrize("unknown", [{}, {"gpu_state": NA}, gpu(NA, power=NA, thermal=NA)])
def test_a_gpu_of_which_nothing_is_known(unknown: dict[str, object]) -> None:
    throttled = gpu(0x8, power=8, thermal=1)
    assert disturbance(unknown, unknown, [unknown]) == ()
    assert disturbance(throttled, unknown) == ()
    assert all("power (" not in reason.text for reason in disturbance(unknown, throttled))


@pytest.mark.parametrize(("waited_ns", "says"), [(0, ""), (200, ""), (201, "67%"), (900, "90%")])
def test_a_process_that_got_less_than_a_third_of_a_core(waited_ns: int, says: str) -> None:
    overloaded = overload({"scheduling": {"ran_ns": 100, "waited_ns": waited_ns}})
    assert (overloaded is not None) is bool(says)
    if overloaded is not None:
        assert overloaded.cause is Cause.OVERLOAD
        assert says in overloaded.text


@pytest.mark.parametrize("facts", [{}, {"scheduling": NA}, {"scheduling": {"ran_ns": 0, "waited_ns": 0}}])
def test_a_kernel_that_counts_no_waiting_says_nothing(facts: dict[str, object]) -> None:
    assert overload(facts) is None


@pytest.mark.parametrize(
    ("before", "after", "disturbed"),
    [
        ({"busy": 0, "idle": 0}, {"busy": 90, "idle": 0, "steal": 10}, True),  # counted from 0
        ({"busy": 5, "idle": 5, "steal": 10}, {"busy": 5, "idle": 5, "steal": 10}, False),  # no time went by
        ({"busy": 0, "idle": 0, "steal": 0}, {"busy": 90, "idle": 10}, False),  # the kernel does not say
        ({"busy": 9, "idle": 9, "steal": 9}, {"busy": 0, "idle": 0, "steal": 0}, False),  # it was restarted
    ],
)
def test_ticks_that_are_missing_or_stand_still(
    before: dict[str, int], after: dict[str, int], disturbed: bool
) -> None:
    assert bool(disturbance({"cpu_time": before}, {"cpu_time": after})) is disturbed


def test_two_counters_of_a_gpu_are_reported_with_their_times() -> None:
    (reason_,) = disturbance(gpu(), gpu(0x4 | 0x20, power=1_500_007, thermal=250_000))
    assert reason_.text.endswith(
        "by a power cap, a thermal slowdown by software, power (1.5 ms), thermal (0.25 ms)"
    )


def records(*facts: dict[str, object]) -> list[EnvironmentRecord]:
    phases = ("before", *["during"] * (len(facts) - 2), "after")
    return [
        EnvironmentRecord("cpu", "b", "int8", "performance", phase, part)
        for phase, part in zip(phases, facts, strict=True)
    ]


def ticks(busy: int, idle: int, steal: int) -> dict[str, object]:
    return {"cpu_time": {"busy": busy, "idle": idle, "steal": steal}}


def test_the_load_of_a_batch_is_what_others_did() -> None:
    """200 ticks of 10 ms in all: 120 busy, of which 0.8 s are the batch's; 10 to other guests."""
    spent = [
        {"ran_ns": 500_000_000, "waited_ns": 50_000_000},
        {"ran_ns": 300_000_000, "waited_ns": 150_000_000},
    ]
    measured = loads(
        records(
            ticks(1000, 500, 7), {"scheduling": spent[0]}, {**ticks(1120, 570, 17), "scheduling": spent[1]}
        )
    )
    assert measured == {("cpu", "b", "int8", "performance"): Load(40 / 200, 0.2, 10 / 200)}


def quiet(load: Load) -> Load:
    """The same facts are known, and nothing is busy."""
    return Load(0 * load.others, 0 * load.waiting, 0 * load.steal)


@pytest.mark.parametrize(
    ("facts", "unknown"),
    [
        ([{"cpu_time": NA}, {"cpu_time": NA}], {"others", "waiting", "steal"}),
        ([ticks(0, 0, 0), {**ticks(9, 1, 0), "scheduling": NA}], {"others", "waiting"}),
        ([ticks(5, 5, 0), ticks(5, 5, 0)], {"others", "waiting", "steal"}),
        ([{}, {"scheduling": {"ran_ns": 1, "waited_ns": 0}}], {"others", "steal"}),
    ],
)
def test_a_load_that_is_not_reported_is_not_known(facts: list[dict[str, object]], unknown: set[str]) -> None:
    (load,) = loads(records(*facts)).values()
    assert {name for name in ("others", "waiting", "steal") if math.isnan(getattr(load, name))} == unknown
    busy = Load(0.9, 0.9, 0.9)
    phrases = {"others": "other programs", "waiting": "waited", "steal": "other guests"}
    assert {name for name, phrase in phrases.items() if phrase in busier(quiet(load), busy)} == (
        set(phrases) - unknown
    )


@pytest.mark.parametrize(
    ("load", "says"),
    [
        (Load(0.39, 0.05, 0.01), ""),
        (Load(0.6, 0.0, 0.0), "other programs used 60 % of its time against 20 %"),
        (Load(0.2, 0.1, 0.0), "the process waited for a core 10 % of its time against 1 %"),
        (Load(0.2, 0.0, 0.05), "other guests took 5 % of its time against 0 %"),
        (Load(0.1, 0.0, 0.0), ""),
    ],
)
def test_a_machine_is_busier_beyond_what_equal_load_shows(load: Load, says: str) -> None:
    assert busier(Load(0.2, 0.01, 0.0), load) == says


@pytest.mark.parametrize(
    ("one", "two", "says"),
    [
        (
            Load(0.5, 0.3, 0.0), Load(0.5, 0.31, 0.0),
            "the process waited for a core 31 % of its time against 30 %",
        ),
        (Load(0.5, 0.3, 0.0), Load(0.5, 0.1, 0.0), ""),
        (Load(0.1, 0.3, 0.0), Load(0.1, 0.3, 0.0), ""),  # its own threads wait for each other, in every run
        (Load(0.5, 0.3, 0.0), Load(math.nan, 0.3, 0.0), ""),
    ],
)  # fmt: skip
def test_both_wait_beside_other_programs(one: Load, two: Load, says: str) -> None:
    assert both_crowded(one, two) == says


def test_cores_that_heat_throttled_make_times_invalid() -> None:
    (reason,) = disturbance({"throttle_count": 3}, {"throttle_count": 5})
    assert (reason.cause, reason.text) == (Cause.THROTTLING, "heat throttled the cores 2 times")
    for before in (5, {"na": "no such file"}):
        assert disturbance({"throttle_count": before}, {"throttle_count": 5}) == ()
