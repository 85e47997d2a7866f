"""Trends of a long case: planted slopes lie in their intervals, steps and single bursts are no growth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats import soak, theil_sen
from harness.stats.intervals import clopper_pearson

N = 120
X = np.arange(N, dtype=np.float64)


def noise(seed: int, dependence: float = 0.0) -> np.ndarray:
    random = np.random.default_rng(seed).normal(size=N)
    made = np.zeros(N)
    for i in range(N):
        made[i] = random[i] + (dependence * made[i - 1] if i else 0.0)
    return made


@given(st.integers(0, 2**20), st.floats(-3, 3))
def test_the_slope_is_that_of_theil_and_sen_and_missing_readings_are_left_out(seed: int, rate: float) -> None:
    y = rate * X + noise(seed)
    y[seed % N] = np.nan
    there = np.isfinite(y)
    trend = soak.trend([(X, y)])
    assert trend.value == pytest.approx(theil_sen.slope([(X[there], y[there])]).value)
    assert trend.low <= trend.value <= trend.high
    assert trend.n == N - 1


def test_readings_that_depend_on_each_other_have_wider_intervals() -> None:
    misses = {0.0: 0, 0.8: 0}
    for dependence in misses:
        for seed in range(200):
            trend = soak.trend([(X, noise(seed, dependence))])
            misses[dependence] += not trend.low <= 0 <= trend.high
    # At two-sided 10 %; without the wider interval, 0.8 would miss in about half of the series.
    assert misses[0.0] <= 30
    assert misses[0.8] <= 40


def test_processes_share_a_slope_and_have_levels_of_their_own() -> None:
    trend = soak.trend([(X[:60], 2 * X[:60] + 1000), (X[60:], 2 * X[60:] - 5)])
    assert (trend.value, trend.n) == (2.0, N)
    assert math.isnan(soak.trend([(X[:7], X[:7])]).value)


def test_a_long_series_is_as_steep_as_all_of_it() -> None:
    x = np.arange(20_000, dtype=np.float64)
    assert soak.trend([(x, 3 * x)]).value == pytest.approx(3)


def test_growth_is_a_share_of_the_whole_span() -> None:
    trend, at_least = soak.growth([(X, 5 * np.exp(X / X[-1] * np.log(1.2)))])
    assert trend.value == pytest.approx(0.2)
    assert at_least == trend.low > 0.19


def test_a_leak_is_proved_beyond_what_an_allocator_takes_once() -> None:
    calls = 10_000.0 * X
    leak = 1e8 + 200 * calls
    assert 195 < soak.proved_byte(calls, leak, leak - 1e8) < 200
    step = np.where(X < 60, 1e8, 1e8 + 5e7)
    assert soak.proved_byte(calls, step, step - 1e8) < 0
    flat = np.full(N, 1e8)  # memory that closed sessions give back, and the next calls take again
    assert soak.proved_byte(calls, flat, 50 * calls) < 0
    assert math.isnan(soak.proved_byte(calls[:5], leak[:5], leak[:5]))


def test_a_count_has_to_grow_in_both_halves() -> None:
    ones = np.ones(20)
    assert soak.proved_count(ones, ones) == 1
    assert soak.proved_count(np.where(np.arange(20) < 10, 1.0, 0.0), ones) == 0
    missing = ones.copy()
    missing[3] = np.nan
    assert soak.proved_count(missing, ones) == 1
    assert soak.proved_count(np.zeros(0), np.zeros(0)) == 0


def test_stalls_of_one_disturbed_minute_prove_nothing() -> None:
    calls = np.full(50, 1000.0)
    assert soak.proved_stalls(np.where(np.arange(50) < 10, 7.0, 0.0), calls) == 0
    assert soak.proved_stalls(np.full(50, 2.0), calls) == clopper_pearson(80, 40_000).low


def test_a_level_that_changes_is_placed_and_noise_has_none() -> None:
    steps = noise(3) + np.where(X < 60, 0, 20)
    (one,) = soak.level_changes(steps)
    assert abs(one.at - 60) <= soak.SLICES_OF_LEVEL
    assert one.after - one.before == pytest.approx(20, abs=1)
    assert sum(bool(soak.level_changes(noise(seed))) for seed in range(40)) <= 5
    assert soak.level_changes(steps[:20]) == []
