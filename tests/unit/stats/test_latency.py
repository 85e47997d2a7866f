from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import stats

from harness.core.errors import DataError, UsageError
from harness.stats.intervals import over_processes
from harness.stats.latency import (
    early_stopping_estimate,
    lag1_autocorrelation,
    latency_summary,
    max_overlatency,
    min_queries,
    percentile,
)

quick = settings(deadline=None, max_examples=60)
samples = npst.arrays(np.int64, st.integers(1, 300), elements=st.integers(1, 10**12))
shares = st.sampled_from([0.5, 0.9, 0.95, 0.99, 0.999])


def test_loadgens_published_minima() -> None:
    # "Processed at least 64 queries" in SingleStream logs at p90; MultiStream.min_query_count = 662 at p99 in
    # loadgen/mlperf.conf; 459 without any overlatency at p99 (log 0.01 / log 0.99, early_stopping.cc's y1).
    assert min_queries(0.9) == 64
    assert min_queries(0.99) == 662
    assert min_queries(0.99, 0) == 459 == math.ceil(math.log(0.01) / math.log(0.99))


def test_loadgens_published_discards() -> None:
    # mlperf_log_summary.txt of a SingleStream run of 10,000: "Would discard 929 highest latency queries."
    assert max_overlatency(10_000, 0.9) - 1 == 929
    latencies_ns = np.random.default_rng(0).permutation(10_000)
    assert early_stopping_estimate(latencies_ns, 0.9) == 9_999 - 929


@quick
@given(st.integers(0, 3000), shares)
def test_max_overlatency_is_the_largest_that_the_rule_lets_through(n: int, p: float) -> None:
    t = max_overlatency(n, p)
    if t:
        assert stats.binom.cdf(t, n, 1 - p) < 0.01
        assert n >= min_queries(p, t)
    assert stats.binom.cdf(t + 1, n, 1 - p) >= 0.01
    assert n < min_queries(p, t + 1)
    assert max_overlatency(n + 1, p) >= t


@quick
@given(shares, st.integers(0, 20))
def test_min_queries_by_counting_up(p: float, t: int) -> None:
    n = min_queries(p, t)
    counts = np.arange(t + 1, n + 1)
    passes = stats.binom.cdf(t, counts, 1 - p) < 0.01
    assert passes[-1]
    assert not passes[:-1].any()


def test_early_stopping_estimate_lies_above_the_percentile_99_times_in_100() -> None:
    rng = np.random.default_rng(1)
    true_p90_ns = 2.302585 * 1e6
    runs = rng.exponential(1e6, (1500, 300)).astype(np.int64)
    above = np.mean([(early_stopping_estimate(run, 0.9) or 0) >= true_p90_ns for run in runs])
    assert above >= 0.985
    assert early_stopping_estimate(runs[0][:63], 0.9) is None
    assert early_stopping_estimate(runs[0][:64], 0.9) == runs[0][:64].max()


@quick
@given(samples, st.floats(0.001, 0.999))
def test_percentile_is_numpys_inverted_cdf(latencies_ns: np.ndarray, p: float) -> None:
    got = percentile(latencies_ns, p)
    assert got == np.quantile(latencies_ns, p, method="inverted_cdf")
    assert got in latencies_ns
    assert np.count_nonzero(latencies_ns <= got) >= latencies_ns.size * p * (1 - 1e-9)


def test_percentile_ranks_are_not_moved_by_rounding() -> None:
    ranks = np.arange(1, 101)
    assert [percentile(ranks, k / 100) for k in range(1, 100)] == list(range(1, 100))


@pytest.mark.parametrize("p", [0.0, 1.0, 99.0, math.nan])
def test_a_percentile_is_a_share(p: float) -> None:
    for call in (lambda: percentile(np.array([1]), p), lambda: min_queries(p), lambda: max_overlatency(9, p)):
        with pytest.raises(UsageError, match="share"):
            call()


def test_autocorrelation() -> None:
    rng = np.random.default_rng(2)
    noise = rng.normal(size=20_000)
    walk = np.empty_like(noise)
    walk[0] = noise[0]
    for i in range(1, noise.size):
        walk[i] = 0.42 * walk[i - 1] + noise[i]
    times_ns = (1e6 + 1e4 * walk).astype(np.int64)
    assert lag1_autocorrelation(times_ns) == pytest.approx(0.42, abs=0.02)
    assert lag1_autocorrelation((1e6 + 1e4 * noise).astype(np.int64)) == pytest.approx(0, abs=0.02)
    assert lag1_autocorrelation(np.array([1, 3, 1, 3, 1, 3])) < -0.8
    assert math.isnan(lag1_autocorrelation(np.array([5])))
    assert math.isnan(lag1_autocorrelation(np.array([5, 5, 5])))


def test_summary_is_over_processes() -> None:
    rng = np.random.default_rng(3)
    runs = [(rng.lognormal(0, 0.1, 200) * 1e6).astype(np.int64) for _ in range(5)]
    got = latency_summary(runs)
    assert (got.n, got.n_processes) == (1000, 5)
    assert [row.p for row in got.percentiles] == [0.5, 0.9, 0.99]
    for row in got.percentiles:
        per_process = np.array([np.quantile(run, row.p, method="inverted_cdf") for run in runs])
        assert row.latency_ns == over_processes(per_process)
        assert row.reason == ""
        assert row.early_stopping_ns is not None
        assert row.early_stopping_ns >= np.quantile(np.concatenate(runs), row.p, method="inverted_cdf")
    assert abs(got.autocorrelation) < 0.2


def test_too_few_requests_are_refused() -> None:
    runs = [np.arange(1, 101) + k for k in range(5)]
    p50, p90, p99 = latency_summary(runs).percentiles
    assert p50.reason == p90.reason == ""
    assert p99.reason == "too few samples: needs 662, has 500"
    assert p99.early_stopping_ns is None
    assert (p99.n, p99.n_needed, p99.latency_ns.n) == (500, 662, 5)


def test_one_disturbed_process_shows_as_width() -> None:
    calm = [np.full(200, 1_000_000) + np.arange(200) for _ in range(5)]
    disturbed = [*calm[:4], calm[4] * 3]
    quiet, noisy = latency_summary(calm).percentiles[2], latency_summary(disturbed).percentiles[2]
    assert quiet.latency_ns.high / quiet.latency_ns.low < 1.001
    assert noisy.latency_ns.high / noisy.latency_ns.low > 2
    assert noisy.latency_ns.value == pytest.approx(quiet.latency_ns.value * 3**0.2, rel=1e-6)


def test_one_process_and_none() -> None:
    alone = latency_summary([np.array([7, 7, 7])])
    assert alone.percentiles[0].latency_ns.high == math.inf
    assert math.isnan(alone.autocorrelation)
    for runs in ([], [np.array([1, 2]), np.array([], dtype=np.int64)]):
        with pytest.raises(DataError, match="no latency"):
            latency_summary(runs)
    with pytest.raises(DataError, match="no latency"):
        percentile(np.array([], dtype=np.int64), 0.5)


@pytest.mark.parametrize("alpha", [0.01, 0.2])
def test_alpha_and_percentiles_reach_the_summary(alpha: float) -> None:
    runs = [np.random.default_rng(seed).integers(1000, 2000, 50) for seed in range(4)]
    got = latency_summary(runs, percentiles=[0.25, 0.9], alpha=alpha)
    assert [row.p for row in got.percentiles] == [0.25, 0.9]
    for row in got.percentiles:
        per_process = np.array([percentile(run, row.p) for run in runs])
        assert row.latency_ns == over_processes(per_process, alpha=alpha)
        assert row.early_stopping_ns == early_stopping_estimate(np.concatenate(runs), row.p)
        assert row.n_needed == min_queries(row.p)


def test_exactly_enough_requests_are_enough() -> None:
    (row,) = latency_summary([np.arange(1, 65)], percentiles=[0.9]).percentiles
    assert (row.n, row.n_needed, row.reason) == (64, 64, "")
    (row,) = latency_summary([np.arange(1, 64)], percentiles=[0.9]).percentiles
    assert row.reason == "too few samples: needs 64, has 63"


def test_confidence_is_that_of_the_rule() -> None:
    assert min_queries(0.9, 0, confidence=0.95) == math.ceil(math.log(0.05) / math.log(0.9))
    t = max_overlatency(500, 0.9, confidence=0.95)
    assert stats.binom.cdf(t, 500, 0.1) < 0.05 <= stats.binom.cdf(t + 1, 500, 0.1)
    slowest_first = np.arange(500)[::-1]
    assert early_stopping_estimate(slowest_first, 0.9, confidence=0.95) == 500 - t


def test_autocorrelation_by_hand_and_its_median() -> None:
    # Deviations -2, -1, 1, 2: (2 - 1 + 2) / (4 + 1 + 1 + 4).
    assert lag1_autocorrelation(np.array([1, 2, 4, 5])) == pytest.approx(0.3)
    assert lag1_autocorrelation(np.array([1, 3])) == pytest.approx(-0.5)
    runs = [np.array([1, 2, 4, 5]), np.array([1, 3]), np.array([7, 7]), np.array([4, 2, 1, 5])]
    correlations = [lag1_autocorrelation(run) for run in runs if len(set(run.tolist())) > 1]
    assert latency_summary(runs).autocorrelation == pytest.approx(np.median(correlations))
