"""The ratio over processes covers as it says, and looks spend what they may."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from harness.core.errors import DataError, UsageError
from harness.core.verdict import State
from harness.stats import side_by_side
from harness.stats.side_by_side import FEWEST, expanded_level, judge, level, ratio

Figures = NDArray[np.float64]


def figures(rng: np.random.Generator, centre: float, spread: float, n: int = FEWEST) -> Figures:
    return centre * np.exp(rng.normal(0, spread, n))


@given(st.integers(1, 40))
def test_error_over_all_looks_is_that_of_one_look(looks: int) -> None:
    assert sum(level(look) for look in range(1, looks + 1)) < 0.05


def test_looks_are_counted_from_one() -> None:
    with pytest.raises(UsageError):
        level(0)


@given(st.lists(st.floats(1.0, 1e6), min_size=2, max_size=20), st.floats(0.5, 2.0))
def test_a_scaled_side_scales_the_ratio(values: list[float], factor: float) -> None:
    base = np.array(values)
    result = ratio(base, factor * base)
    assert result.value == pytest.approx(factor)
    assert result.low <= result.value <= result.high
    assert result.n == len(values)


def test_equal_processes_leave_no_doubt() -> None:
    result = ratio(np.full(8, 2.0), np.full(8, 3.0))
    assert (result.low, result.value, result.high) == pytest.approx((1.5, 1.5, 1.5))


@pytest.mark.parametrize("spoiled", [0.0, -1.0, np.nan, np.inf])
def test_figures_that_are_none(spoiled: float) -> None:
    with pytest.raises(DataError, match="above zero"):
        ratio(np.array([1.0, spoiled]), np.array([1.0, 1.0]))
    with pytest.raises(DataError, match="at least two processes"):
        ratio(np.array([1.0]), np.array([1.0, 1.0]))


@pytest.mark.parametrize("alpha", [0.05, 0.0125])
def test_a_bound_misses_as_often_as_it_says(alpha: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 400 comparisons of equals, three standard errors more than alpha are a fault of the interval."""
    monkeypatch.setattr(side_by_side, "RESAMPLES", 4000)
    rng = np.random.default_rng(0)
    ratios = [ratio(figures(rng, 1, 0.03), figures(rng, 1, 0.03), alpha=alpha) for _ in range(400)]
    most = alpha + 3 * np.sqrt(alpha * (1 - alpha) / 400)
    assert np.mean([interval.low > 1 for interval in ratios]) < most
    assert np.mean([interval.high < 1 for interval in ratios]) < most


@pytest.mark.parametrize(
    ("factor", "state"),
    [(1.0, State.PASS), (1.05, State.INCONCLUSIVE), (1.10, State.FAIL), (0.5, State.PASS)],
)
def test_answers(factor: float, state: State) -> None:
    rng = np.random.default_rng(1)
    base, control, new = (figures(rng, centre, 0.01) for centre in (1.0, 1.0, factor))
    result = judge(base, control, new, limit=1.05, look=1)
    assert result.state is state
    assert bool(result.why) == (state is State.INCONCLUSIVE)


@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_a_base_that_differs_from_itself_decides_nothing(factor: float) -> None:
    """Not even against a version that is half as fast again: it is the machine that moves."""
    rng = np.random.default_rng(2)
    base, control, new = (figures(rng, centre, 0.01) for centre in (1.0, 1.2, factor))
    result = judge(base, control, new, limit=1.05, look=1)
    assert result.state is State.INCONCLUSIVE
    assert "the base differs from itself by 1.2" in result.why


def test_the_ratio_is_that_of_trimmed_means() -> None:
    rng = np.random.default_rng(0)
    base, new = rng.lognormal(0, 0.1, 16), rng.lognormal(0.1, 0.1, 8)
    expected = np.exp(stats.trim_mean(np.log(new), 0.2) - stats.trim_mean(np.log(base), 0.2))
    result = ratio(base, new)
    assert result.value == pytest.approx(expected)
    assert side_by_side.typical(new) == pytest.approx(np.exp(stats.trim_mean(np.log(new), 0.2)))
    assert result.n == 8


def test_processes_that_a_neighbour_slowed_hide_no_slowdown() -> None:
    """Two of 32. The mean of the same figures decides nothing: its interval is several times as wide."""
    rng = np.random.default_rng(3)

    def side(centre: float) -> Figures:
        times = centre * rng.lognormal(0, 0.007, 32)
        times[:2] *= 2.0
        return np.asarray(times, np.float64)

    result = judge(side(1), side(1), side(1.1), limit=1.05, look=3)
    assert result.state is State.FAIL
    assert result.ratio.value == pytest.approx(1.1, abs=0.01)


def test_each_look_spends_half_of_what_the_last_did() -> None:
    assert [level(look) for look in (1, 2, 3)] == [0.025, 0.0125, 0.00625]


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_the_interval_is_about_yuens(alpha: float) -> None:
    """Yuen's test of trimmed means has an interval of normal theory; so many processes are near it."""
    rng = np.random.default_rng(4)
    base, new = rng.lognormal(0, 0.05, 60), rng.lognormal(0.1, 0.05, 80)
    result = ratio(base, new, alpha=alpha)
    test = stats.ttest_ind(np.log(new), np.log(base), equal_var=False, trim=0.2)
    low, high = test.confidence_interval(1 - 2 * alpha)
    assert np.log(result.value / result.low) == pytest.approx(np.log(result.value) - low, rel=0.1)
    assert np.log(result.high / result.value) == pytest.approx(high - np.log(result.value), rel=0.1)


def test_few_processes_widen_the_interval_as_students_t_does() -> None:
    """The expanded level: the same figures eight times over are judged with more degrees of freedom."""
    base, new = np.linspace(1, 1.2, 5), np.linspace(1.1, 1.3, 5)
    few, many = ratio(base, new), ratio(np.repeat(base, 8), np.repeat(new, 8))
    shrunk = np.log(few.high / few.low) / np.log(many.high / many.low)
    left, most = 3, 24
    t = stats.t.isf(0.05, left - 1) * np.sqrt(left / (left - 1))
    assert shrunk > np.sqrt(8) * 1.1
    assert shrunk < np.sqrt(8) * t / stats.norm.isf(0.05) * np.sqrt(most / (most - 1))


def test_a_look_has_the_ratio_of_both_halves_at_its_level_and_the_control() -> None:
    rng = np.random.default_rng(5)
    base, control, new = (figures(rng, centre, 0.02) for centre in (1.0, 1.01, 1.02))
    result = judge(base, control, new, limit=1.05, look=3)
    assert result.ratio == ratio(np.concatenate([base, control]), new, alpha=level(3))
    assert result.control == ratio(base, control)
    for centre in (1.5, 1.0, 0.5):  # FAIL, undecided, PASS
        other = judge(base, control, centre * 1.05 * base, limit=1.05, look=1)
        assert other.ratio == ratio(np.concatenate([base, control]), centre * 1.05 * base, alpha=level(1))
        assert other.control == ratio(base, control)
    apart = judge(base, 2 * base, base, limit=1.05, look=1)
    assert apart.ratio == ratio(np.concatenate([base, 2 * base]), base, alpha=level(1))


@pytest.mark.parametrize(("processes", "left"), [(3, 3), (4, 4), (8, 6), (16, 10)])
def test_a_percentile_interval_is_expanded_by_the_processes_that_are_left(processes: int, left: int) -> None:
    """Hesterberg (2015), section 5.3.2: the level is Phi(sqrt(n / (n - 1)) t)."""
    expected = stats.norm.cdf(np.sqrt(left / (left - 1)) * stats.t.ppf(0.05, left - 1))
    assert expanded_level(processes, 0.05) == pytest.approx(expected)


def test_a_zero_on_either_side_is_refused() -> None:
    one, zero = np.array([1.0, 2.0]), np.array([1.0, 0.0])
    for base, new in ((one, zero), (zero, one)):
        with pytest.raises(DataError, match="above zero"):
            ratio(base, new)


@pytest.mark.parametrize("centre", [1 / 1.2, 1.2])
def test_a_base_that_became_faster_decides_nothing_either(centre: float) -> None:
    rng = np.random.default_rng(6)
    for factor in (0.5, 2.0):  # either would be decided
        base, control, new = (figures(rng, middle, 0.01) for middle in (1.0, centre, factor))
        result = judge(base, control, new, limit=1.05, look=1)
        assert result.state is State.INCONCLUSIVE
        assert result.why.startswith(f"the base differs from itself by {result.control.value:.3g}x")


def test_a_ratio_of_just_the_limit_is_allowed() -> None:
    one, two = np.full(8, 1.0), np.full(8, 2.0)
    assert judge(one, one, two, limit=2.0, look=1).state is State.PASS
    assert judge(one, one, two, limit=np.nextafter(2.0, 1), look=1).state is State.FAIL
    assert judge(one, two, two, limit=2.0, look=1).state is State.PASS  # the control is just at the limit
    assert judge(two, one, one, limit=2.0, look=1).state is State.PASS
