"""Numbers of tokens against scipy, and where logits are not finite."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp, rel_entr, softmax

from harness.core import token_numbers
from harness.core.errors import DataError
from harness.core.token_numbers import NO_TARGET, NO_TOKEN, reduce_pairs, reduce_tokens

_logits = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 7), st.integers(1, 9)), elements=st.floats(-60, 60, width=32)
)


def _targets(logits: NDArray[Any]) -> NDArray[np.int64]:
    return np.arange(len(logits)) % (logits.shape[1] + 1) - 1  # the first has none


@given(_logits)
def test_probabilities_are_those_of_scipy(logits: NDArray[np.float32]) -> None:
    targets = _targets(logits)
    numbers = reduce_tokens(logits, targets)
    wanted = log_softmax(logits.astype(np.float64), axis=1)
    assert (numbers["top"] == logits.argmax(axis=1)).all()
    np.testing.assert_allclose(numbers["top_log_probability"], wanted.max(axis=1), rtol=1e-9, atol=1e-9)
    has = targets != NO_TARGET
    of_target = wanted[np.arange(len(targets)), np.maximum(targets, 0)]
    np.testing.assert_allclose(numbers["log_probability"][has], of_target[has], rtol=1e-9, atol=1e-9)
    assert np.isnan(numbers["log_probability"][~has]).all()


@given(_logits, st.integers(0, 2**32 - 1))
def test_the_divergence_is_that_of_scipy(logits: NDArray[np.float32], seed: int) -> None:
    reference = logits + np.random.default_rng(seed).normal(0, 1, logits.shape).astype(np.float32)
    numbers = reduce_pairs(reference, logits, _targets(logits))
    p, q = (softmax(x.astype(np.float64), axis=1) for x in (reference, logits))
    np.testing.assert_allclose(numbers["divergence"], rel_entr(p, q).sum(axis=1), rtol=1e-9, atol=1e-9)
    for prefix, x in (("", logits), ("reference_", reference)):
        alone = reduce_tokens(x, _targets(x))
        for name, values in alone.items():
            np.testing.assert_array_equal(numbers[prefix + name], values)


@given(_logits)
def test_equal_logits_do_not_diverge(logits: NDArray[np.float32]) -> None:
    assert (reduce_pairs(logits, logits, _targets(logits))["divergence"] <= 1e-12).all()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    reference, logits = random.normal(0, 3, (2, 50, 33))
    targets = random.integers(-1, 33, 50)
    whole = reduce_pairs(reference, logits, targets)
    monkeypatch.setattr(token_numbers, "BLOCK_BYTE", 8 * 33 * 7)
    parts = reduce_pairs(reference, logits, targets)
    for name, values in whole.items():
        np.testing.assert_allclose(parts[name], values, rtol=1e-13, err_msg=name)


def test_a_small_divergence_is_not_lost_in_rounding() -> None:
    x = np.linspace(-5, 5, 1000)[None]
    step = 1e-5 * np.sin(np.arange(1000))
    p = softmax(x[0])
    # To second order the divergence is half the variance of the step.
    wanted = 0.5 * ((p * step**2).sum() - (p * step).sum() ** 2)
    (value,) = reduce_pairs(x, x + step, np.array([0]))["divergence"]
    assert value == pytest.approx(wanted, rel=1e-3)


def test_logits_that_are_not_finite_predict_nothing() -> None:
    logits = np.array([[0.0, np.nan, 1.0], [np.inf, 0.0, 0.0], [-np.inf] * 3, [0.0, -np.inf, 1.0]])
    finite = np.zeros((4, 3))
    numbers = reduce_pairs(finite, logits, np.zeros(4, np.int64))
    assert numbers["top"].tolist() == [NO_TOKEN, NO_TOKEN, NO_TOKEN, 2]
    assert np.isnan(numbers["log_probability"][:3]).all()
    assert np.isnan(numbers["divergence"][:3]).all()
    assert numbers["divergence"][3] == np.inf  # the reference gives the token a third


def test_a_token_that_both_exclude_counts_nothing() -> None:
    reference = np.array([[0.0, 1.0, -np.inf]])
    logits = np.array([[0.5, 1.0, -np.inf]])
    numbers = reduce_pairs(reference, logits, np.array([2]))
    p, q = softmax(reference[0, :2]), softmax(logits[0, :2])
    assert numbers["divergence"][0] == pytest.approx(rel_entr(p, q).sum(), abs=1e-12)
    assert numbers["log_probability"][0] == -np.inf


def test_one_that_the_reference_excludes_counts_nothing() -> None:
    reference, logits = np.array([[0.0, 1.0, -np.inf]]), np.array([[0.0, 1.0, 2.0]])
    (value,) = reduce_pairs(reference, logits, np.array([NO_TARGET]))["divergence"]
    assert value == pytest.approx(logsumexp(logits[0]) - logsumexp(reference[0]), abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8])
def test_any_real_dtype_is_taken(dtype: type) -> None:
    logits = np.array([[1, 5, 2]], dtype)
    assert reduce_tokens(logits, np.array([1]))["log_probability"][0] == pytest.approx(
        log_softmax(np.array([1.0, 5, 2]))[1]
    )


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match=r"the target 3 is beyond the vocabulary: .* tokens 0 to 2"):
        reduce_tokens(np.zeros((2, 3)), np.array([0, 3]))
    with pytest.raises(DataError, match=r"\[1\] targets do not fit logits of shape \[2, 3\]"):
        reduce_tokens(np.zeros((2, 3)), np.array([0]))
    with pytest.raises(DataError, match=r"shape \[2, 3\] do not fit the reference's, \[2, 4\]"):
        reduce_pairs(np.zeros((2, 4)), np.zeros((2, 3)), np.array([0, 1]))


def test_memory_does_not_grow_with_tokens() -> None:
    logits = np.zeros((2000, 1000), np.float32)
    tracemalloc.start()
    reduce_pairs(logits, logits, np.zeros(2000, np.int64))
    _, peak_byte = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_byte < logits.nbytes / 2
