"""Effects against scipy and plain numpy, and the power at the number of samples that is named."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from harness.stats.shift_detection import (
    Change,
    kolmogorov_smirnov,
    mean_discrepancy,
    population_stability,
)  # fmt: skip

Floats = NDArray[np.float64]
Test = Callable[[Floats, Floats], Change]
TESTS: list[Test] = [kolmogorov_smirnov, population_stability, mean_discrepancy]


def drawn(rng: np.random.Generator, n: int, moved: float = 0.0) -> Floats:
    """Three columns of which the second one moves."""
    return rng.normal(size=(n, 3)) + np.array([0.0, moved, 0.0])


def test_ks_is_that_of_scipy_with_holm_over_columns() -> None:
    rng = np.random.default_rng(1)
    one, other = drawn(rng, 200), drawn(rng, 300, 0.6)
    change = kolmogorov_smirnov(one, other)
    expected = [stats.ks_2samp(a, b, method="asymp") for a, b in zip(one.T, other.T, strict=True)]
    assert change.effect == pytest.approx(expected[1].statistic)
    # scipy's p is that of finite samples, which is a little smaller than the limit.
    assert 3 * expected[1].pvalue <= change.p < 5 * expected[1].pvalue
    assert change.columns == (1,)


def test_mmd_is_the_unbiased_estimate() -> None:
    rng = np.random.default_rng(2)
    one, other = drawn(rng, 40), drawn(rng, 40, 1.0)
    both = np.concatenate([one, other])
    squares = ((both[:, None] - both[None]) ** 2).sum(axis=2)
    kernel = np.exp(-squares / np.median(squares[np.triu_indices(80, 1)]))
    inside = [kernel[:40, :40], kernel[40:, 40:]]
    expected = sum((k.sum() - 40) / (40 * 39) for k in inside) - 2 * kernel[:40, 40:].mean()
    assert mean_discrepancy(one, other).effect == pytest.approx(expected)


def test_psi_is_the_sum_over_tenths_less_what_chance_adds() -> None:
    one, other = np.arange(1000.0)[:, None], np.arange(500.0)[:, None].repeat(2, 0)
    shares = [np.full(10, 100.5) / 1005, np.array([200.5] * 5 + [0.5] * 5) / 1005]
    p, q = shares
    expected = ((p - q) * np.log(p / q)).sum() - 9 * (2 / 1000)
    assert population_stability(one, other).effect == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("test", TESTS)
def test_without_a_change_one_in_twenty_is_noticed_and_no_number_is_named(test: Test) -> None:
    rng, noticed = np.random.default_rng(3), 0
    for _ in range(60):
        change = test(drawn(rng, 150), drawn(rng, 150))
        noticed += change.p <= 0.05
        assert (change.p <= 0.05) or np.isnan(change.samples)
    assert noticed <= 7


@pytest.mark.parametrize("test", TESTS)
def test_the_number_that_is_named_notices_the_change_and_a_quarter_of_it_often_does_not(test: Test) -> None:
    rng, moved = np.random.default_rng(4), 0.8
    needed = int(np.median([test(drawn(rng, 400), drawn(rng, 400, moved)).samples for _ in range(5)]))
    power = [
        np.mean([test(drawn(rng, n), drawn(rng, n, moved)).p <= 0.05 for _ in range(60)])
        for n in (needed, max(4, needed // 4))
    ]
    assert power[0] >= 0.88, (needed, power)
    assert power[1] < 0.85, (needed, power)


def test_columns_that_never_vary_are_no_change() -> None:
    same = np.ones((50, 2))
    for test in TESTS:
        change = test(same, same)
        assert (change.effect, change.columns) == (0, ())
        assert np.isnan(change.samples)
