"""Corruption errors and extra losses against plain numpy, and how often their bounds miss."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.stats import resampling
from harness.stats.corruption import CorruptionErrors, Errors, corruption_errors, mean_intervals, worst_mean
from harness.stats.sequences import mean_over_sequences

RNG = np.random.default_rng(20261128)
Floats = NDArray[np.float64]


def errors(candidate: Floats, reference: Floats) -> CorruptionErrors:
    return corruption_errors([Errors(c, r) for c, r in zip(candidate.T, reference.T, strict=True)])


def correlated(n: int, families: int, p: float, rng: np.random.Generator) -> Floats:
    """Errors of samples, 0 or 1: some samples are hard under every family."""
    hard = rng.random((n, 1)) < p
    return ((rng.random((n, families)) < p) | (hard & (rng.random((n, families)) < 0.7))).astype(float)


def test_ce_is_the_ratio_of_the_sums_and_mce_the_mean_of_the_ratios() -> None:
    reference, candidate = correlated(300, 3, 0.1, RNG), correlated(300, 3, 0.15, RNG)
    made = errors(candidate, reference)
    ratios = candidate.sum(axis=0) / reference.sum(axis=0)
    assert [one.value for one in made.families if one] == pytest.approx(ratios)
    assert made.mean is not None
    assert made.mean.value == pytest.approx(ratios.mean())
    assert made.mean.low < ratios.mean() < made.mean.high


def test_bounds_are_those_of_a_plain_bootstrap_of_whole_samples() -> None:
    reference, candidate = correlated(400, 4, 0.2, RNG), correlated(400, 4, 0.25, RNG)
    rows = np.random.default_rng(1).integers(0, 400, (4000, 400))
    plain = (candidate[rows].sum(axis=1) / reference[rows].sum(axis=1)).mean(axis=1)
    made = errors(candidate, reference).mean
    assert made is not None
    low, high = np.quantile(plain, [0.05, 0.95])
    assert (made.low, made.high) == pytest.approx((low, high), abs=0.15 * (high - low))


def test_each_bound_misses_in_about_one_of_twenty() -> None:
    rng, missed = np.random.default_rng(7), np.zeros(2)
    for _ in range(300):
        reference = correlated(250, 3, 0.12, rng)
        # A further error in 4 % of the cells, and one error in ten is gone: the expectation is known.
        candidate = np.where(
            reference > 0, rng.random(reference.shape) < 0.9, rng.random(reference.shape) < 0.04
        )
        right = 1 - (0.12 + 0.12 * 0.7 - 0.12 * 0.12 * 0.7)
        truth = 0.9 + 0.04 * right / (1 - right)
        made = errors(candidate.astype(float), reference).mean
        assert made is not None
        missed += [made.low > truth, made.high < truth]
    assert (missed / 300 < 0.09).all(), missed / 300


def test_a_family_where_the_reference_never_errs_has_no_ce_and_mce_is_of_the_others() -> None:
    reference = correlated(100, 2, 0.2, RNG)
    reference[:, 0] = 0
    made = errors(reference, reference)
    assert made.families[0] is None
    assert made.mean is not None
    assert made.mean.value == 1
    assert errors(reference[:, :1], reference[:, :1]).mean is None


def test_equal_answers_do_not_prove_a_ce_of_exactly_one() -> None:
    reference = np.zeros((64, 1))
    reference[:8] = 1
    (one,) = errors(reference, reference).families
    assert one is not None
    share = resampling.least_width(64)
    assert (one.low, one.value, one.high) == pytest.approx((1 - 8 * share, 1, 1 + 8 * share))


def test_means_of_columns_over_sequences_are_those_of_one_column() -> None:
    columns = 100.0 * RNG.integers(-1, 2, (300, 2))
    units = np.repeat(np.arange(60), 5)
    for one, column in zip(mean_intervals(columns, units), columns.T, strict=True):
        expected = mean_over_sequences(column, units)
        assert one.value == pytest.approx(expected.value)
        width = expected.high - expected.low
        assert (one.low, one.high) == pytest.approx((expected.low, expected.high), abs=0.1 * width)


def test_a_thousand_healthy_variants_are_called_worse_in_at_most_one_of_twenty(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Eight families of which none lost anything in truth: any lower bound above zero is a false alarm."""
    rng, families, n = np.random.default_rng(11), 8, 400
    together = alone = 0
    for _ in range(1000):
        # 3 % of the answers flip, either way alike, in cells that share half of their causes.
        cause = rng.random((n, 1)) < 0.03
        flips = (cause & (rng.random((n, families)) < 0.5)) | (rng.random((n, families)) < 0.015)
        lost = 100.0 * flips * rng.choice([-1, 1], (n, families))
        worst = worst_mean(lost, reach=100.0)
        together += worst.interval.low > 0
        t = lost.mean(axis=0) / (lost.std(axis=0, ddof=1) / np.sqrt(n))
        alone += bool((t > 1.6487).any())
    with capsys.disabled():
        print(f"\nfalse alarms of the worst of 8 families: {together / 10} %, one by one {alone / 10} %")
    assert together <= 50
    assert alone > 150, "without a correction there are many: the test can fail"
