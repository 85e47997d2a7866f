"""Differences of two measurements: MOVER against its formula and by coverage, pairs against Tango."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.core.metric import Metric, Noise
from harness.stats.difference import (
    RUNS_DIFFER,
    degrees_of_freedom,
    independent,
    least_distance,
    noise_factor,
    paired,
    paired_rows,
    varies_between_runs,
)
from harness.stats.intervals import clustered_mean
from harness.stats.paired import tango

POSITIVE = st.floats(0.1, 1e6)
WIDTH = st.floats(0.001, 0.5)


@given(POSITIVE, WIDTH, POSITIVE, WIDTH)
def test_a_ratio_is_a_difference_of_logarithms(b: float, wb: float, n: float, wn: float) -> None:
    base = [np.array([b]), np.array([b * math.exp(-wb)]), np.array([b * math.exp(wb)])]
    new = [np.array([n]), np.array([n * math.exp(-wn)]), np.array([n * math.exp(wn)])]
    value, low, high = (float(bound[0]) for bound in independent(base, new, ratio=True))
    assert value == pytest.approx(n / b)
    assert low == pytest.approx(n / b * math.exp(-math.hypot(wb, wn)))
    assert high == pytest.approx(n / b * math.exp(math.hypot(wb, wn)))
    back = [float(bound[0]) for bound in independent(new, base, ratio=True)]
    assert back == pytest.approx([1 / value, 1 / high, 1 / low])


def test_an_unknown_interval_stays_unknown_and_two_zeros_are_equal() -> None:
    one, nan = np.array([0.0, 2.0]), np.array([math.nan, math.nan])
    value, low, high = independent([one, nan, nan], [one, nan, nan], ratio=True)
    assert value.tolist() == [1.0, 1.0]
    assert np.isnan(low).all()
    assert np.isnan(high).all()


def test_runs_that_differ_as_processes_do_are_rarely_called_different() -> None:
    """One-sided 5 % each side, with a run effect as large as that of processes."""
    rng = np.random.default_rng(0)
    k, trials, spread = 5, 4000, 0.03
    runs = rng.normal(0, spread, (2, trials, 1)) + rng.normal(0, spread, (2, trials, k))
    mean, sd = runs.mean(axis=2), runs.std(axis=2, ddof=1)
    half = 2.132 * sd / math.sqrt(k)  # t, 4 degrees of freedom
    sides = [[np.exp(m), np.exp(m - h), np.exp(m + h)] for m, h in zip(mean, half, strict=True)]
    _, low, high = independent(sides[0], sides[1], ratio=True, widen=noise_factor(k))
    assert np.mean(low > 1) < 0.05
    assert np.mean(high < 1) < 0.05
    _, low, _ = independent(sides[0], sides[1], ratio=True)
    assert np.mean(low > 1) > 0.1  # without the widening it would cry wolf


@given(st.integers(1, 200), st.data())
def test_shares_on_the_same_samples_have_tangos_interval(n: int, data: st.DataObject) -> None:
    base = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), np.float64)
    new = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), np.float64)
    result = paired(base, new)
    c, b = int(((base == 1) & (new == 0)).sum()), int(((base == 0) & (new == 1)).sum())
    loss = tango(b, c, n)
    assert (result.value, result.low, result.high) == (-loss.value, -loss.high, -loss.low)


def test_the_shorter_side_is_the_first_of_the_longer() -> None:
    base, new = np.ones(100), np.concatenate([np.ones(60), np.zeros(40)])
    assert paired(base, new[:60]).value == 0.0
    assert paired(base, new).value == pytest.approx(-0.4)
    errors = paired(np.array([0.5, 1.5, 2.5]), np.array([1.0, 2.0, 3.0]))
    assert errors.value == pytest.approx(0.5)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_a_loss_in_points_changes_as_the_accuracy_behind_it_does(
    answers: list[tuple[bool, bool, bool]],
) -> None:
    """Both are relative to one reference: what is right there cancels, and a sample counts 100 points."""
    reference, base, new = (np.array(column, np.float64) for column in zip(*answers, strict=True))
    accuracy = paired(base, new)
    loss = paired(100 * (reference - base), 100 * (reference - new), "pt")
    assert loss.value == pytest.approx(-100 * accuracy.value)
    assert (loss.low, loss.high) == pytest.approx((-100 * accuracy.high, -100 * accuracy.low))


def test_where_a_sample_changes_by_two_sizes_it_is_no_share() -> None:
    base, new = np.array([100.0, -100.0, 0.0, 0.0]), np.array([-100.0, -100.0, 0.0, 100.0])
    assert paired(base, new, "pt") == clustered_mean((new - base)[:, None])


def test_rows_at_once_are_the_rows_by_themselves() -> None:
    rng = np.random.default_rng(0)
    base = (rng.uniform(size=(5, 60)) < 0.9).astype(float)
    new = (rng.uniform(size=(5, 60)) < 0.8).astype(float)
    new[1] = base[1]
    base[4], new[4] = rng.normal(size=60), rng.normal(size=60)  # no share
    result, p = paired_rows(base, new, "1")
    assert result == [paired(one, two) for one, two in zip(base, new, strict=True)]
    assert np.isnan(p[1])  # no sample differs
    for row in (0, 2, 3):
        b, c = int((base[row] > new[row]).sum()), int((new[row] > base[row]).sum())
        assert p[row] == pytest.approx(stats.binomtest(min(b, c), b + c, alternative="less").pvalue)
    change = new[4] - base[4]
    assert p[4] == pytest.approx(stats.norm.sf(abs(change.sum()) / np.sqrt((change**2).sum())))


def test_few_samples_that_differ_are_no_more_significant_than_their_signs() -> None:
    base = np.zeros((1, 50))
    new = base.copy()
    new[0, :3] = [1.5, 1.5, 1.5]  # no share; the normal theory gives 0.04
    assert paired_rows(base, new, "1")[1] == pytest.approx(0.5**3)


def test_runs_differ_by_at_least_what_was_measured_even_where_processes_agree() -> None:
    sides = [[np.array([part])] * 3 for part in (100.0, 110.0)]
    least = least_distance("ns")
    _, low, high = independent(*sides, ratio=True, widen=noise_factor(), least=least)
    assert (low[0], high[0]) == pytest.approx((1.1 * math.exp(-least), 1.1 * math.exp(least)))
    assert least == pytest.approx(stats.t.isf(0.05, 4) * math.sqrt(2) * RUNS_DIFFER["ns"])
    assert least_distance("pt") == 0.0


@pytest.mark.parametrize("ratio", [True, False])
def test_degrees_of_freedom_are_those_of_welch(ratio: bool) -> None:
    rng = np.random.default_rng(2)
    logs = [rng.normal(0, spread, 5) for spread in (1.0, 3.0)]
    sides = []
    for sample in logs:
        half = stats.t.isf(0.05, 4) * sample.std(ddof=1) / math.sqrt(5)
        bounds = [np.array([sample.mean() + part]) for part in (0.0, -half, half)]
        sides.append([np.exp(part) for part in bounds] if ratio else bounds)
    df = degrees_of_freedom(*sides, ratio=ratio, least=np.zeros(1))
    assert df[0] == pytest.approx(stats.ttest_ind(*logs, equal_var=False).df)
    exact = [[np.ones(1)] * 3] * 2
    assert degrees_of_freedom(*exact, ratio=ratio, least=np.zeros(1)).tolist() == [4.0]
    assert degrees_of_freedom(*exact, ratio=ratio, least=np.ones(1)).tolist() == [1e6]


@pytest.mark.parametrize("widen", [1.0, 3.0])
def test_each_bound_takes_the_distances_that_face_it(widen: float) -> None:
    """MOVER by hand, on intervals whose two halves are not equally long."""
    base, new = [np.array([part]) for part in (2.0, 1.0, 5.0)], [np.array([part]) for part in (7.0, 6.5, 9.0)]
    value, low, high = (float(part[0]) for part in independent(base, new, ratio=False, widen=widen))
    assert value == 5.0
    assert low == pytest.approx(5 - widen * math.hypot(7 - 6.5, 5 - 2))
    assert high == pytest.approx(5 + widen * math.hypot(9 - 7, 2 - 1))
    value, low, high = (float(part[0]) for part in independent(base, new, ratio=True, widen=widen))
    assert value == 3.5
    assert low == pytest.approx(3.5 * math.exp(-widen * math.hypot(math.log(7 / 6.5), math.log(5 / 2))))
    assert high == pytest.approx(3.5 * math.exp(widen * math.hypot(math.log(9 / 7), math.log(2 / 1))))


def test_a_ratio_to_nothing_is_no_number_but_for_two_zeros() -> None:
    exact = np.array([0.0, 0.0, 4.0])
    value, _, _ = independent([exact] * 3, [exact[[0, 2, 1]]] * 3, ratio=True)
    assert value.tolist() == [1.0, math.inf, 0.0]


def test_noise_of_a_run_is_that_of_one_more_process() -> None:
    """Variance s² (1/k + 1) in place of s²/k."""
    assert noise_factor(4) == pytest.approx(math.sqrt((1 / 4 + 1) / (1 / 4)))
    assert noise_factor() == noise_factor(5)


@pytest.mark.parametrize(
    ("base", "new"), [([2.0, 0.0, 1.0], [1.0, 0.0, 1.0]), ([1.0, 0.0, 1.0], [2.0, 0.0, 1.0])]
)
def test_a_side_with_a_sample_of_two_is_no_share_though_it_changes_by_one(
    base: list[float], new: list[float]
) -> None:
    one, two = np.array(base), np.array(new)
    assert paired(one, two) == clustered_mean((two - one)[:, None])


@pytest.mark.parametrize(
    ("unit", "varies"),
    [("ns", True), ("1/s", True), ("byte", True), ("1", False), ("pt", False), ("bit", False)],
)
def test_noise_between_runs_is_declared_or_follows_from_the_unit(unit: str, varies: bool) -> None:
    assert varies_between_runs(None, unit) is varies
    assert varies_between_runs(Metric(unit, "lower", Noise.RUNS), unit)
    assert not varies_between_runs(Metric(unit, "lower"), unit)
    assert not varies_between_runs(Metric(unit, "lower", Noise.SAMPLE), unit)
