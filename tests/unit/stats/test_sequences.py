"""The interval over sequences covers where one over rows does not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats.intervals import clustered_mean, wilson
from harness.stats.sequences import mean_over_sequences


def test_equal_lengths_are_the_clustered_mean() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 5))
    index = np.repeat(np.arange(40), 5)
    expected = clustered_mean(values)
    got = mean_over_sequences(values.reshape(-1), index)
    assert (got.value, got.low, got.high) == pytest.approx((expected.value, expected.low, expected.high))
    assert got.n == 200


def test_without_a_wrong_row_sequences_are_counted_and_not_rows() -> None:
    got = mean_over_sequences(np.ones(300), np.repeat(np.arange(30), 10), reach=1.0, lowest=0.0)
    assert (got.low, got.high) == (pytest.approx(wilson(30, 30).low), 1.0)


@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=20),
    st.integers(0, 10**6),
    st.sampled_from([0.05, 0.005]),
)
def test_the_value_is_the_mean_of_all_rows(lengths: list[int], seed: int, alpha: float) -> None:
    values = np.random.default_rng(seed).integers(0, 2, sum(lengths)).astype(float)
    index = np.repeat(np.arange(len(lengths)), lengths)
    got = mean_over_sequences(values, index, alpha=alpha, reach=1.0, lowest=0.0)
    assert got.value == pytest.approx(values.mean())
    assert 0 <= got.low <= got.value <= got.high <= 1
    shuffled = np.random.default_rng(1).permutation(len(values))
    again = mean_over_sequences(values[shuffled], index[shuffled], alpha=alpha, reach=1.0, lowest=0.0)
    assert (again.low, again.high) == pytest.approx((got.low, got.high))


def test_one_sequence_says_nothing() -> None:
    got = mean_over_sequences(np.ones(9), np.zeros(9, np.int64), reach=1.0, lowest=0.0)
    assert got.low == 0.0
    assert mean_over_sequences(np.ones(9), np.zeros(9, np.int64), alpha=0.01).high == math.inf


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_it_covers_the_truth_where_the_rows_of_a_sequence_are_alike(alpha: float) -> None:
    rng = np.random.default_rng(3)
    runs, missed, naive = 300, 0, 0
    for _ in range(runs):
        lengths = rng.integers(4, 13, 50)
        right = np.repeat(rng.random(50) < 0.8, lengths).astype(float)  # a sequence is right as a whole
        index = np.repeat(np.arange(50), lengths)
        missed += mean_over_sequences(right, index, alpha=alpha, reach=1.0, lowest=0.0).high < 0.8
        naive += wilson(int(right.sum()), len(right), alpha=alpha).high < 0.8
    assert missed / runs <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / runs) + 0.02
    assert naive / runs > 3 * alpha, "the test can tell: an interval over rows is too narrow"
