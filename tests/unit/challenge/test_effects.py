"""The smallest effects, from rows."""

from __future__ import annotations

import math

import pytest

from harness.challenge.effects import Effect, smallest
from harness.core.job import Status
from harness.stats import power
from harness.stats.difference import noise_factor
from tests.unit.challenge.made import METRICS, check, key, row

CALLS = key("speed", "calls")
ROWS = [
    row("lost", value=0.1, unit="pt", n=800),
    row("worse", value=0.004, n=800),
    row("better", value=0.002, n=800),
    row("lost", key(case="fog", severity=1), value=5.0, unit="pt", n=80),
    row("typical", CALLS, value=100.0, ci_low=99.0, ci_high=101.0, unit="ns"),
    row("same", key("tries", "repeat"), n=3000),
    row("slope", key("tries", "repeat"), value=1.0, ci_low=-4.0, ci_high=6.0, unit="byte/call"),
    row("lost", key(variant="float32"), value=0.0, unit="pt", n=10),
]
LIMITS = [
    check("answers", "tries", "same", "one-wrong-answer"),
    check("growth", "tries", "slope", "leak-per-call", maximum=64.0),
]


def by_name(effects: list[Effect]) -> dict[str, Effect]:
    return {effect.name: effect for effect in effects}


def test_each_effect_is_that_of_its_row() -> None:
    effects = by_name(smallest(ROWS, LIMITS, METRICS, "int8"))
    assert effects["lost accuracy"].value == pytest.approx(100 * power.smallest_loss(800, 0.006))
    ratio = power.smallest_ratio(100.0, 99.0, 101.0, widen=noise_factor())
    assert effects["typical latency"].value == pytest.approx(ratio)
    assert effects["typical latency"].text == f"typical +{100 * (ratio - 1):.1f} %"
    assert effects["leak"].value == pytest.approx(64 + 2 * 5)
    assert effects["leak"].text == "a leak of 74 bytes a call"
    assert effects["wrong answers"].value == pytest.approx(1 - 0.05 ** (1 / 3000))
    assert effects["wrong answers"].text == "1 wrong answer in 1,002"


def test_a_bound_has_the_interval_of_its_metric() -> None:
    tries = key("tries", "repeat")
    rows = [
        row("slope_at_least", tries, value=-4.0, unit="byte"),
        row("slope", tries, value=1.0, ci_low=-4.0, ci_high=6.0, unit="byte"),
        row("slope", key("tries", "other"), value=1.0, ci_low=-40.0, ci_high=60.0, unit="byte"),
    ]
    growth = check("growth", "tries", "slope_at_least", "leak-per-call", maximum=64.0)
    (effect,) = smallest(rows, [growth], METRICS, "int8")
    assert effect.value == pytest.approx(64 + 2 * 5)
    assert smallest(rows[:1], [growth], METRICS, "int8") == []


def test_a_relaxed_check_sees_nothing() -> None:
    relaxed = [check("answers", "tries", "same", "one-wrong-answer", relaxed=True)]
    assert "wrong answers" not in by_name(smallest(ROWS, relaxed, METRICS, "int8"))


def test_rows_that_are_not_ok_and_those_of_other_variants_do_not_count() -> None:
    invalid = [row("lost", n=800, unit="pt", status=Status.INVALID)]
    assert smallest(invalid, LIMITS, METRICS, "int8") == []
    assert list(by_name(smallest(ROWS, LIMITS, METRICS, "float32"))) == ["lost accuracy"]


def test_a_time_without_an_interval_says_nothing() -> None:
    rows = [row("typical", CALLS, value=100.0, ci_low=math.nan, ci_high=math.nan, unit="ns")]
    assert smallest(rows, [], METRICS, "int8") == []


def test_a_large_ratio_is_written_as_a_factor() -> None:
    rows = [row("typical", CALLS, value=100.0, ci_low=50.0, ci_high=200.0, unit="ns")]
    (effect,) = smallest(rows, [], METRICS, "int8")
    assert effect.text.endswith("x")
