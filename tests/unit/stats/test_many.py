"""Holm's procedure against its definition, and how often it names what did not change."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.stats import difference
from harness.stats.many import ALPHA, holm, one_sided_p

P = st.one_of(st.floats(0, 1), st.just(math.nan), st.sampled_from([0.05, 0.025, 0.01, 0.001]))


def by_definition(p: list[float], weights: list[float], alpha: float) -> set[int]:
    """One after the other, the smallest p / w first."""
    left = [place for place in range(len(p)) if math.isfinite(p[place])]
    rejected: set[int] = set()
    while left:
        first = min(left, key=lambda place: p[place] / weights[place])
        if p[first] * sum(weights[place] for place in left) > alpha * weights[first] * (1 + 1e-12):
            break
        left.remove(first)
        rejected.add(first)
    return rejected


@given(st.lists(st.tuples(P, st.sampled_from([1.0, 0.25, 3.0])), max_size=12), st.sampled_from([0.05, 0.01]))
def test_one_after_the_other(rows: list[tuple[float, float]], alpha: float) -> None:
    p, weights = [row[0] for row in rows], [row[1] for row in rows]
    rejected = set(np.flatnonzero(holm(np.array(p), np.array(weights), alpha=alpha)))
    # Equal p / w are rejected together or not at all by the definition, whichever is taken first.
    assert rejected == by_definition(p, weights, alpha)
    equal = by_definition(p, [1.0] * len(p), ALPHA)
    assert set(np.flatnonzero(holm(np.array(p, np.float64)))) == equal


@pytest.mark.parametrize("weights", [None, np.array([20.0, 20.0, *[1.0] * 38])])
def test_of_forty_that_did_not_change_hardly_ever_one_is_named(weights: np.ndarray | None) -> None:
    p = np.random.default_rng(1).uniform(size=(10_000, 40))
    named = np.mean([holm(row, weights).any() for row in p])
    assert (p < 0.05).any(axis=1).mean() > 0.8
    assert 0.006 < named < 0.0135


def test_a_weight_makes_a_row_easier_to_name() -> None:
    p = np.array([0.004, *[0.5] * 40])
    assert not holm(p).any()
    assert holm(p, np.array([1.0, *[1 / 40] * 40])).tolist() == [True] + [False] * 40


@given(st.floats(-8, 8).filter(lambda t: abs(t) > 0.01), st.floats(1, 50), st.sampled_from([2.0, 4.0, 9.0]))
def test_p_is_that_of_student_and_of_the_normal_distribution(t: float, df: float, interval_df: float) -> None:
    """Two rows of standard error 1; the bounds of the first are Student's, of the second normal."""
    halves = np.array([stats.t.isf(0.05, interval_df), stats.norm.isf(0.05)])
    change = np.full(2, t)
    p = one_sided_p(change, change - halves, change + halves, np.array([df, np.inf]), interval_df)
    assert p == pytest.approx([stats.t.sf(abs(t), df), stats.norm.sf(abs(t))], rel=1e-6)


@pytest.mark.parametrize("change", [0.5, 2.0, -0.5, -2.0])
def test_p_uses_the_bound_towards_no_change(change: float) -> None:
    low, high = np.array([change - 0.3]), np.array([change + 0.7])
    towards = 0.3 if change > 0 else 0.7
    p_values = one_sided_p(np.array([change]), low, high, np.full(1, np.inf), 4)
    assert p_values == pytest.approx(stats.norm.sf(stats.norm.isf(0.05) * abs(change) / towards))


def test_p_without_an_error() -> None:
    change = np.array([1.0, 0.0])
    p = one_sided_p(change, change, change, np.full(2, np.inf), 4)
    assert p[0] == 0.0
    assert np.isnan(p[1])


def test_significant_rows_are_a_mask() -> None:
    significant = holm(np.array([0.001, np.nan, 0.9]))
    assert (significant.dtype, significant.tolist()) == (np.bool_, [True, False, False])
    assert holm(np.array([0.02, 0.03]), alpha=0.01).tolist() == [False, False]
    assert holm(np.array([0.05, 0.05]), alpha=0.1).tolist() == [True, True]


@pytest.mark.parametrize(("spread", "between"), [(0.03, 0.04), (0.1, 0.06), (0.001, 0.035)])
def test_of_equal_runs_hardly_any_has_a_time_called_worse(spread: float, between: float) -> None:
    """5,000 comparisons of 24 times; each the geometric mean of five processes of a run."""
    rng = np.random.default_rng(3)
    shape, sides = (5000, 24), []
    for _ in range(2):
        logs = rng.normal(0, between, shape)[..., None] + rng.normal(0, spread, (*shape, 5))
        half = stats.t.isf(0.05, 4) * logs.std(axis=-1, ddof=1) / math.sqrt(5)
        sides.append([np.exp(logs.mean(axis=-1) + part).ravel() for part in (0, -half, half)])
    least = np.full(len(sides[0][0]), difference.least_distance("ns"))
    _, low, high = bounds = difference.independent(
        *sides, ratio=True, widen=difference.noise_factor(), least=least
    )
    df = difference.degrees_of_freedom(*sides, ratio=True, least=least)
    p = one_sided_p(*map(np.log, bounds), df, difference.PROCESSES - 1)
    worse = low.reshape(shape) > 1
    named = [
        holm(np.where(row, of_pair, 1.0)).any() for row, of_pair in zip(worse, p.reshape(shape), strict=True)
    ]
    assert np.mean(named) < ALPHA
    assert worse.any(axis=1).mean() > 0.02  # by itself, a row is easily called worse
    assert (high > low).all()
