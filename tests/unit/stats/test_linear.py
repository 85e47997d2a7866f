"""AUC, partial AUC and F1 as means of values: against scikit-learn and scipy, and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import brunnermunzel, norm, spearmanr
from sklearn.metrics import f1_score, roc_auc_score

from harness.core.errors import DataError
from harness.core.task import NO_ANSWER
from harness.stats import linear
from harness.stats.intervals import Interval

SEEDS = st.integers(0, 10_000)


def scored(seed: int, n: int = 60, *, ties: bool = False) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores, higher for the positive samples, of which there are some of each kind."""
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < rng.uniform(0.1, 0.9)
    positive[:2] = [False, True]
    scores = rng.normal(size=n) + positive
    return np.round(scores) if ties else scores, positive


def labelled(seed: int, n: int = 40, k: int = 5) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Answers and labels, of which a tenth differ."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, k)) < 0.3).astype(np.int64)
    labels[0, 0] = 1
    return np.where(rng.random((n, k)) < 0.1, 1 - labels, labels), labels


@settings(max_examples=40)
@given(SEEDS, st.booleans())
def test_areas_are_those_of_scikit_learn(seed: int, ties: bool) -> None:
    scores, positive = scored(seed, ties=ties)
    assert linear.auc(scores, positive).mean() == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    for most in (0.1, 0.37):
        area = linear.partial_auc(scores, positive, most=most).mean()
        assert area == pytest.approx(roc_auc_score(positive, scores, max_fpr=most), abs=1e-12)


@settings(max_examples=40)
@given(SEEDS)
def test_f1_is_that_of_scikit_learn(seed: int) -> None:
    answers, labels = labelled(seed)
    micro, macro = linear.micro_f1(answers, labels).mean(), linear.macro_f1(answers, labels).mean()
    occurring = np.flatnonzero(labels.any(axis=0))
    assert micro == pytest.approx(f1_score(labels, answers, average="micro"), abs=1e-12)
    expected = f1_score(labels, answers, average="macro", labels=occurring, zero_division=0)
    assert macro == pytest.approx(expected, abs=1e-12)


def test_no_answer_is_the_wrong_one() -> None:
    answers, labels = labelled(0)
    unanswered = answers.copy()
    unanswered[:5] = NO_ANSWER
    wrong = answers.copy()
    wrong[:5] = 1 - labels[:5]
    for statistic in (linear.micro_f1, linear.macro_f1):
        assert statistic(unanswered, labels).mean() == pytest.approx(statistic(wrong, labels).mean())
    scores, positive = scored(0)
    nan, worst = scores.copy(), scores.copy()
    nan[:5] = np.nan
    worst[:5] = np.where(positive[:5], -99, 99)
    for area in (linear.auc, linear.partial_auc):
        assert area(nan, positive).mean() == area(worst, positive).mean()


def test_samples_of_one_kind_have_no_area() -> None:
    with pytest.raises(DataError, match=r"every one of 3 samples is normal \(0\)"):
        linear.auc(np.arange(3.0), np.zeros(3, bool))


@given(SEEDS)
def test_the_interval_of_an_area_is_that_of_brunner_and_munzel(seed: int) -> None:
    """Where the bound is at one half, the p-value of scipy's test of one half is alpha."""
    positive = np.arange(600) % 3 > 0  # many of each kind, so that the least width does not matter
    scores = np.random.default_rng(seed).normal(size=600) * (1 + positive) + 0.2 * positive
    values = linear.auc(scores, positive)
    p = brunnermunzel(scores[~positive], scores[positive], alternative="less").pvalue
    assume(1e-3 < p < 0.3)
    assert linear.stratified_mean(values, positive, alpha=float(p)).low == pytest.approx(0.5, abs=1e-9)


def test_few_samples_prove_little_however_well_they_are_ordered() -> None:
    scores, positive = np.arange(40.0), np.arange(40) >= 38
    interval = linear.stratified_mean(linear.auc(scores, positive), positive)
    assert (interval.value, interval.high) == (1.0, 1.0)
    assert interval.low < 0.5
    many = np.arange(40) >= 20
    low = linear.stratified_mean(linear.auc(scores, many), many).low
    assert low == pytest.approx(20 / (20 + 2.7055), abs=1e-4)


@pytest.mark.parametrize("statistic", [linear.auc, linear.partial_auc])
def test_bounds_hold_as_often_as_they_say(statistic: object) -> None:
    """Normal scores, one standard deviation and a half apart: the areas are known."""
    rate = np.linspace(1e-9, 0.1, 20001)
    partial = 0.5 * (1 + (np.trapezoid(norm.sf(norm.isf(rate) - 1.5), rate) - 0.005) / (0.1 - 0.005))
    truth = norm.cdf(1.5 / np.sqrt(2)) if statistic is linear.auc else partial
    rng, positive, held = np.random.default_rng(1), np.arange(250) < 50, np.zeros(2)
    for _ in range(400):
        scores = rng.normal(size=250) + 1.5 * positive
        interval = linear.stratified_mean(statistic(scores, positive), positive)  # type: ignore[operator]
        held += [interval.low <= truth, truth <= interval.high]
    assert (held / 400 > 0.92).all(), held


def test_paired_bounds_are_narrower_than_those_of_two_models() -> None:
    scores, positive = scored(3, 400)
    other = scores + np.random.default_rng(0).normal(scale=0.05, size=400)
    one, two = linear.auc(scores, positive), linear.auc(other, positive)
    lost = linear.stratified_mean(one - two, positive, lowest=-1.0)
    alone = linear.stratified_mean(one, positive)
    assert lost.value == pytest.approx(one.mean() - two.mean())
    assert lost.high - lost.value < (alone.high - alone.value) / 2


@given(SEEDS, st.booleans())
def test_the_rank_correlation_is_spearman_s(seed: int, ties: bool) -> None:
    one, other = scored(seed, ties=ties)[0], scored(seed + 1, ties=ties)[0]
    other = other + one
    interval = linear.rank_correlation(one, other)
    assert interval.value == pytest.approx(spearmanr(one, other).statistic, abs=1e-12)
    assert interval.low <= interval.value <= interval.high
    assert linear.rank_correlation(one, one).value == pytest.approx(1)


def test_rank_correlation_of_no_numbers_and_of_equal_ones() -> None:
    scores = np.arange(50.0)
    broken = np.where(np.arange(50) < 10, np.nan, scores)
    assert linear.rank_correlation(broken, scores).value < 0.6
    assert linear.rank_correlation(np.full(50, np.nan), scores).value == pytest.approx(-1, abs=0.2)
    assert np.isnan(linear.rank_correlation(np.ones(50), scores).value)


def test_a_mean_reaches_as_far_as_samples_that_never_differ() -> None:
    interval = linear.mean_of(np.zeros(100), lowest=-1.0)
    z2 = 1.6448536**2
    assert interval == Interval(0.0, pytest.approx(-z2 / (100 + z2)), pytest.approx(z2 / (100 + z2)), 100)
