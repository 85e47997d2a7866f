from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.core.errors import UsageError
from harness.stats.theil_sen import MOST_POINTS, block_quantiles, slope, steady_slope

WHOLE = st.integers(-20, 20).map(float)


@given(st.lists(st.tuples(WHOLE, WHOLE), min_size=2, max_size=40), st.sampled_from([0.05, 0.025]))
def test_slope_and_interval_are_those_of_scipy(points: list[tuple[float, float]], alpha: float) -> None:
    x, y = np.array(points).T
    if len(np.unique(x)) < 2:
        assert math.isnan(slope([(x, y)]).value)
        return
    ours = slope([(x, y)], alpha=alpha)
    with warnings.catch_warnings():  # a variance below zero, of many equal values
        warnings.simplefilter("ignore")
        theirs = stats.theilslopes(y, x, 1 - 2 * alpha)
    assert ours.value == pytest.approx(theirs.slope)
    if math.isfinite(theirs.low_slope):
        assert ours.low == pytest.approx(min(ours.value, theirs.low_slope))
        assert ours.high == pytest.approx(max(ours.value, theirs.high_slope))
    assert ours.n == len(points)


@settings(max_examples=30)
@given(st.floats(-1e6, 1e6), st.integers(0, 100))
def test_a_line_has_its_slope_whatever_its_outliers(rise: float, seed: int) -> None:
    x = np.arange(40.0)
    y = rise * x + 3
    y[np.random.default_rng(seed).choice(40, 8, replace=False)] += 1e9
    assert slope([(x, y)]).value == pytest.approx(rise, rel=1e-6, abs=1e7)
    assert slope([(x, rise * x)]).low == pytest.approx(rise, rel=1e-9, abs=1e-9)


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    x, tries = np.arange(30.0), 600
    intervals = [slope([(x, 2 * x + rng.normal(size=30))]) for _ in range(tries)]
    below = sum(interval.low > 2 for interval in intervals) / tries
    above = sum(interval.high < 2 for interval in intervals) / tries
    assert below < 0.08
    assert above < 0.08
    assert below + above > 0.04


def test_series_with_levels_of_their_own_share_a_slope() -> None:
    x = np.arange(20.0)
    shared = slope([(x, 5 * x), (x, 5 * x + 1_000), (x + 7, 5 * x - 300)])
    assert (shared.value, shared.low, shared.high, shared.n) == (5.0, 5.0, 5.0, 60)
    one, other = x + 0, np.random.default_rng(0).normal(size=20)
    assert slope([(one, other), (one, other)]).high < slope([(one, other)]).high


@pytest.mark.parametrize("series", [[], [(np.array([1.0]), np.array([2.0]))]])
def test_no_two_points_say_nothing(series: list[tuple[np.ndarray, np.ndarray]]) -> None:
    nothing = slope(series)
    assert math.isnan(nothing.value)
    assert (nothing.low, nothing.high) == (-math.inf, math.inf)


def test_points_without_a_partner_and_too_many_points_are_refused() -> None:
    with pytest.raises(UsageError, match="3 x and 2 y"):
        slope([(np.arange(3.0), np.arange(2.0))])
    with pytest.raises(UsageError):
        slope([(np.arange(MOST_POINTS + 1.0), np.arange(MOST_POINTS + 1.0))])


def test_a_steady_growth_is_seen_and_one_step_is_not() -> None:
    x = np.arange(30.0)
    assert steady_slope(x, 7 * x, 3) == pytest.approx(7)
    for at in range(1, 30):
        assert steady_slope(x, np.where(x < at, 0.0, 1e6), 3) <= 0
    assert steady_slope(x, np.where(x < 15, x, 15.0), 3) <= 0  # it grew and stopped
    assert math.isnan(steady_slope(x[:3], x[:3], 3))


@given(st.integers(1, 300), st.integers(1, 60), st.sampled_from([0.1, 0.5]))
def test_blocks_take_every_value_once(n: int, blocks: int, share: float) -> None:
    values = np.random.default_rng(n).integers(1, 1000, n)
    middles, quantiles = block_quantiles(values, blocks, share)
    assert len(middles) == len(quantiles) == min(blocks, n)
    assert (np.diff(middles) > 0).all()
    pieces = np.array_split(values, min(blocks, n))
    assert quantiles.tolist() == [np.quantile(piece, share) for piece in pieces]
    assert np.dot(middles, [len(piece) for piece in pieces]) == pytest.approx(n * n / 2)
