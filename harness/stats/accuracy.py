"""What a model's outputs are worth: against labels, and against the outputs of a reference.

Scores are logits or probabilities, shape (n, classes). A row without a finite highest score (a NaN anywhere,
an overflow) holds no prediction: numpy's argmax would call a row of NaN class 0, and here it is -1, which is
always wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.core.errors import DataError
from harness.stats import calibration
from harness.stats.intervals import Interval, wilson

Scores = npt.NDArray[Any]
Labels = npt.NDArray[Any]

NO_PREDICTION = -1
# A quantized softmax has steps of 1/256, so its rows miss 1 by some of them.
_SUM_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class RegressionMetrics:
    """Errors of a regression, in the unit of the target; infinite where a prediction is not a finite number.

    Attributes
    ----------
    mae, rmse : float
        Mean absolute error and root mean square error.
    r2 : float
        Share of the target's variance explained; NaN where the target does not vary.
    n : int
        Samples.
    """

    mae: float
    rmse: float
    r2: float
    n: int


def predictions(scores: Scores) -> npt.NDArray[np.int64]:
    """Class of the highest score, the first of equals, shape (n,); -1 where a row holds no prediction."""
    _check_scores(scores)
    return np.where(_has_prediction(scores), scores.argmax(axis=1), NO_PREDICTION)


def right_answers(scores: Scores, labels: Labels, *, k: int = 1) -> npt.NDArray[np.bool_]:
    """Whether the label is among the k highest scores, shape (n,), bool; of equal scores the first wins.

    Parameters
    ----------
    scores : ndarray, shape (n, classes)
    labels : ndarray, shape (n,), integer
        Classes from 0.
    """
    _check_labels(scores, labels)
    column = labels.astype(np.int64)[:, None]
    of_label, earlier = np.take_along_axis(scores, column, axis=1), np.arange(scores.shape[1]) < column
    ahead = (scores > of_label) | ((scores == of_label) & earlier)
    right: npt.NDArray[np.bool_] = (np.count_nonzero(ahead, axis=1) < k) & _has_prediction(scores)
    return right


def top_k_accuracy(scores: Scores, labels: Labels, *, k: int = 1, alpha: float = 0.05) -> Interval:
    """Share of samples whose label is among the k highest scores, with Wilson's interval."""
    right = right_answers(scores, labels, k=k)
    return wilson(int(np.count_nonzero(right)), right.size, alpha=alpha)


def are_probabilities(scores: Scores) -> bool:
    """Whether each row with a prediction lies in [0, 1] and sums to 1 (±0.02, for a quantized softmax)."""
    _check_scores(scores)
    rows = scores[_has_prediction(scores)]
    if rows.shape[0] == 0:
        return False
    sums = rows.sum(axis=1, dtype=np.float64)
    return bool(rows.min() >= 0 and rows.max() <= 1 and np.abs(sums - 1).max() <= _SUM_TOLERANCE)


def expected_calibration_error(
    scores: Scores, labels: Labels, *, bins: int = 15, probabilities: bool | None = None
) -> float:
    """`calibration_error` of the highest scores.

    Parameters
    ----------
    probabilities : bool, optional
        Whether ``scores`` are probabilities or logits. To compare variants, pass what `are_probabilities`
        returns for the reference; by default it is applied to ``scores``.
    """
    right = right_answers(scores, labels)
    predicted = _has_prediction(scores)
    confidence = np.ones(right.size)
    top = scores[predicted].astype(np.float64)
    if not (are_probabilities(scores) if probabilities is None else probabilities):
        # The softmax of the highest score.
        confidence[predicted] = 1 / np.exp(top - top.max(axis=1, keepdims=True)).sum(axis=1)
    else:
        confidence[predicted] = top.max(axis=1)
    return calibration_error(confidence, right, bins=bins)


def calibration_error(
    confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_], *, bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over equal-width bins of confidence, as a fraction.

    sum over bins of (size / n) |accuracy - mean confidence|, bins ((m-1)/M, m/M]. A sample without a
    prediction counts as one that was wholly sure and wrong: left out, a broken variant would look well
    calibrated.

    Source: C. Guo, G. Pleiss, Y. Sun and K. Weinberger, "On calibration of modern neural networks", ICML
    2017, eq. 3.

    Parameters
    ----------
    confidence : ndarray, shape (n,), float64
        Probability of the class that is named; 1 where none is.
    right : ndarray, shape (n,), bool

    Returns
    -------
    float
        NaN of no samples.
    """
    return calibration.error(calibration.by_width(confidence, bins), confidence, right)


def sqnr_db(reference: npt.NDArray[Any], variant: npt.NDArray[Any]) -> float:
    """Signal to quantization noise ratio, 10 log10(sum r² / sum (r - v)²) in dB; inf if nothing differs.

    Elements that are the same NaN or infinity in both carry neither signal nor noise; one that is finite in
    only one of them makes it -inf.
    """
    noise = float(np.square(distance(reference, variant)).sum())
    finite = reference.astype(np.float64)[np.isfinite(reference)]
    signal = float(np.square(finite).sum())
    if noise == 0:
        return math.inf
    return 10 * (math.log10(signal) - math.log10(noise)) if signal and noise < math.inf else -math.inf


def max_abs_difference(reference: npt.NDArray[Any], variant: npt.NDArray[Any]) -> float:
    """Largest absolute difference of two elements; inf where only one is finite, 0 for empty arrays."""
    return float(distance(reference, variant).max(initial=0.0))


def bit_exact_rows(reference: npt.NDArray[Any], variant: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Whether each sample's outputs have the same bits, shape (n,), bool.

    Bits, not values: the same NaN is equal to itself, and -0.0 differs from 0.0.
    """
    _check_pair(reference, variant)
    if reference.dtype != variant.dtype:
        raise DataError(f"outputs of {reference.dtype} and {variant.dtype} cannot have the same bits")
    n = reference.shape[0]
    if reference.size == 0:
        return np.ones(n, dtype=np.bool_)
    left, right = (np.ascontiguousarray(a).reshape(n, -1).view(np.uint8) for a in (reference, variant))
    same: npt.NDArray[np.bool_] = (left == right).all(axis=1)
    return same


def bit_exact_share(
    reference: npt.NDArray[Any], variant: npt.NDArray[Any], *, alpha: float = 0.05
) -> Interval:
    """Share of samples whose outputs have the same bits, with Wilson's interval."""
    same = bit_exact_rows(reference, variant)
    return wilson(int(np.count_nonzero(same)), same.size, alpha=alpha)


def lsb_distance(
    reference: npt.NDArray[Any], variant: npt.NDArray[Any], scale: float | npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """Count the quantizer's steps between two dequantized outputs, rint(|r - v| / scale), by element.

    Parameters
    ----------
    reference, variant : ndarray, shape (n, ...)
    scale : float or ndarray
        Above zero; broadcast against the outputs where channels have scales of their own.

    Returns
    -------
    ndarray, float64
        Whole numbers; inf where only one of the two is finite.
    """
    if not np.all(np.asarray(scale) > 0):
        raise DataError("a quantization scale is not above zero")
    steps: npt.NDArray[np.float64] = np.rint(distance(reference, variant) / scale)
    return steps


def regression_metrics(targets: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> RegressionMetrics:
    """MAE, RMSE and R² over all samples and outputs.

    R² = 1 - sum (y - p)² / sum (y - mean y)², the mean of each output its own (scikit-learn's
    ``multioutput="variance_weighted"``).

    Parameters
    ----------
    targets, predicted : ndarray, shape (n, ...)
        Targets are finite.
    """
    _check_pair(targets, predicted)
    truth = targets.astype(np.float64)
    if not np.isfinite(truth).all():
        raise DataError("a target is not a finite number")
    if truth.size == 0:
        return RegressionMetrics(math.nan, math.nan, math.nan, truth.shape[0])
    error = distance(truth, predicted)
    residual, spread = float(np.square(error).sum()), float(np.square(truth - truth.mean(axis=0)).sum())
    r2 = 1 - residual / spread if spread > 0 else math.nan
    return RegressionMetrics(float(error.mean()), math.sqrt(residual / truth.size), r2, truth.shape[0])


def _has_prediction(scores: Scores) -> npt.NDArray[np.bool_]:
    # The maximum of a row with a NaN is NaN, so one test finds NaN, overflow and a row of -inf.
    finite: npt.NDArray[np.bool_] = np.isfinite(scores.max(axis=1))
    return finite


def distance(reference: npt.NDArray[Any], variant: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """|r - v| in float64; 0 for the same NaN or infinity, inf where the two cannot be subtracted."""
    _check_pair(reference, variant)
    left, right = reference.astype(np.float64), variant.astype(np.float64)
    both = np.isfinite(left) & np.isfinite(right)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    return np.where(same, 0.0, np.abs(np.subtract(left, right, where=both, out=np.full_like(left, np.inf))))


def _check_pair(reference: npt.NDArray[Any], variant: npt.NDArray[Any]) -> None:
    if reference.shape != variant.shape or reference.ndim == 0:
        raise DataError(f"outputs of shapes {reference.shape} and {variant.shape} cannot be compared")


def _check_scores(scores: Scores) -> None:
    if scores.ndim != 2 or scores.shape[1] == 0:
        raise DataError(
            f"scores have shape {scores.shape}, not (samples, classes)",
            cause="a classification needs one score a class",
        )


def _check_labels(scores: Scores, labels: Labels) -> None:
    _check_scores(scores)
    if labels.shape != scores.shape[:1] or labels.dtype.kind not in "iu":
        raise DataError(
            f"{scores.shape[0]} rows of scores, and labels of shape {labels.shape} and type {labels.dtype}",
            cause="labels are one whole number a sample",
        )
    if labels.size and (labels.min() < 0 or labels.max() >= scores.shape[1]):
        raise DataError(
            f"labels run from {labels.min()} to {labels.max()}, and the model has {scores.shape[1]} classes",
            cause="labels that start at 1, or another model's data",
        )
