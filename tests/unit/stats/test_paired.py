from __future__ import annotations

import math
from collections import Counter
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import minimize_scalar
from statsmodels.stats.contingency_tables import mcnemar

from harness.core.errors import DataError, UsageError
from harness.stats import intervals, paired
from harness.stats.intervals import Interval, clustered_mean, wilson, z_value
from harness.stats.paired import (
    can_ever_pass,
    flips,
    mcnemar_exact_p,
    paired_mean_difference,
    samples_to_decide,
    smallest_decidable_margin,
    tango,
)

quick = settings(deadline=None, max_examples=60)


@st.composite
def tables(draw: st.DrawFn, largest: int = 10**6) -> tuple[int, int, int]:
    n = draw(st.integers(1, largest))
    b = draw(st.integers(0, n))
    return b, draw(st.integers(0, n - b)), n


def exact_high(b: int, c: int, n: int, z: float) -> float:
    """Tango's upper bound by bisection in 50 digits, straight from the paper's formula."""
    with localcontext() as context:
        context.prec = 50
        B, C, N, Z = Decimal(b), Decimal(c), Decimal(n), Decimal(z)
        low, high = (C - B) / N, Decimal(1)
        for _ in range(100):
            d = (low + high) / 2
            linear = d * (2 * N + B - C) - B - C
            q = ((linear * linear + 8 * N * B * d * (1 - d)).sqrt() - linear) / (4 * N)
            variance = max(Decimal(0), N * (2 * q + d * (1 - d)))
            low, high = (d, high) if C - B - N * d + Z * variance.sqrt() > 0 else (low, d)
        return float(high)


def test_published_example() -> None:
    # Cavo et al. 2012 in Fagerland, Lydersen and Laake, "Statistical analysis of contingency tables" (2017),
    # chapter 8: 6 and 16 of 161, Tango 95 % interval of the difference -0.0621: -0.1240 to -0.0054.
    got = tango(16, 6, 161, alpha=0.025)
    assert (got.value, got.low, got.high) == pytest.approx((-0.0621, -0.1240, -0.0054), abs=5e-5)


@settings(deadline=None, max_examples=25)
@given(tables())
@example((0, 0, 10**6))
@example((10**6, 0, 10**6))
@example((0, 10**6, 10**6))
@example((1, 0, 1))
@example((0, 1, 10**6))
def test_tango_is_solved_to_the_last_digits(table: tuple[int, int, int]) -> None:
    b, c, n = table
    z = z_value(0.05)
    got = tango(b, c, n)
    assert got.high == pytest.approx(exact_high(b, c, n, z), abs=1e-15)
    assert got.low == pytest.approx(-exact_high(c, b, n, z), abs=1e-15)


@pytest.mark.parametrize(("b", "c", "n"), [(3, 9, 200), (0, 4, 60), (12, 0, 90), (40, 35, 120)])
def test_tangos_bound_is_where_the_likelihoods_score_is_z(b: int, c: int, n: int) -> None:
    # The nuisance parameter by maximising the likelihood numerically: no quadratic in common with the code.
    for bound in (tango(b, c, n).low, tango(b, c, n).high):

        def minus_log_likelihood(q: float, d: float = bound) -> float:
            return -sum(
                k * math.log(max(p, 1e-300)) for k, p in ((c, q + d), (b, q), (n - b - c, 1 - 2 * q - d)) if k
            )

        span = (max(0.0, -bound), (1 - bound) / 2)
        q = minimize_scalar(minus_log_likelihood, bounds=span, method="bounded", options={"xatol": 1e-12}).x
        score = (c - b - n * bound) / math.sqrt(n * (2 * q + bound * (1 - bound)))
        assert abs(score) == pytest.approx(z_value(0.05), rel=1e-4)


@quick
@given(tables(), st.floats(0.001, 0.4))
def test_tango_is_ordered_and_turns_round_with_the_flips(table: tuple[int, int, int], alpha: float) -> None:
    b, c, n = table
    got, turned = tango(b, c, n, alpha=alpha), tango(c, b, n, alpha=alpha)
    assert -1 <= got.low <= got.value <= got.high <= 1
    assert (got.low, got.value, got.high) == (-turned.high, -turned.value, -turned.low)


@quick
@given(tables(5000))
def test_one_more_harmful_flip_never_lowers_a_bound(table: tuple[int, int, int]) -> None:
    b, c, n = table
    assume(b + c < n)
    fewer, more = tango(b, c, n), tango(b, c + 1, n)
    assert more.low > fewer.low
    assert more.high > fewer.high


@pytest.mark.parametrize(("n", "bound"), [(800, 0.0034), (539, 0.005), (64, 0.0406)])
def test_no_disagreement_gives_the_smallest_margin(n: int, bound: float) -> None:
    got = tango(0, 0, n)
    assert got.high == pytest.approx(smallest_decidable_margin(n), abs=1e-15)
    assert got.low == -got.high
    assert got.high == pytest.approx(bound, abs=5e-5)
    assert got.value == 0


def test_one_flip_in_800() -> None:
    assert tango(0, 1, 800).high == pytest.approx(0.0056, abs=5e-5)


def test_no_pairs_and_impossible_pairs() -> None:
    none = tango(0, 0, 0)
    assert math.isnan(none.value)
    assert (none.low, none.high) == (-1, 1)
    assert smallest_decidable_margin(0) == 1
    for b, c, n in ((-1, 0, 5), (3, 3, 5)):
        with pytest.raises(UsageError, match="cannot be"):
            tango(b, c, n)


@pytest.mark.parametrize(("harmful", "beneficial"), [(0.01, 0.01), (0.05, 0.02), (0.004, 0.0)])
def test_tango_covers_about_as_often_as_it_says(harmful: float, beneficial: float) -> None:
    rng = np.random.default_rng(7)
    drawn = rng.multinomial(1000, [beneficial, harmful, 1 - harmful - beneficial], size=4000)
    truth, misses = harmful - beneficial, [0, 0]
    for (b, c), count in Counter((int(b), int(c)) for b, c, _ in drawn).items():
        interval = tango(b, c, 1000)
        misses[0] += count * (interval.low > truth)
        misses[1] += count * (interval.high < truth)
    assert misses[0] / 4000 < 0.075
    assert misses[1] / 4000 < 0.075
    assert sum(misses) / 4000 > 0.03


@quick
@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_agrees_with_statsmodels(b: int, c: int) -> None:
    expected = mcnemar([[10, b], [c, 10]], exact=True).pvalue if b + c else 1.0
    assert mcnemar_exact_p(b, c) == pytest.approx(expected, rel=1e-9)


@quick
@given(st.floats(0.001, 0.5))
def test_samples_to_decide_without_flips_is_the_least_that_can_pass(margin: float) -> None:
    needed = samples_to_decide(0, 0, 0, margin)
    assert needed is not None
    assert can_ever_pass(needed, margin)
    assert not can_ever_pass(needed - 1, margin)


def test_samples_to_decide_known_figures() -> None:
    assert samples_to_decide(0, 0, 0, 0.005) == 539
    # 1 % disagreement: about 2,500 samples for half a point and 620 for one, at a power of 80 %.
    assert samples_to_decide(2, 2, 400, 0.005) == pytest.approx(2473, abs=1)
    assert samples_to_decide(2, 2, 400, 0.01) == pytest.approx(618, abs=1)
    # One flip in five, all harmful: variance 0.2 - 0.04, 0.05 from the margin.
    assert samples_to_decide(0, 20, 100, 0.25) == pytest.approx(6.1826 * 0.16 / 0.05**2, abs=1)


@pytest.mark.parametrize(("b", "c", "margin"), [(4, 4, 0.005), (4, 12, 0.016), (8, 40, 0.03)])
def test_so_many_samples_decide_four_times_in_five(b: int, c: int, margin: float) -> None:
    n = 800
    needed = samples_to_decide(b, c, n, margin)
    assert needed is not None
    assert needed > n
    drawn = np.random.default_rng(8).multinomial(needed, [b / n, c / n, 1 - (b + c) / n], size=1500)
    passes = 0
    for (beneficial, harmful), count in Counter((int(x), int(y)) for x, y, _ in drawn).items():
        interval = tango(beneficial, harmful, needed)
        passes += count * (interval.high < margin if c / n - b / n < margin else interval.low > margin)
    assert passes / 1500 == pytest.approx(0.8, abs=0.06)


@quick
@given(tables(5000), st.floats(-0.2, 0.2))
@example((1, 1, 2), 1e-308)
@example((0, 1, 1), 1e-308)
def test_samples_to_decide_asks_for_more_only_where_undecided(
    table: tuple[int, int, int], margin: float
) -> None:
    b, c, n = table
    interval = tango(b, c, n)
    needed = samples_to_decide(b, c, n, margin)
    if not interval.low <= margin <= interval.high:
        assert needed == n
    elif abs(margin - interval.value) < 1e-9:
        assert needed is None
    else:
        assert needed is not None
        assert needed > n


def test_a_loss_of_just_the_margin_is_never_decided() -> None:
    assert samples_to_decide(0, 8, 800, 0.01) is None
    assert samples_to_decide(0, 0, 800, 0.0) is None


@quick
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_flips_counts_pairs(pairs: list[tuple[bool, bool]]) -> None:
    reference, variant = np.array(pairs, dtype=bool).reshape(-1, 2).T
    counts = Counter(pairs)
    got = flips(reference, variant)
    assert (got.n, got.b, got.c) == (len(pairs), counts[False, True], counts[True, False])
    assert got.loss == tango(got.b, got.c, got.n) or got.n == 0
    assert got.harmful == wilson(got.c, got.n) or got.n == 0
    assert got.beneficial == wilson(got.b, got.n) or got.n == 0
    assert got.mcnemar_p == mcnemar_exact_p(got.b, got.c)


def test_the_loss_is_the_difference_of_the_accuracies() -> None:
    rng = np.random.default_rng(9)
    reference, variant = rng.random(500) < 0.9, rng.random(500) < 0.8
    assert flips(reference, variant).loss.value == pytest.approx(reference.mean() - variant.mean())


def test_pairs_of_different_samples_are_refused() -> None:
    with pytest.raises(DataError, match="shapes"):
        flips(np.ones(3, bool), np.ones(4, bool))
    with pytest.raises(DataError, match="shapes"):
        paired_mean_difference(np.ones(3), np.ones(4))


def test_paired_difference_sees_through_what_samples_share() -> None:
    rng = np.random.default_rng(10)
    shared = rng.exponential(10, 300)
    reference, variant = shared + rng.normal(0, 0.1, 300), shared + 0.05 + rng.normal(0, 0.1, 300)
    got = paired_mean_difference(reference, variant)
    assert got == clustered_mean(variant - reference)
    assert 0 < got.low < 0.05 < got.high < 0.1
    back = paired_mean_difference(variant, reference)
    assert (back.low, back.high) == pytest.approx((-got.high, -got.low), abs=0.002)


def test_unsigned_losses_do_not_wrap_round() -> None:
    got = paired_mean_difference(np.array([3], np.uint8), np.array([1], np.uint8))
    assert got == Interval(-2.0, -math.inf, math.inf, 1)


@quick
@given(tables(2000), st.sampled_from([0.001, 0.025, 0.2]))
def test_alpha_reaches_every_interval_of_flips(table: tuple[int, int, int], alpha: float) -> None:
    b, c, n = table
    reference, variant = np.ones(n, bool), np.ones(n, bool)
    reference[:b], variant[n - c :] = False, False
    got = flips(reference, variant, alpha=alpha)
    assert got.loss == tango(b, c, n, alpha=alpha)
    assert got.harmful == wilson(c, n, alpha=alpha)
    assert got.beneficial == wilson(b, n, alpha=alpha)


def test_alpha_and_reach_reach_the_mean_difference() -> None:
    reference, variant = np.zeros(30), np.random.default_rng(11).integers(-1, 2, 30).astype(float)
    for options in ({"alpha": 0.01}, {"reach": 8.0}):
        got = paired_mean_difference(reference, variant, **options)
        assert got == clustered_mean(variant, **options)
        assert got != clustered_mean(variant)


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.2])
def test_a_margin_of_just_the_bound_cannot_pass(alpha: float) -> None:
    bound = smallest_decidable_margin(100, alpha=alpha)
    assert bound == pytest.approx(tango(0, 0, 100, alpha=alpha).high, abs=1e-15)
    assert not can_ever_pass(100, bound, alpha=alpha)
    assert can_ever_pass(100, np.nextafter(bound, 1), alpha=alpha)


def test_alpha_and_power_reach_the_number_of_samples() -> None:
    # 0.2 - 0.04 is the variance of one flip in five, all harmful; the margin lies 0.05 above the loss.
    for alpha, power in ((0.05, 0.9), (0.01, 0.8)):
        z = stats.norm.isf(alpha) + stats.norm.ppf(power)
        needed = samples_to_decide(0, 20, 100, 0.25, alpha=alpha, power=power)
        assert needed == math.ceil(z * z * 0.16 / 0.05**2)
    least = samples_to_decide(0, 0, 0, 0.005, alpha=0.01)
    assert least is not None
    assert can_ever_pass(least, 0.005, alpha=0.01)
    assert not can_ever_pass(least - 1, 0.005, alpha=0.01)


def test_a_margin_below_zero_needs_what_one_above_does() -> None:
    needed = samples_to_decide(4, 4, 800, -0.005)
    assert needed == samples_to_decide(4, 4, 800, 0.005)


def test_answers_of_several_columns_are_refused() -> None:
    with pytest.raises(DataError, match="shapes"):
        flips(np.ones((3, 1), bool), np.ones((3, 1), bool))


@quick
@given(tables(300), st.sampled_from([0.01, 0.05]))
def test_a_margin_of_just_a_bound_is_undecided(table: tuple[int, int, int], alpha: float) -> None:
    b, c, n = table
    interval = tango(b, c, n, alpha=alpha)
    assert interval.n == n
    for bound, beyond in ((interval.high, 2.0), (interval.low, -2.0)):
        assert samples_to_decide(b, c, n, bound, alpha=alpha) != n
        assert samples_to_decide(b, c, n, np.nextafter(bound, beyond), alpha=alpha) == n


def test_without_samples_the_widest_margin_needs_one() -> None:
    assert tango(0, 0, 0).n == 0
    assert samples_to_decide(0, 0, 0, 1.0) == 1


@pytest.mark.parametrize("effect", [1.0, 1.5, 2.0])
def test_samples_that_come_in_pairs_tell_as_much_as_fewer(effect: float) -> None:
    rng = np.random.default_rng(2)
    before, after = rng.random((2, 600)) < 0.8
    all_samples, fewer = paired.flips(before, after), paired.flips_in_pairs(before, after, effect)
    assert (fewer.n, fewer.b, fewer.c, fewer.loss.value) == (
        600,
        all_samples.b,
        all_samples.c,
        all_samples.loss.value,
    )
    for one, other in zip(
        (fewer.loss, fewer.harmful, fewer.beneficial),
        (all_samples.loss, all_samples.harmful, all_samples.beneficial),
        strict=True,
    ):
        ratio = (one.high - one.low) / (other.high - other.low)
        assert ratio == pytest.approx(np.sqrt(effect), rel=0.05)
    doubled = paired.flips_in_pairs(np.repeat(before, 2), np.repeat(after, 2), 2.0)
    assert doubled.loss.high == pytest.approx(all_samples.loss.high, abs=1e-3)


def test_shares_of_samples_that_come_in_pairs() -> None:
    assert intervals.wilson_in_groups(50, 100, 1.0) == intervals.wilson(50, 100)
    half = intervals.wilson_in_groups(50, 100, 2.0)
    assert (half.value, half.n) == (0.5, 100)
    assert (half.low, half.high) == (intervals.wilson(25, 50).low, intervals.wilson(25, 50).high)
    assert intervals.wilson_in_groups(100, 100, 2.0).low == intervals.wilson(50, 50).low
    assert intervals.wilson_in_groups(0, 0, 2.0).n == 0
