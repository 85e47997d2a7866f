"""The worst of several means: its level over all of them, and what it names."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats import paired
from harness.stats.intervals import Interval
from harness.stats.worst import mean_interval, worst_column, worst_of

RNG = np.random.default_rng(0)


def test_the_level_is_shared_at_one_end_only() -> None:
    asked: list[tuple[int, float]] = []

    def interval(place: int, alpha: float) -> Interval:
        asked.append((place, alpha))
        half = 1 / alpha
        return Interval(float(place), place - half, place + half, 9)

    worst = worst_of(interval, 4, lower_is_better=True)
    assert (worst.place, worst.bounding) == (3, 3)
    assert worst.interval == Interval(3.0, 3 - 80.0, 3 + 20.0, 9)
    best_is_high = worst_of(interval, 4, lower_is_better=False)
    assert best_is_high.place == 0
    assert best_is_high.interval == Interval(0.0, -20.0, 80.0, 9)
    assert {alpha for _, alpha in asked} == {0.05, 0.0125}


def test_losses_have_tangos_interval() -> None:
    columns = [np.array([0.0] * 90 + [100.0] * 10), np.array([0.0] * 97 + [-100.0] * 3)]
    worst = worst_column(columns, unit="pt", lower_is_better=True, reach=100)
    assert worst.place == 0
    assert worst.interval.low == 100 * paired.tango(0, 10, 100, alpha=0.025).low
    assert worst.interval.high == 100 * paired.tango(0, 10, 100).high


@pytest.mark.parametrize("k", [1, 12])
def test_no_loss_anywhere_is_called_one_in_at_most_five_percent(k: int) -> None:
    """Simulated: k columns without any loss in truth, judged at a limit of 0."""
    wrong = 0
    for _ in range(400):
        signs = RNG.choice([-100.0, 0.0, 100.0], p=[0.05, 0.9, 0.05], size=(k, 200))
        wrong += worst_column(list(signs), unit="pt", lower_is_better=True, reach=100).interval.low > 0
    assert wrong / 400 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def test_other_values_have_an_interval_at_any_level() -> None:
    values = RNG.normal(size=50)
    wide, narrow = (mean_interval(values, alpha=alpha, unit="1") for alpha in (0.001, 0.05))
    assert wide.low < narrow.low < values.mean() < narrow.high < wide.high
