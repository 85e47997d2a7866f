"""Perplexities, quantiles and choices against plain numpy, and their intervals against what they cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.stats import tokens
from harness.stats.tokens import perplexity, perplexity_ratio, quantiles

_SIZES = np.array([3, 40, 7, 25, 12, 30, 5, 18, 22, 9])
DOCUMENT = np.repeat(np.arange(len(_SIZES)), _SIZES)


def _tokens(seed: int) -> NDArray[np.float64]:
    return -np.random.default_rng(seed).exponential(2.0, len(DOCUMENT))


def test_perplexity_is_exp_of_the_mean() -> None:
    values = _tokens(0)
    made = perplexity(values, DOCUMENT)
    assert made.value == pytest.approx(np.exp(-values.mean()), rel=1e-12)
    assert made.low < made.value < made.high
    assert made.n == len(values)


def test_the_ratio_is_that_of_the_perplexities_and_its_interval_is_paired() -> None:
    reference = _tokens(1)
    variant = reference - 0.01
    made = perplexity_ratio(reference, variant, DOCUMENT)
    wanted = perplexity(variant, DOCUMENT).value / perplexity(reference, DOCUMENT).value
    assert made.value == pytest.approx(wanted, rel=1e-12)
    # Every token is worse by the same: nothing varies.
    assert made.low == pytest.approx(math.exp(0.01), rel=1e-9)
    assert made.high == pytest.approx(math.exp(0.01), rel=1e-9)


def test_the_interval_is_over_documents() -> None:
    """One document that is worse makes an interval that tokens alone would not have."""
    reference = _tokens(2)
    variant = np.where(DOCUMENT == 1, reference - 1.0, reference)
    by_document = perplexity_ratio(reference, variant, DOCUMENT)
    by_token = perplexity_ratio(reference, variant, np.arange(len(reference)))
    assert by_document.low < by_token.low
    assert by_document.high - by_document.low > 2 * (by_token.high - by_token.low)


def test_a_token_of_probability_0_makes_the_perplexity_infinite() -> None:
    values = _tokens(3)
    values[5] = -np.inf
    assert perplexity(values, DOCUMENT).value == math.inf
    assert perplexity_ratio(_tokens(3), values, DOCUMENT).low == math.inf


def test_tokens_without_prediction_are_refused() -> None:
    values = _tokens(4)
    values[0] = np.nan
    with pytest.raises(DataError, match="not a finite number"):
        perplexity(values, DOCUMENT)
    with pytest.raises(DataError, match=f"1 of {len(values)} tokens have no value"):
        quantiles(values, DOCUMENT, [0.5])


@given(
    hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 10)),
    st.lists(st.floats(0.01, 0.999), min_size=1, max_size=4),
)
def test_quantiles_are_those_of_numpy(values: NDArray[np.float64], levels: list[float]) -> None:
    made = quantiles(values, np.zeros(len(values), np.int64), levels)
    assert [one.value for one in made] == np.quantile(values, levels, method="inverted_cdf").tolist()


def test_a_quantile_beyond_what_was_seen_has_no_upper_bound() -> None:
    values = -_tokens(5)
    middle, tail = quantiles(values, DOCUMENT, [0.5, 0.999])
    assert middle.low < middle.value < middle.high < math.inf
    assert tail.high == math.inf


def test_infinite_divergences_count_as_the_largest() -> None:
    values = -_tokens(6)
    values[:40] = np.inf
    middle, tail = quantiles(values, DOCUMENT, [0.5, 0.99])
    assert math.isfinite(middle.value)
    assert tail.value == math.inf


def test_quantile_intervals_cover(monkeypatch: pytest.MonkeyPatch) -> None:
    """The median of documents with a level of their own: 90 % of the intervals have it."""
    monkeypatch.setattr(tokens, "RESAMPLES", 200)
    random = np.random.default_rng(7)
    document = np.repeat(np.arange(40), 10)
    hits = 0
    for _ in range(150):
        values = random.normal(0, 1, 40)[document] + random.normal(0, 1, 400)
        (made,) = quantiles(values, document, [0.5], lowest=-math.inf)
        hits += made.low <= 0 <= made.high
    assert hits >= 120  # 135 are expected; with so many trials below 120 is 1 in 10,000
