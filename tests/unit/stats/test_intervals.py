from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from harness.core.errors import DataError, UsageError
from harness.stats.intervals import (
    Interval,
    clopper_pearson,
    clustered_mean,
    over_processes,
    units_to_decide,
    wilson,
    z_value,
)

quick = settings(deadline=None, max_examples=50)
proportions = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
alphas = st.floats(0.001, 0.4)


@pytest.mark.parametrize(("interval", "method"), [(wilson, "wilson"), (clopper_pearson, "beta")])
@quick
@given(counts=proportions, alpha=alphas)
def test_proportions_agree_with_statsmodels(
    interval: object, method: str, counts: tuple[int, int], alpha: float
) -> None:
    successes, n = counts
    got = interval(successes, n, alpha=alpha)  # type: ignore[operator]
    low, high = proportion_confint(successes, n, alpha=2 * alpha, method=method)
    assert got.low == pytest.approx(low, abs=1e-9)
    assert got.high == pytest.approx(high, abs=1e-9)
    assert 0 <= got.low <= got.value <= got.high <= 1


@pytest.mark.parametrize("interval", [wilson, clopper_pearson])
def test_proportion_of_nothing_or_one_decides_little(interval: object) -> None:
    nothing = interval(0, 0)  # type: ignore[operator]
    assert math.isnan(nothing.value)
    assert (nothing.low, nothing.high, nothing.n) == (0, 1, 0)
    assert interval(1, 1).high == 1  # type: ignore[operator]
    assert interval(1, 1).low < 0.3  # type: ignore[operator]
    assert interval(0, 1).low == 0  # type: ignore[operator]


@pytest.mark.parametrize(("n", "reliability"), [(299, 0.99), (2995, 0.999)])
def test_zero_failures_prove_what_the_exact_interval_says(n: int, reliability: float) -> None:
    assert clopper_pearson(n, n).low >= reliability
    assert clopper_pearson(n - 1, n - 1).low < reliability


@pytest.mark.parametrize("p", [0.02, 0.3, 0.9])
def test_exact_interval_misses_at_most_alpha_on_each_side(p: float) -> None:
    n = 60
    weights = stats.binom.pmf(np.arange(n + 1), n, p)
    intervals = [clopper_pearson(k, n) for k in range(n + 1)]
    assert sum(w for w, i in zip(weights, intervals, strict=True) if i.low > p) <= 0.05
    assert sum(w for w, i in zip(weights, intervals, strict=True) if i.high < p) <= 0.05


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_wilson_covers_about_as_often_as_it_says(p: float) -> None:
    n = 200
    weights = stats.binom.pmf(np.arange(n + 1), n, p)
    inside = [i.low <= p <= i.high for i in (wilson(k, n) for k in range(n + 1))]
    assert weights[inside].sum() == pytest.approx(0.9, abs=0.03)


@pytest.mark.parametrize("counts", [(-1, 5), (6, 5)])
def test_impossible_counts_are_refused(counts: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="cannot be"):
        wilson(*counts)


@pytest.mark.parametrize("alpha", [0.0, 0.5, math.nan])
def test_alpha_is_one_sided(alpha: float) -> None:
    with pytest.raises(UsageError, match="alpha"):
        z_value(alpha)
    assert z_value(0.05) == pytest.approx(1.6448536269514722, abs=1e-12)


@quick
@given(st.lists(st.floats(1, 1e9), min_size=2, max_size=20), alphas)
@example([1.0, 1e9], 0.001)
def test_over_processes_is_students_interval_of_the_logarithms(values: list[float], alpha: float) -> None:
    got = over_processes(np.array(values), alpha=alpha)
    logs = np.log(values)
    assert got.value == pytest.approx(stats.gmean(values), rel=1e-9)
    assert got.low <= got.value <= got.high
    if np.ptp(logs) > 1e-6:
        low, high = stats.t.interval(1 - 2 * alpha, len(values) - 1, logs.mean(), stats.sem(logs))
        with np.errstate(over="ignore"):
            assert (got.low, got.high) == pytest.approx((np.exp(low), np.exp(high)), rel=1e-9)


def test_one_process_says_nothing_of_the_next() -> None:
    assert over_processes(np.array([230_000])) == Interval(230_000, 0, math.inf, 1)
    assert over_processes(np.array([])).n == 0


def test_equal_processes_have_no_spread() -> None:
    got = over_processes(np.full(7, 0.1))
    assert got.low == got.value == got.high


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_what_has_no_logarithm_is_refused(bad: float) -> None:
    with pytest.raises(DataError, match="above zero"):
        over_processes(np.array([1.0, bad]))


def test_over_processes_covers_where_pooled_requests_do_not() -> None:
    # Requests of one process are not independent. Five processes of 400 requests, 3 % between, 5 % within.
    rng = np.random.default_rng(1)
    between = rng.normal(0, 0.03, (600, 5, 1))
    times = np.exp(between + rng.normal(0, 0.05, (600, 5, 400)))
    means = np.exp(np.log(times).mean(axis=2))
    intervals = [over_processes(row) for row in means]
    covered = np.mean([i.low <= 1 <= i.high for i in intervals])
    pooled = np.log(times).reshape(600, -1)
    naive = np.mean(np.abs(pooled.mean(axis=1)) <= 1.645 * pooled.std(axis=1) / math.sqrt(2000))
    assert covered == pytest.approx(0.9, abs=0.04)
    assert naive < 0.3


def test_clustered_mean_agrees_with_scipys_bca() -> None:
    rng = np.random.default_rng(2)
    rows = rng.lognormal(0, 1.5, size=40)
    got = clustered_mean(rows)
    oracle, plain = (
        stats.bootstrap(
            (rows,), np.mean, confidence_level=0.9, n_resamples=30_000, method=m, rng=np.random.default_rng(3)
        ).confidence_interval
        for m in ("BCa", "percentile")
    )
    width = oracle.high - oracle.low
    assert got.value == pytest.approx(rows.mean())
    assert (got.low, got.high) == pytest.approx((oracle.low, oracle.high), abs=0.03 * width)
    assert abs(got.high - plain.high) > 0.1 * width


def test_clustered_mean_covers_skewed_losses() -> None:
    rng = np.random.default_rng(4)
    misses_low = misses_high = 0
    for _ in range(300):
        # A sample is hard or not, and its cases agree about it.
        hard = rng.random((120, 1)) < 0.1
        cells = (hard & (rng.random((120, 6)) < 0.7)).astype(float)
        interval = clustered_mean(cells)
        misses_low += interval.low > 0.07
        misses_high += interval.high < 0.07
    assert misses_low < 30
    assert misses_high < 30


def test_cases_that_agree_add_nothing() -> None:
    column = np.random.default_rng(5).integers(-1, 2, size=(100, 1)).astype(float)
    one, many = clustered_mean(column), clustered_mean(np.repeat(column, 30, axis=1))
    assert (many.low, many.high) == pytest.approx((one.low, one.high), abs=1e-12)
    assert many.n == 100


@quick
@given(
    st.lists(st.integers(-3, 3), min_size=2, max_size=40),
    st.floats(0.01, 0.2),
    st.randoms(use_true_random=False),
)
def test_clustered_mean_is_ordered_repeatable_and_blind_to_order(
    values: list[int], alpha: float, random: object
) -> None:
    rows = np.array(values, dtype=float)
    got = clustered_mean(rows, alpha=alpha)
    assert got.low <= got.value <= got.high
    random.shuffle(values)  # type: ignore[attr-defined]
    assert clustered_mean(np.array(values, dtype=float), alpha=alpha) == got
    wider = clustered_mean(rows, alpha=alpha / 2)
    assert wider.low <= got.low
    assert wider.high >= got.high


def test_a_sample_without_flips_is_no_proof() -> None:
    unseen = clustered_mean(np.zeros((64, 30)), reach=1.0)
    assert unseen.high == pytest.approx(2.7055 / (64 + 2.7055), abs=1e-5)
    assert unseen.low == -unseen.high
    assert clustered_mean(np.ones((64, 2)), reach=1.0).high == 1.0


def test_clustered_mean_of_few_samples() -> None:
    assert clustered_mean(np.array([[3.0, 5.0]])) == Interval(4.0, -math.inf, math.inf, 1)
    assert clustered_mean(np.array([0.5]), reach=1.0) == Interval(0.5, -1.0, 1.0, 1)
    none = clustered_mean(np.empty((0, 5)))
    assert math.isnan(none.value)
    assert (none.low, none.high, none.n) == (-math.inf, math.inf, 0)


def test_clustered_mean_refuses_what_is_no_number_or_out_of_reach() -> None:
    with pytest.raises(DataError, match="1 of 2 samples"):
        clustered_mean(np.array([[1.0, math.nan], [0.0, 0.0]]))
    with pytest.raises(UsageError, match="reach"):
        clustered_mean(np.array([0.0, 2.0]), reach=1.0)


def test_clustered_mean_needs_little_memory() -> None:
    values = np.zeros((10_000, 95))
    values[::7] = 1.0
    tracemalloc.start()
    try:
        clustered_mean(values)
        peak_byte = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_byte < 50e6


def test_units_to_decide_is_a_sample_size_that_decides() -> None:
    interval = clustered_mean(np.random.default_rng(6).normal(0, 1, 100))
    limit = interval.value + 0.1
    needed = units_to_decide(interval, limit)
    assert needed is not None
    # Normal theory with the observed half width for z s / sqrt(n).
    factor = (1.6449 + 0.8416) / 1.6449 * (interval.high - interval.value) / 0.1
    assert needed == pytest.approx(100 * factor**2, abs=1.5)
    assert units_to_decide(interval, interval.high + 1) == 100
    assert units_to_decide(interval, interval.low - 1) == 100
    assert units_to_decide(interval, interval.value) is None
    assert units_to_decide(Interval(1.0, 0.0, math.inf, 1), 2.0) is None
    assert units_to_decide(Interval(math.nan, -1.0, 1.0, 0), 0.5) is None


def test_units_to_decide_without_flips_is_the_least_that_can_pass() -> None:
    needed = units_to_decide(clustered_mean(np.zeros(64), reach=1.0), 0.01, reach=1.0)
    assert needed is not None
    assert clustered_mean(np.zeros(needed), reach=1.0).high < 0.01
    assert clustered_mean(np.zeros(needed - 1), reach=1.0).high >= 0.01


def test_units_to_decide_takes_the_half_that_faces_the_limit() -> None:
    """(1 + z_power / z_alpha) half widths, by hand, for limits on both sides of a lopsided interval."""
    interval = Interval(1.0, 0.8, 1.6, 50)
    for limit, half in ((1.2, 0.6), (0.9, 0.2)):
        for alpha, power in ((0.05, 0.8), (0.01, 0.9)):
            widths = 1 + stats.norm.ppf(power) / stats.norm.isf(alpha)
            expected = math.ceil(50 * (widths * half / abs(limit - 1.0)) ** 2)
            assert units_to_decide(interval, limit, alpha=alpha, power=power) == expected


def test_a_limit_of_just_a_bound_is_not_decided() -> None:
    interval = Interval(1.0, 0.5, 1.5, 50)
    for limit in (0.5, 1.5):
        needed = units_to_decide(interval, limit)
        assert needed is not None
        assert needed > 50


def test_units_to_decide_with_reach_needs_room_for_both_widths() -> None:
    rows = np.random.default_rng(7).integers(0, 2, 60).astype(float)
    interval = clustered_mean(rows, reach=1.0)
    limit = interval.value + 0.02
    wide, plain = units_to_decide(interval, limit, reach=1.0), units_to_decide(interval, limit)
    assert wide == plain  # the bootstrap's width decides, and is larger than the least one
    far = units_to_decide(interval, limit, reach=200.0)
    # The least width, 200 z² / (n + z²), must fit in between.
    assert far == pytest.approx(z_value(0.05) ** 2 * (200.0 / (limit - interval.value) - 1), abs=1.5)


def test_reach_widens_only_what_is_narrower() -> None:
    rows = np.zeros(200)
    rows[:2] = 1.0
    plain, least = clustered_mean(rows), 5.0 * 2.7055434540954 / (200 + 2.7055434540954)
    got = clustered_mean(rows, reach=5.0)
    assert got.high == pytest.approx(max(plain.high, plain.value + least))
    assert got.low == pytest.approx(min(plain.low, plain.value - least))
    with pytest.raises(UsageError, match="reach"):
        clustered_mean(-rows * 6, reach=5.0)
    assert clustered_mean(np.full(3, -5.0), reach=5.0).low == -5.0


def test_intervals_count_their_units() -> None:
    assert wilson(3, 10).n == 10
    assert clopper_pearson(3, 10).n == 10
    assert over_processes(np.array([1.0, 2.0, 4.0])).n == 3
    assert wilson(1, 10).low > 0.01
    nothing = over_processes(np.array([]))
    assert math.isnan(nothing.value)
    assert (nothing.low, nothing.high, nothing.n) == (0.0, math.inf, 0)
    column = over_processes([[1], [2], [4]])
    assert column == over_processes(np.array([1.0, 2.0, 4.0]))


def test_half_of_the_ties_lie_below_the_mean() -> None:
    """Of 20 flips 10 are beneficial: a resample ties with the mean in 18 of 100, and the bias is none."""
    interval = clustered_mean(np.repeat([0.0, 1.0], 10))
    assert interval.low + interval.high == pytest.approx(1, abs=0.03)
    few = clustered_mean(np.repeat([-1.0, 0.0, 1.0], [5, 90, 5]))
    assert few.low + few.high == pytest.approx(0, abs=0.03)


def test_infinite_rows_are_counted_in_the_refusal() -> None:
    with pytest.raises(UsageError, match="2 of"):
        clustered_mean(np.array([0.0, math.inf, math.nan, 1.0, 1.0]))


def test_at_least_one_more_unit_is_needed_where_it_is_not_decided() -> None:
    assert units_to_decide(Interval(0.0, -1.0, 1.0, 50), 1.0, power=0.5) == 51
    rows = np.zeros(64)
    interval = clustered_mean(rows, reach=1.0)
    assert units_to_decide(interval, interval.high, reach=1.0) == 65
