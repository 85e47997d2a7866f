"""Smallest effects, against simulation and against the intervals that show them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import UsageError
from harness.stats import power
from harness.stats.difference import independent
from harness.stats.paired import tango
from suites.performance.loop import Answers

SIMULATIONS = 4000


@pytest.mark.parametrize("n", [1, 59, 299, 2995, 128_000])
def test_rate_leaves_no_wrong_answer_with_five_percent(n: int) -> None:
    rate = power.smallest_rate(n)
    assert (1 - rate) ** n == pytest.approx(0.05)
    assert rate == pytest.approx(1 - 0.05 ** (1 / n))


@pytest.mark.parametrize(("n", "flipped", "loss"), [(800, 0.0, 0.008), (400, 0.03, 0.02), (100, 0.2, 0.1)])
def test_power_of_a_loss_is_the_share_of_simulations_that_show_it(
    n: int, flipped: float, loss: float
) -> None:
    rng = np.random.default_rng(0)
    probabilities = [flipped / 2, flipped / 2 + loss, 1 - flipped - loss]
    counts = rng.multinomial(n, probabilities, SIMULATIONS)[:, :2]
    pairs, times = np.unique(counts, axis=0, return_counts=True)
    shown = sum(
        int(count) for (b, c), count in zip(pairs.tolist(), times, strict=True) if tango(b, c, n).low > 0
    )
    assert power.loss_power(n, flipped, loss) == pytest.approx(shown / SIMULATIONS, abs=0.025)


@given(st.integers(30, 5000), st.floats(0, 0.3))
def test_smallest_loss_has_the_power_and_less_has_not(n: int, flipped: float) -> None:
    loss = power.smallest_loss(n, flipped)
    assert power.loss_power(n, flipped, loss) >= power.POWER
    assert power.loss_power(n, flipped, 0.97 * loss) < power.POWER


def test_loss_without_any_disagreement_takes_three_flips() -> None:
    assert tango(0, 3, 800).low > 0 > tango(0, 2, 800).low
    rate = power.smallest_loss(800, 0.0)
    few = sum(math.comb(800, k) * rate**k * (1 - rate) ** (800 - k) for k in range(3))
    assert few == pytest.approx(0.05, abs=1e-6)


def test_few_pairs_show_no_loss() -> None:
    assert power.smallest_loss(2, 0.0) == 1.0


@pytest.mark.parametrize("widen", [1.0, 2.4])
def test_ratio_is_shown_in_95_percent_of_pairs_of_runs(widen: float) -> None:
    rng = np.random.default_rng(1)
    z, spread = (
        1.6449,
        0.02,
    )  # one run's log value has this standard deviation; two runs differ by `widen` of it
    low, high = math.exp(-z * spread), math.exp(z * spread)
    smallest = power.smallest_ratio(1.0, low, high, widen=widen)
    base, new = np.exp(rng.normal(0, widen * spread, (2, SIMULATIONS)))
    for factor, share in ((smallest, 0.95), (1.0, 0.05)):
        sides = [(x, x * low, x * high) for x in (base, factor * new)]
        _, below, _ = independent(sides[0], sides[1], ratio=True, widen=widen)
        assert float((below > 1).mean()) == pytest.approx(share, abs=0.015)


def test_ratio_without_an_interval_is_unknown() -> None:
    for value, low, high in ((1.0, math.nan, math.nan), (0.0, 0.0, 0.0), (1.0, 0.5, math.inf)):
        assert math.isnan(power.smallest_ratio(value, low, high))


@pytest.mark.parametrize(("limit", "value"), [(100.0, 0.0), (0.0, 0.0), (0.0, 40.0)])
def test_slope_is_above_the_limit_in_95_percent(limit: float, value: float) -> None:
    rng = np.random.default_rng(2)
    half = 25.0
    smallest = power.smallest_slope(value, value - half, value + half, limit)
    measured = smallest + rng.normal(0, half / 1.6449, SIMULATIONS)
    assert float((measured - half > max(limit, value)).mean()) == pytest.approx(0.95, abs=0.015)
    assert math.isnan(power.smallest_slope(value, math.nan, math.nan, limit))


def test_nothing_shows_nothing() -> None:
    for call in (lambda: power.smallest_rate(0), lambda: power.smallest_loss(0, 0.1)):
        with pytest.raises(UsageError):
            call()


@pytest.mark.parametrize("n", [2, 3, 4, 5, 9])
def test_an_effect_on_a_lowest_process_is_shown_as_often_as_is_stated(n: int) -> None:
    """Healthy runs and further ones of which each process is lifted by half, once and twice the effect."""
    rng = np.random.default_rng(n)
    limit, shown = 20.0, np.zeros(3)
    for _ in range(SIMULATIONS):
        healthy, further = rng.normal(size=n), rng.normal(size=n)
        effect = power.smallest_of_bound(healthy.min(), healthy.min(), healthy.max(), limit, n)
        shown += [further.min() + share * effect > limit for share in (0.5, 1.0, 2.0)]
    half, once, twice = shown / SIMULATIONS
    assert once == pytest.approx(0.95, abs=0.015) or (n > 5 and once > 0.95)
    assert twice > 0.97
    assert half < (0.6 if n == 2 else 0.2)


def test_a_ratio_is_an_effect_on_the_logarithm() -> None:
    ratio = power.smallest_ratio_of_bound(0.98, 0.98, 1.01, 1.05, 3)
    assert ratio == pytest.approx(1.05 / 0.98 * (1.01 / 0.98) ** power.FURTHER[3])
    assert power.smallest_ratio_of_bound(1.02, 1.02, 1.02, 1.0, 3) == 1.0
    assert math.isnan(power.smallest_ratio_of_bound(0.0, 0.0, 1.0, 1.05, 3))
    assert math.isnan(power.smallest_of_bound(1.0, 1.0, 1.0, 2.0, 1))


def test_wrong_answers_are_seen_by_the_loop_as_often_as_is_stated() -> None:
    """Answers that are wrong by chance, compared as those of timed calls are."""
    n, runs, rng = 400, 400, np.random.default_rng(5)
    right, wrong = {"y": np.zeros(4, np.float32)}, {"y": np.ones(4, np.float32)}
    seen = {}
    for share in (0.5, 1.0, 2.0):
        rate, runs_seen = share * power.smallest_rate(n), 0
        for _ in range(runs):
            answers = Answers(right)
            for call in np.flatnonzero(rng.random(n) < rate).tolist():
                answers.look(call, wrong)
            runs_seen += answers.wrong()[0] > 0
        seen[share] = runs_seen / runs
    assert seen[1.0] == pytest.approx(0.95, abs=0.03)
    assert seen[2.0] > 0.98
    assert seen[0.5] == pytest.approx(1 - (1 - 0.5 * power.smallest_rate(n)) ** n, abs=0.06)  # 78 %
