"""Holm's procedure against its definition, and how often it names what did not change."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.stats.many import holm, one_sided_p

P = st.lists(st.one_of(st.floats(0, 1), st.just(math.nan), st.sampled_from([0.05, 0.025, 0.01])), max_size=12)


def by_definition(p: list[float], alpha: float) -> set[int]:
    """One after the other, smallest first."""
    left = sorted((value, place) for place, value in enumerate(p) if math.isfinite(value))
    rejected: set[int] = set()
    while left and left[0][0] <= alpha / len(left):
        rejected.add(left.pop(0)[1])
    return rejected


@given(P, P)
def test_each_group_by_itself(one: list[float], two: list[float]) -> None:
    groups = np.array([3] * len(one) + [1] * len(two), np.int64)
    mixed = np.random.default_rng(0).permutation(len(groups))
    p = np.array(one + two, np.float64)
    rejected = np.zeros(len(p), np.bool_)
    rejected[mixed] = holm(p[mixed], groups[mixed])
    assert set(np.flatnonzero(rejected[: len(one)])) == by_definition(one, 0.05)
    assert set(np.flatnonzero(rejected[len(one) :])) == by_definition(two, 0.05)


def test_of_ten_that_did_not_change_hardly_ever_one_is_named() -> None:
    rng = np.random.default_rng(1)
    p = rng.uniform(size=(4000, 10))
    groups = np.repeat(np.arange(4000), 10)
    named = holm(p.ravel(), groups).reshape(4000, 10).any(axis=1).mean()
    assert (p < 0.05).any(axis=1).mean() > 0.35
    assert named < 0.06


def test_p_is_that_of_the_normal_distribution() -> None:
    z = np.array([0.5, 1.6448536, -3.0])
    half = 1.6448536269514722 * np.ones(3)
    p_values = one_sided_p(z, z - half, z + half)
    assert p_values == pytest.approx(stats.norm.sf(np.abs(z)), rel=1e-6)
    exact = one_sided_p(np.array([1.0]), np.array([1.0]), np.array([1.0]))
    assert exact.tolist() == [0.0]  # no interval to speak of: an exact count


@pytest.mark.parametrize("change", [0.5, 2.0, -0.5, -2.0])
def test_p_uses_the_bound_towards_no_change(change: float) -> None:
    low, high = change - 0.3, change + 0.7
    towards = 0.3 if change > 0 else 0.7
    p_values = one_sided_p(np.array([change]), np.array([low]), np.array([high]))
    assert p_values == pytest.approx(stats.norm.sf(stats.norm.isf(0.05) * abs(change) / towards))


def test_p_of_no_change_without_an_interval_is_not_a_number() -> None:
    assert np.isnan(one_sided_p(np.zeros(1), np.zeros(1), np.zeros(1))).all()


def test_standing_is_a_mask() -> None:
    standing = holm(np.array([0.001, np.nan, 0.9]), np.zeros(3, np.int64))
    assert (standing.dtype, standing.tolist()) == (np.bool_, [True, False, False])
    assert holm(np.array([0.02, 0.03]), np.zeros(2, np.int64), alpha=0.01).tolist() == [False, False]
    assert holm(np.array([0.05, 0.05]), np.zeros(2, np.int64), alpha=0.1).tolist() == [True, True]
