"""The smallest effects, from rows."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from harness.challenge.effects import Effect, is_below, smallest, smallest_sizes
from harness.core.job import Status
from harness.stats import power
from harness.stats.difference import noise_factor
from harness.testing.faults import Fault, Kind, Plant
from tests.unit.challenge.made import METRICS, check, key, limit, row

CALLS = key("speed", "calls")


def fault(name: str, unit: str) -> Fault:
    return Fault(name, Kind.TIME, "slower", Plant, ("slow",), size=1.0, unit=unit)


ROWS = [
    row("lost", value=0.1, unit="pt", n=800),
    row("worse", value=0.004, n=800),
    row("better", value=0.002, n=800),
    row("lost", key(case="fog", severity=1), value=5.0, unit="pt", n=80),
    row("typical", CALLS, value=100.0, ci_low=99.0, ci_high=101.0, unit="ns"),
    row("same", key("tries", "repeat"), n=3000),
    row("slope", key("tries", "repeat"), value=1.0, ci_low=-4.0, ci_high=6.0, unit="byte"),
    row("lost", key(variant="float32"), value=0.0, unit="pt", n=10),
]
LIMITS = [
    check("answers", "tries", "same", "one-wrong-answer"),
    check("growth", "tries", "slope", "leak-per-call", maximum=64.0),
    limit("as before", "speed", "typical", baseline="accepted", maximum=1.05),
]


LEAK_FAULT = fault("leak-per-call", "byte")
BY_NAME = {one.name: one for one in (
    LEAK_FAULT, fault("slower-10", "share"), fault("slow-load", "s"), fault("stall", "calls"),
)}  # fmt: skip


def by_name(effects: list[Effect]) -> dict[str, Effect]:
    return {effect.name: effect for effect in effects}


def test_each_effect_is_that_of_its_row() -> None:
    effects = by_name(smallest(ROWS, LIMITS, METRICS, "int8", BY_NAME))
    assert effects["lost accuracy"].value == pytest.approx(100 * power.smallest_loss(800, 0.006))
    ratio = power.smallest_ratio(100.0, 99.0, 101.0, widen=noise_factor())
    assert effects["typical latency"].value == pytest.approx(ratio)
    assert effects["typical latency"].text == f"typical +{100 * (ratio - 1):.1f} % between two runs"
    assert effects["leak"].value == pytest.approx(64 + 2 * 5)
    assert effects["leak"].text == "a leak of 74 bytes a call"
    assert effects["wrong answers"].value == pytest.approx(1 - 0.05 ** (1 / 3000))
    assert effects["wrong answers"].text == "1 wrong answer in 1,002"


def test_a_bound_has_the_interval_of_its_metric() -> None:
    tries = key("tries", "repeat")
    rows = [
        row("slope_at_least", tries, value=-20.0, unit="byte", n=3),
        row("slope", tries, value=1.0, ci_low=-4.0, ci_high=6.0, unit="byte", status=Status.INVALID),
        row("slope", key("tries", "other"), value=1.0, ci_low=-40.0, ci_high=60.0, unit="byte"),
    ]
    growth = check("growth", "tries", "slope_at_least", "leak-per-call", maximum=64.0)
    (effect,) = smallest(rows, [growth], METRICS, "int8", BY_NAME)
    assert effect.value == pytest.approx(64 + 20 + power.FURTHER[3] * 10)
    assert smallest(rows[:1], [growth], METRICS, "int8", BY_NAME) == []


def test_a_relaxed_check_sees_nothing() -> None:
    relaxed = [check("answers", "tries", "same", "one-wrong-answer", relaxed=True)]
    assert "wrong answers" not in by_name(smallest(ROWS, relaxed, METRICS, "int8", BY_NAME))


def test_rows_that_are_not_ok_and_those_of_other_variants_do_not_count() -> None:
    invalid = [row("lost", n=800, unit="pt", status=Status.INVALID)]
    assert smallest(invalid, LIMITS, METRICS, "int8", BY_NAME) == []
    assert list(by_name(smallest(ROWS, LIMITS, METRICS, "float32", BY_NAME))) == ["lost accuracy"]


def test_a_time_without_an_interval_says_nothing() -> None:
    rows = [row("typical", CALLS, value=100.0, ci_low=math.nan, ci_high=math.nan, unit="ns")]
    assert smallest(rows, LIMITS, METRICS, "int8", BY_NAME) == []


def test_a_large_ratio_is_written_as_a_factor() -> None:
    rows = [row("typical", CALLS, value=100.0, ci_low=50.0, ci_high=200.0, unit="ns")]
    (effect,) = smallest(rows, LIMITS, METRICS, "int8", BY_NAME)
    assert effect.text.endswith("x between two runs")
    assert smallest(rows, LIMITS[:2], METRICS, "int8", BY_NAME) == []  # no gate compares two runs


def test_sizes_are_in_the_units_of_the_faults() -> None:
    rows = [
        row("typical_at_least", CALLS, value=0.98, n=3),
        row("typical", CALLS, value=1.0, ci_low=0.98, ci_high=1.01, n=3),
        row("opened_at_least", CALLS, value=-1e7, unit="ns", n=3),
        row("opened", CALLS, value=0.0, ci_low=-1e7, ci_high=1e7, unit="ns", n=3),
    ]
    limits = [
        check("calls", "speed", "typical_at_least", "slower-10", maximum=1.05),
        check("load", "speed", "opened_at_least", "slow-load", maximum=5e7),
        check("stalls", "speed", "typical_at_least", "stall", maximum=1.05),
    ]
    sizes = smallest_sizes(rows, limits, BY_NAME)
    assert sizes == {
        "slower-10": pytest.approx(power.smallest_ratio_of_bound(0.98, 0.98, 1.01, 1.05, 3) - 1),
        "slow-load": pytest.approx((6e7 + power.FURTHER[3] * 2e7) / 1e9),
    }
    answers = [row("same", key("tries", "repeat"), n=3000), row("same", key("tries", "repeat"), n=20)]
    wrong = fault("one-wrong-answer", "calls")
    by_calls = smallest_sizes(answers, LIMITS, {**BY_NAME, wrong.name: wrong})
    assert by_calls == {wrong.name: pytest.approx(1 / power.smallest_rate(3000))}
    assert [is_below(replace(wrong, size=size), by_calls[wrong.name]) for size in (900, 1100)] == [
        False,
        True,
    ]
    assert [is_below(replace(LEAK_FAULT, size=size), 10.0) for size in (9, 11)] == [True, False]
    effects = by_name(smallest(rows, limits, METRICS, "int8", BY_NAME))
    assert effects["latency"].text == f"latency +{100 * sizes['slower-10']:.2g} %"
    assert effects["load"].text.startswith("a load 1")
