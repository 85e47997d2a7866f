"""ECE, NLL and Brier score against plain numpy, and how often the bounds of the ECE miss."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats import calibration

RNG = np.random.default_rng(3)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.integers(1, 20))
def test_equal_mass_puts_equal_confidences_together_in_order(sure: list[float], bins: int) -> None:
    confidence = np.array(sure)
    index = calibration.by_mass(confidence, bins)
    assert index.max() < bins
    order = np.argsort(confidence, kind="stable")
    assert (np.diff(index[order]) >= 0).all()
    for value in set(sure):
        assert len(set(index[confidence == value])) == 1


def test_equal_mass_gives_bins_of_the_same_size() -> None:
    counts = np.bincount(calibration.by_mass(RNG.random(150), 15))
    assert counts.tolist() == [10] * 15


def test_the_error_is_the_weighted_gap_of_the_bins() -> None:
    sure, right = RNG.random(500), RNG.random(500) < 0.6
    index = calibration.by_mass(sure)
    expected = sum(
        abs(right[index == m].mean() - sure[index == m].mean()) * (index == m).mean() for m in set(index)
    )
    assert calibration.error(index, sure, right) == pytest.approx(expected)


def test_a_reliability_diagram_has_the_samples_of_each_bin() -> None:
    sure, right = np.array([0.05, 0.95, 1.0, 0.9]), np.array([False, True, True, False])
    low, middle, high = calibration.reliability(sure, right, bins=10)
    assert (low.low, low.high, low.count, low.confidence, low.accuracy) == (0, 0.1, 1, 0.05, 0)
    assert (middle.low, middle.count, middle.accuracy) == (0.8, 1, 0)
    assert (high.count, high.confidence, high.accuracy) == (2, pytest.approx(0.975), 1)


def test_nll_and_brier_by_hand_and_without_an_answer() -> None:
    p = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [math.nan] * 3])
    labels = np.array([0, 0, 1])
    of_label = p[np.arange(3), labels]
    worst = -math.log(calibration.LEAST_PROBABILITY)
    assert calibration.negative_log_likelihood(of_label) == pytest.approx([-math.log(0.7), worst, worst])
    assert calibration.brier(p, labels) == pytest.approx([0.3**2 + 0.2**2 + 0.1**2, 2, 2])


def test_the_bounds_of_an_ece_miss_in_about_one_of_twenty() -> None:
    """Answers that are right 10 points less often than they are sure: the ECE of many is 0.1."""
    rng, missed = np.random.default_rng(5), np.zeros(2)
    for _ in range(200):
        sure = rng.uniform(0.3, 1.0, 300)
        right = rng.random(300) < sure - 0.1
        one = calibration.error_interval(calibration.by_width(sure), sure, right)
        missed += [one.low > 0.1, one.high < 0.1]
    assert (missed / 200 < 0.09).all(), missed / 200


def test_a_calibrated_model_is_not_proved_to_be_anything_else() -> None:
    rng, alarms = np.random.default_rng(6), 0
    for _ in range(100):
        sure = rng.uniform(0.3, 1.0, 300)
        right = rng.random(300) < sure
        alarms += calibration.error_interval(calibration.by_width(sure), sure, right).low > 0
    assert alarms <= 9


def test_a_variant_that_is_too_sure_has_a_larger_ece_and_an_equal_one_none() -> None:
    sure = RNG.uniform(0.4, 0.9, 800)
    right = RNG.random(800) < sure
    one = (calibration.by_width(sure), sure, right)
    more = np.minimum(1.0, sure + 0.08)
    worse = calibration.error_increase(one, (calibration.by_width(more), more, right))
    assert worse.low > 0
    same = calibration.error_increase(one, one)
    assert (same.low, same.value, same.high) == (0, 0, 0)
