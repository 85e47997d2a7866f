"""Changes of level: false alarms at the stated rate, planted steps and bumps at their own run."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.stats.changes import ALPHA, Series, find, seeded
from harness.stats.intervals import wilson

PROCESSES, SPREAD = 5, 0.03


def times(rng: np.random.Generator, runs: int, *steps: tuple[int, float]) -> Series:
    """Runs that differ as much as processes do; each step moves the logarithm from its run on."""
    level = rng.normal(0, SPREAD, runs)
    for at, size in steps:
        level[at:] += size
    logs = level[:, None] + rng.normal(0, SPREAD, (runs, PROCESSES))
    mean = logs.mean(axis=1)
    half = stats.t.ppf(0.95, PROCESSES - 1) * logs.std(axis=1, ddof=1) / math.sqrt(PROCESSES)
    return Series(
        *(1e5 * np.exp(figures) for figures in (mean, mean - half, mean + half)), ratio=True, noisy=True
    )


def shares(rng: np.random.Generator, runs: int, share: float, n: int = 800) -> Series:
    wilson_intervals = [wilson(int(k), n) for k in rng.binomial(n, share, runs)]
    return Series(
        *(
            np.array([getattr(interval, name) for interval in wilson_intervals])
            for name in ("value", "low", "high")
        )
    )


@pytest.mark.parametrize("runs", [2, 3, 7, 20])
def test_false_alarms_of_a_whole_history_keep_to_alpha(runs: int) -> None:
    """Histories of eight series in which nothing changed; the bound is that of a binomial at 99.9 %."""
    rng, histories = np.random.default_rng(runs), 300
    alarms = 0
    for _ in range(histories):
        history = [times(rng, runs) for _ in range(4)] + [shares(rng, runs, 0.95) for _ in range(4)]
        alarms += any(find(history))
    assert alarms <= stats.binom.ppf(0.999, histories, ALPHA)


def test_a_long_quiet_history_of_many_series_is_quiet() -> None:
    rng = np.random.default_rng(0)
    assert not any(find([times(rng, 400) for _ in range(100)]))


@given(st.integers(0, 2**32), st.integers(4, 40), st.data())
@settings(max_examples=50, deadline=None)
def test_a_planted_step_is_found_at_its_run(seed: int, runs: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    at = data.draw(st.integers(1, runs - 1))
    step = data.draw(st.sampled_from((-4.0, 4.0)))
    (changes, *_) = find([times(rng, runs, (at, step)), times(rng, runs)])
    assert at in [change.at for change in changes]
    change = next(item.change for item in changes if item.at == at)
    assert change.low < math.exp(step) * 1.2
    assert change.high > math.exp(step) / 1.2


def test_a_bump_of_one_run_is_two_changes() -> None:
    changes = find([times(np.random.default_rng(1), 60, (30, 1.0), (31, -1.0))])[0]
    assert [change.at for change in changes] == [30, 31]
    assert changes[0].before.n == 30
    assert changes[0].after.n == 1
    assert changes[0].after.value == pytest.approx(changes[0].before.value * changes[0].change.value)


def test_moderate_steps_of_long_histories_are_nearly_always_placed() -> None:
    rng, right = np.random.default_rng(2), 0
    for _ in range(100):
        changes = find([times(rng, 40, (20, 0.2))])[0]
        right += [change.at for change in changes] == [20]
    assert right >= 90


def test_a_machine_that_scatters_more_than_its_intervals_say_widens_them() -> None:
    """Five times the scatter: taken at their word, the intervals would call every history changed.

    The factor is an estimate from few steps, so that alpha is kept only roughly here.
    """
    rng, runs, alarms = np.random.default_rng(3), 60, 0
    for _ in range(100):
        value = 100 + rng.normal(0, 5, runs)
        alarms += bool(find([Series(value, value - 1.645, value + 1.645)])[0])
    assert alarms <= 25


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=40))
def test_without_noise_every_step_is_a_change(levels: list[int]) -> None:
    value = np.array(levels, np.float64)
    changes = [change.at for change in find([Series(value, value, value)])[0]]
    assert changes == (np.flatnonzero(np.diff(value)) + 1).tolist()


@given(st.integers(2, 300))
def test_intervals_lie_within_the_runs_and_cover_every_pair_of_neighbours(runs: int) -> None:
    layers = seeded(runs)
    for length, starts in layers:
        assert 2 <= length <= runs
        assert starts.min() == 0
        assert starts.max() == runs - length
    assert layers[-1][0] == 2
    assert layers[-1][1].tolist() == list(range(runs - 1))


def test_less_than_two_runs_never_change() -> None:
    none, one = np.zeros(0), np.ones(1)
    assert find([Series(none, none, none), Series(one, one, one)]) == [(), ()]
    assert find([]) == []


@pytest.mark.parametrize("ratio", [False, True])
def test_levels_and_their_change_by_hand(ratio: bool) -> None:
    """MOVER over runs whose halves are not equally long; on logarithms where levels are ratios."""
    value = np.array([0.0, 0.0, 10.0, 10.0])
    low, high = value - 1, value + 2
    parts = [np.exp(part) if ratio else part for part in (value, low, high)]
    ((change,),) = find([Series(*parts, ratio=ratio)])
    below, above = math.sqrt(2) / 2, math.sqrt(8) / 2
    expected = {
        "before": (0, -below, above, 2),
        "after": (10, 10 - below, 10 + above, 2),
        "change": (10, 10 - math.hypot(below, above), 10 + math.hypot(above, below), 4),
    }
    assert change.at == 2
    for name, (*numbers, n) in expected.items():
        level = getattr(change, name)
        got = [level.value, level.low, level.high]
        assert ([math.log(number) for number in got] if ratio else got) == pytest.approx(numbers)
        assert level.n == n


def test_a_noisy_series_has_the_width_of_runs() -> None:
    value = np.array([0.0, 0.0, 10.0, 10.0])
    ((change,),) = find([Series(value, value - 0.1, value + 0.2, noisy=True)])
    widen = math.sqrt(6)
    assert change.before.low == pytest.approx(-widen * math.hypot(0.1, 0.1) / 2)
    assert change.before.high == pytest.approx(widen * math.hypot(0.2, 0.2) / 2)


def test_the_intervals_of_eight_runs_by_hand() -> None:
    """Kovács et al. (2023): 1, 3, 7 intervals of 8, 4, 2 runs, each half over the next."""
    layers = {length: starts.tolist() for length, starts in seeded(8)}
    assert layers == {8: [0], 4: [0, 2, 4], 2: list(range(7))}
    assert {length: starts.tolist() for length, starts in seeded(3)} == {3: [0], 2: [0, 1]}
    assert {length: len(starts) for length, starts in seeded(20)} == {20: 1, 10: 3, 5: 7, 3: 15, 2: 19}


@pytest.mark.parametrize("noisy", [False, True])
def test_a_step_between_two_runs_is_a_change_from_the_quantile_on(noisy: bool) -> None:
    """Two bounds of 1 and 2 at one-sided 5 %; the level of one test of one series is alpha, two-sided."""
    df = PROCESSES - 1 if noisy else math.inf
    widen = math.sqrt(1 + PROCESSES) if noisy else 1.0
    quantile = stats.t.ppf(0.95, df)
    needed = stats.t.isf(ALPHA / 2, 2 * df) / quantile
    # Upwards, the lower bound of the second and the upper one of the first; or the spread of both runs.
    distance = widen * max(math.hypot(2, 1), math.sqrt((1 + 4) / 2 * 2) if noisy else 0)
    for factor, changes_ in ((0.999, 0), (1.001, 1)):
        for sign in (1, -1):
            value = np.array([0.0, sign * factor * needed * distance])
            (result,) = find([Series(value, value - 1, value + 2, noisy=noisy)])
            assert len(result) == changes_, (factor, sign)
    # With another series of two runs, each has half of alpha.
    needed = stats.t.isf(ALPHA / 4, 2 * df) / quantile
    still = Series(np.zeros(2), -np.ones(2), np.ones(2), noisy=noisy)
    for factor, changes_ in ((0.999, 0), (1.001, 1)):
        value = np.array([0.0, factor * needed * distance])
        both = find([Series(value, value - 1, value + 2, noisy=noisy), still])
        assert [len(one) for one in both] == [changes_, 0]


def test_three_runs_are_four_tests() -> None:
    """One split of each pair, and two of all three."""
    needed = stats.norm.isf(ALPHA / 4 / 2) / stats.norm.ppf(0.95) * math.hypot(1, 1)
    for factor, changes_ in ((0.999, 0), (1.001, 1)):
        # The middle run lies on the level of the first, halfway down to the noise of two runs.
        value = np.array([0.0, 0.0, factor * needed * math.sqrt(0.75)])
        (result,) = find([Series(value, value - 1, value + 1)])
        assert len(result) == changes_


def test_runs_that_scatter_more_than_they_say_widen_their_intervals_by_the_median_step() -> None:
    """Steps of 20 between bounds of 1, against those of a normal distribution; a step of 1000 stands out."""
    value = np.array([0.0, 20.0] * 6 + [1000.0, 1020.0] * 6)
    ((change,),) = find([Series(value, value - 1, value + 1)])
    scale = 20 / math.hypot(1, 1) * stats.norm.ppf(0.95) / stats.norm.ppf(0.75)
    assert change.at == 12
    assert change.before.value == pytest.approx(10)
    assert change.before.high - change.before.value == pytest.approx(scale / math.sqrt(12))
    assert change.before.value - change.before.low == pytest.approx(scale / math.sqrt(12))
