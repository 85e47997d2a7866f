"""The rank correlation of similarities against scipy, and its interval."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from harness.stats import similarity
from harness.stats.similarity import rank_correlation


def directions(seed: int, count: int, noise: float = 0.0) -> NDArray[np.float64]:
    y = np.random.default_rng(0).normal(size=(count, 5))
    y += noise * np.random.default_rng(seed).normal(size=y.shape)
    unit: NDArray[np.float64] = y / np.linalg.norm(y, axis=1, keepdims=True)
    return unit


def test_all_pairs_are_compared() -> None:
    one, other = directions(1, 40), directions(2, 40, noise=0.5)
    pairs = np.triu_indices(40, 1)
    made = rank_correlation(one, other)
    assert made.value == pytest.approx(spearmanr((one @ one.T)[pairs], (other @ other.T)[pairs])[0], abs=1e-9)
    assert made.low < made.value < made.high <= 1
    assert made.n == 40


def test_the_same_vectors_have_the_same_order() -> None:
    y = directions(1, 30)
    assert rank_correlation(y, y).low == pytest.approx(1)


def test_of_many_samples_some_pairs_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = directions(1, 120), directions(2, 120, noise=0.3)
    exact = rank_correlation(one, other)
    monkeypatch.setattr(similarity, "MOST_PAIRS", 3000)
    assert rank_correlation(one, other).value == pytest.approx(exact.value, abs=0.05)


def test_the_interval_covers() -> None:
    """Samples of a large set: most intervals have the correlation of the whole set."""
    one, other = directions(1, 2000), directions(2, 2000, noise=0.5)
    whole = rank_correlation(one, other).value
    random = np.random.default_rng(3)
    hits = 0
    for _ in range(60):
        chosen = random.choice(2000, 60, replace=False)
        made = rank_correlation(one[chosen], other[chosen])
        hits += made.low <= whole <= made.high
    assert hits >= 46  # 54 are expected; with so many trials fewer than 46 is 1 in 1,000
