"""IoU, pixels and boundaries against scikit-learn and numpy by hand; bounds against drawn sets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score

from harness.core import confusion
from harness.stats import overlap
from harness.stats.boundaries import boundary_f

CLASSES = 4


def masks(seed: int, n: int = 5, size: int = 9) -> tuple[NDArray[Any], NDArray[Any]]:
    """Masks of blocks, predictions with some wrong pixels, and pixels that do not count."""
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.integers(0, CLASSES, (n, 3, 3)), np.ones((1, size // 3, size // 3), int))
    predicted = np.where(rng.random(truth.shape) < 0.25, rng.integers(-1, CLASSES, truth.shape), truth)
    return predicted, np.where(rng.random(truth.shape) < 0.1, confusion.IGNORED, truth)


@given(st.integers(0, 1000))
def test_figures_are_those_of_scikit_learn(seed: int) -> None:
    predicted, truth = masks(seed)
    counted = truth != confusion.IGNORED
    matrices = confusion.confusions(predicted, truth, CLASSES)
    flat = truth[counted], predicted[counted]
    answered = flat[1] >= 0
    expected = confusion_matrix(flat[0][answered], flat[1][answered], labels=range(CLASSES))
    np.testing.assert_array_equal(matrices.sum(axis=0)[:, :CLASSES], expected)
    assert matrices[..., CLASSES].sum() == (~answered).sum()
    total = matrices.sum(axis=0)
    there = sorted({*flat[0].tolist(), *flat[1][answered].tolist()})
    by_class = jaccard_score(*flat, labels=there, average=None, zero_division=0)
    np.testing.assert_allclose(confusion.iou(total)[there], by_class, atol=1e-12)
    assert confusion.mean_iou(total) == pytest.approx(by_class.mean(), abs=1e-12)
    assert confusion.pixel_accuracy(total) == pytest.approx(accuracy_score(*flat), abs=1e-12)
    assert overlap.linear_values(matrices).mean() == pytest.approx(by_class.mean(), abs=1e-12)


def test_a_class_that_is_neither_there_nor_predicted_has_no_iou() -> None:
    truth = np.zeros((2, 3, 3), int)
    matrices = confusion.confusions(truth, truth, CLASSES)
    assert np.isnan(confusion.iou(matrices.sum(axis=0))).tolist() == [False, True, True, True]
    assert confusion.mean_iou(matrices.sum(axis=0)) == 1.0
    assert np.isnan(confusion.mean_iou(np.zeros((CLASSES, CLASSES + 1))))


def test_a_bound_is_that_of_sets_that_are_drawn_one_by_one() -> None:
    predicted, truth = masks(3, n=40)
    matrices = confusion.confusions(predicted, truth, CLASSES)
    sets = overlap.drawn(matrices)
    interval = overlap.bound(confusion.mean_iou, sets)
    rng = np.random.default_rng(0)
    values = [confusion.mean_iou(matrices[rng.integers(0, 40, 40)].sum(axis=0)) for _ in range(1000)]
    z2 = 1.6448536269514722**2
    least = z2 / (40 + z2)
    low, high = np.quantile(values, [0.05, 0.95])
    assert interval.value == confusion.mean_iou(matrices.sum(axis=0))
    assert interval.low == pytest.approx(min(low, interval.value - least), abs=5e-3)
    assert interval.high == pytest.approx(max(high, interval.value + least), abs=5e-3)
    same = overlap.bound(confusion.mean_iou, sets, overlap.drawn(matrices))
    assert (same.value, same.low, same.high) == (0.0, pytest.approx(-least), pytest.approx(least))


def test_a_loss_draws_the_same_images_on_both_sides() -> None:
    predicted, truth = masks(7, n=300)
    worse = predicted.copy()
    worse[:, 0, 0] = 0
    before, after = (overlap.drawn(confusion.confusions(y, truth, CLASSES)) for y in (predicted, worse))
    loss = overlap.bound(confusion.mean_iou, after, before)
    alone = overlap.bound(confusion.mean_iou, after)
    assert loss.value == pytest.approx(
        float(confusion.mean_iou(before.totals[0]) - confusion.mean_iou(after.totals[0]))
    )
    paired = confusion.mean_iou(before.totals[1:]) - confusion.mean_iou(after.totals[1:])
    apart = confusion.mean_iou(before.totals[1:]) - confusion.mean_iou(after.totals[1:][::-1])
    assert paired.std() < apart.std() / 2
    assert alone.low < alone.value < alone.high


def distances(boundary: NDArray[np.bool_]) -> NDArray[np.float64]:
    """To the nearest pixel of a boundary, pair by pair."""
    rows, columns = np.indices(boundary.shape)
    places = np.argwhere(boundary)
    return np.sqrt(
        np.min([(rows - y) ** 2 + (columns - x) ** 2 for y, x in places], axis=0, initial=10**9).astype(float)
    )


@given(st.integers(0, 300))
def test_boundaries_are_matched_within_a_pixel(seed: int) -> None:
    predicted, truth = masks(seed, n=2)
    scores = boundary_f(predicted, truth, CLASSES)
    for image in range(2):
        expected = []
        for label in range(CLASSES):
            edges = []
            for mask in (predicted[image] == label, truth[image] == label):
                padded = np.pad(mask, 1, constant_values=True)
                inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
                edges.append(mask & ~inner & (truth[image] != confusion.IGNORED))
            if not edges[0].any() and not edges[1].any():
                continue
            if not edges[0].any() or not edges[1].any():
                expected.append(0.0)
                continue
            precision = (distances(edges[1]) <= 1)[edges[0]].mean()
            recall = (distances(edges[0]) <= 1)[edges[1]].mean()
            expected.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
        assert scores[image] == pytest.approx(np.mean(expected), abs=1e-12)


def test_a_boundary_that_is_moved_by_a_pixel_is_the_same_and_by_three_is_not() -> None:
    truth = np.zeros((1, 40, 40), int)
    truth[0, 10:30, 10:30] = 1
    moved = [np.roll(truth, shift, axis=2) for shift in (1, 3)]
    assert boundary_f(moved[0], truth, 2)[0] == 1.0
    assert boundary_f(moved[1], truth, 2)[0] < 0.8
    assert np.isnan(boundary_f(np.zeros_like(truth), np.zeros_like(truth), 2)[0])
