from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.special import softmax
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error, top_k_accuracy_score

from harness.core.errors import DataError
from harness.stats import accuracy
from harness.stats.intervals import wilson

quick = settings(deadline=None, max_examples=60)
outputs = npst.arrays(
    np.float32,
    npst.array_shapes(min_dims=1, max_dims=3, max_side=8),
    elements=st.floats(-1e6, 1e6, width=32),
)
NAN = float("nan")


def random_scores(seed: int, n: int = 400, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 2, (n, classes)).astype(np.float32), rng.integers(0, classes, n)


def naive_ece(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Guo 2017, equation 3, one sample at a time."""
    members: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for row, label in zip(probabilities, labels, strict=True):
        confidence = float(row.max())
        for m in range(bins):
            if m / bins < confidence <= (m + 1) / bins:
                members[m].append((confidence, bool(row.argmax() == label)))
    gaps = [abs(sum(hit for _, hit in m) - sum(sure for sure, _ in m)) for m in members if m]
    return sum(gaps) / len(labels)


def test_nan_is_no_class() -> None:
    scores = np.array([[NAN, NAN], [1.0, NAN], [NAN, 2.0], [0.0, 1.0], [math.inf, 0.0], [-math.inf, 0.0]])
    assert accuracy.predictions(scores).tolist() == [-1, -1, -1, 1, -1, 1]
    zeros = np.zeros(6, dtype=np.int64)
    assert not accuracy.right_answers(scores, zeros)[:5].any()
    assert not accuracy.right_answers(scores, zeros, k=2)[:3].any()


def test_a_model_that_returns_nan_scores_zero_though_argmax_is_the_label() -> None:
    scores = np.full((50, 10), NAN, dtype=np.float32)
    assert scores.argmax(axis=1).tolist() == [0] * 50
    assert accuracy.top_k_accuracy(scores, np.zeros(50, dtype=np.int64)) == wilson(0, 50)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_top_k_agrees_with_scikit_learn(k: int) -> None:
    scores, labels = random_scores(1)
    expected = top_k_accuracy_score(labels, scores, k=k, labels=np.arange(10))
    got = accuracy.top_k_accuracy(scores, labels, k=k)
    assert got.value == pytest.approx(expected)
    assert got.low < got.value < got.high


@quick
@given(npst.arrays(np.int8, st.tuples(st.integers(0, 30), st.integers(1, 5)), elements=st.integers(-2, 2)))
def test_top_1_breaks_ties_as_the_prediction_does(scores: np.ndarray) -> None:
    predicted = accuracy.predictions(scores)
    assert predicted.tolist() == scores.argmax(axis=1).tolist()
    for label in range(scores.shape[1]):
        labels = np.full(scores.shape[0], label)
        right = accuracy.right_answers(scores, labels)
        assert right.tolist() == (predicted == label).tolist()
        assert accuracy.right_answers(scores, labels, k=scores.shape[1]).all()


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        (np.zeros((3, 2)), np.array([0, 1, 2])),
        (np.zeros((3, 2)), np.array([0, -1, 1])),
        (np.zeros((3, 2)), np.array([0, 1])),
        (np.zeros((3, 2)), np.array([0.0, 1.0, 1.0])),
        (np.zeros(3), np.array([0, 0, 0])),
        (np.zeros((3, 0)), np.array([0, 0, 0])),
    ],
)
def test_labels_that_do_not_fit_are_refused(scores: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(DataError):
        accuracy.right_answers(scores, labels)


def test_nothing_measured_is_no_accuracy() -> None:
    empty, labels = np.empty((0, 10)), np.empty(0, dtype=np.uint8)
    assert math.isnan(accuracy.top_k_accuracy(empty, labels).value)
    assert math.isnan(accuracy.expected_calibration_error(empty, labels))
    assert accuracy.predictions(empty).size == 0
    assert not accuracy.are_probabilities(empty)


def test_probabilities_are_distinguished_from_logits() -> None:
    logits, _ = random_scores(2)
    p = softmax(logits, axis=1)
    assert accuracy.are_probabilities(p)
    assert accuracy.are_probabilities(np.rint(p * 256) / 256)  # a quantized softmax
    assert not accuracy.are_probabilities(logits)
    assert not accuracy.are_probabilities(p * 2)
    broken = p.copy()
    broken[3] = NAN
    assert accuracy.are_probabilities(broken)


def test_ece_agrees_with_its_definition() -> None:
    logits, labels = random_scores(3)
    labels[:200] = logits[:200].argmax(axis=1)
    p = softmax(logits.astype(np.float64), axis=1)
    expected = naive_ece(p, labels)
    assert expected > 0.05
    assert accuracy.expected_calibration_error(logits, labels) == pytest.approx(expected, abs=1e-12)
    assert accuracy.expected_calibration_error(p, labels) == pytest.approx(expected, abs=1e-12)
    forced = accuracy.expected_calibration_error(p, labels, probabilities=False)
    assert forced != pytest.approx(expected, abs=0.01)


def test_a_bin_of_ece_includes_its_upper_edge() -> None:
    p = np.array([[0.6, 0.4], [0.59, 0.41]])  # 0.6 is 9/15: both lie in (8/15, 9/15]
    got = accuracy.expected_calibration_error(p, np.array([0, 1]))
    assert got == pytest.approx(abs(1 - 0.6 - 0.59) / 2)


def test_ece_of_a_calibrated_model_is_small_and_of_a_sure_and_wrong_one_is_1() -> None:
    rng = np.random.default_rng(4)
    p = softmax(rng.normal(0, 2, (20_000, 4)), axis=1)
    labels = (rng.random((20_000, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(max=3)
    assert accuracy.expected_calibration_error(p, labels) < 0.02
    sure = np.tile([1e4, 0.0], (10, 1))
    assert accuracy.expected_calibration_error(sure, np.ones(10, dtype=np.int64)) == 1
    assert accuracy.expected_calibration_error(sure, np.zeros(10, dtype=np.int64)) == 0
    assert accuracy.expected_calibration_error(np.full((5, 3), NAN), np.zeros(5, dtype=np.int64)) == 1


@quick
@given(outputs, st.floats(0.001, 1000))
def test_sqnr_of_a_scaled_error(reference: np.ndarray, factor: float) -> None:
    reference = reference.astype(np.float64)
    assert accuracy.sqnr_db(reference, reference) == math.inf
    noise = np.linspace(1, 2, reference.size).reshape(reference.shape)
    once, scaled = (accuracy.sqnr_db(reference, reference + f * noise) for f in (1.0, factor))
    if np.square(reference).sum() > 1e-6:
        assert once - scaled == pytest.approx(20 * math.log10(factor), abs=1e-3)


def test_sqnr_known_and_broken() -> None:
    ones = np.ones((4, 5), dtype=np.float32)
    assert accuracy.sqnr_db(ones, ones * np.float32(1.5)) == pytest.approx(20 * math.log10(2))
    assert accuracy.sqnr_db(ones * 0, ones) == -math.inf
    broken = ones.copy()
    broken[0, 0] = NAN
    assert accuracy.sqnr_db(ones, broken) == -math.inf
    assert accuracy.sqnr_db(broken, broken) == math.inf
    assert accuracy.sqnr_db(broken, np.where(np.isnan(broken), broken, 0.5)) == pytest.approx(
        20 * math.log10(2)
    )


@quick
@given(outputs)
def test_max_difference_is_numpys(reference: np.ndarray) -> None:
    variant = reference[::-1]
    expected = np.abs(reference.astype(np.float64) - variant.astype(np.float64)).max()
    assert accuracy.max_abs_difference(reference, variant) == expected


def test_max_difference_does_not_hide_what_is_not_finite() -> None:
    values = np.array([1.0, 2.0], dtype=np.float32)
    for bad in (NAN, math.inf, -math.inf):
        broken = np.array([1.0, bad], dtype=np.float32)
        assert accuracy.max_abs_difference(values, broken) == math.inf
        assert accuracy.max_abs_difference(broken, broken) == 0
    opposite = np.array([math.inf]), np.array([-math.inf])
    assert accuracy.max_abs_difference(*opposite) == math.inf
    assert accuracy.max_abs_difference(np.empty((0, 3)), np.empty((0, 3))) == 0
    assert accuracy.max_abs_difference(np.array([255], np.uint8), np.array([0], np.uint8)) == 255


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.bool_])
def test_bit_exact_share_counts_rows(dtype: type) -> None:
    reference = np.random.default_rng(5).integers(0, 2, (20, 3, 4)).astype(dtype)
    variant = reference.copy()
    variant.view(np.uint8).reshape(20, -1)[[2, 7], 5] ^= 1
    assert accuracy.bit_exact_share(reference, variant) == wilson(18, 20)
    assert np.flatnonzero(~accuracy.bit_exact_rows(reference, variant)).tolist() == [2, 7]


def test_bits_not_values() -> None:
    nan, zero = np.array([[NAN, 1.0]]), np.array([[0.0]])
    assert accuracy.bit_exact_rows(nan, nan.copy()).all()
    assert not accuracy.bit_exact_rows(zero, -zero).any()
    assert accuracy.bit_exact_rows(np.asfortranarray(np.eye(3)), np.eye(3)).all()
    assert math.isnan(accuracy.bit_exact_share(np.empty((0, 2)), np.empty((0, 2))).value)
    with pytest.raises(DataError, match="bits"):
        accuracy.bit_exact_rows(zero, zero.astype(np.float32))
    with pytest.raises(DataError, match="shapes"):
        accuracy.bit_exact_rows(zero, nan)


@quick
@given(
    npst.arrays(np.int8, (6, 4)),
    npst.arrays(np.int8, (6, 4)),
    npst.arrays(np.float32, 4, elements=st.floats(2**-10, 100, width=32)),
)
def test_lsb_distance_counts_steps(left: np.ndarray, right: np.ndarray, scale: np.ndarray) -> None:
    got = accuracy.lsb_distance(left * scale, right * scale, scale)
    assert got.tolist() == np.abs(left.astype(int) - right).tolist()


def test_lsb_distance_of_what_is_not_finite() -> None:
    got = accuracy.lsb_distance(np.array([NAN, NAN, 1.0]), np.array([NAN, 1.0, 1.26]), 0.5)
    assert got.tolist() == [0, math.inf, 1]
    with pytest.raises(DataError, match="scale"):
        accuracy.lsb_distance(np.zeros(3), np.zeros(3), 0.0)


@pytest.mark.parametrize("shape", [(80,), (80, 3)])
def test_regression_agrees_with_scikit_learn(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(6)
    truth = rng.normal(3, 2, shape)
    predicted = truth + rng.normal(0, 0.5, shape)
    got = accuracy.regression_metrics(truth, predicted)
    assert got.mae == pytest.approx(mean_absolute_error(truth, predicted))
    assert got.rmse == pytest.approx(root_mean_squared_error(truth.ravel(), predicted.ravel()))
    assert got.r2 == pytest.approx(r2_score(truth, predicted, multioutput="variance_weighted"))
    assert got.n == 80


def test_regression_at_its_edges() -> None:
    broken = accuracy.regression_metrics(np.array([1.0, 2.0]), np.array([1.0, NAN]))
    assert (broken.mae, broken.rmse, broken.r2) == (math.inf, math.inf, -math.inf)
    assert math.isnan(accuracy.regression_metrics(np.array([2.0]), np.array([1.0])).r2)
    assert math.isnan(accuracy.regression_metrics(np.empty(0), np.empty(0)).mae)
    with pytest.raises(DataError, match="target"):
        accuracy.regression_metrics(np.array([NAN]), np.array([1.0]))


@pytest.mark.parametrize("alpha", [0.01, 0.2])
def test_alpha_reaches_the_intervals_of_shares(alpha: float) -> None:
    scores, labels = random_scores(7, n=50)
    right = int(accuracy.right_answers(scores, labels, k=3).sum())
    assert accuracy.top_k_accuracy(scores, labels, k=3, alpha=alpha) == wilson(right, 50, alpha=alpha)
    ones, other = np.ones((10, 2)), np.ones((10, 2))
    other[:3] = 2
    assert accuracy.bit_exact_share(ones, other, alpha=alpha) == wilson(7, 10, alpha=alpha)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([0.519, 0.5], True),  # misses 1 by less than 0.02, as a quantized softmax may
        ([0.521, 0.5], False),
        ([0.481, 0.5], True),
        ([0.479, 0.5], False),
        ([1.0, 0.0], True),
        ([1.01, 0.0], False),  # above 1
        ([1.0, -0.01], False),  # below 0
    ],
)
def test_what_is_a_probability(row: list[float], expected: bool) -> None:
    assert accuracy.are_probabilities(np.array([[0.5, 0.5], row])) is expected


@pytest.mark.parametrize("bins", [1, 4, 20])
def test_ece_in_so_many_bins(bins: int) -> None:
    logits, labels = random_scores(8)
    labels[:150] = logits[:150].argmax(axis=1)
    p = softmax(logits.astype(np.float64), axis=1)
    expected = naive_ece(p, labels, bins)
    assert accuracy.expected_calibration_error(p, labels, bins=bins) == pytest.approx(expected, abs=1e-12)


def test_calibration_error_of_the_lowest_and_the_highest_confidence() -> None:
    # Confidence 0 belongs to the first bin, 1 to the last; each is judged apart from the other.
    confidence, right = np.array([0.0, 0.0, 1.0, 1.0]), np.array([True, False, True, False])
    assert accuracy.calibration_error(confidence, right, bins=2) == pytest.approx((1 + 1) / 4)
