"""Columns of different scale count the same; columns of one scale, as before, as one."""

from __future__ import annotations

import numpy as np
import pytest

from harness.explain.layers.errors import compare
from harness.explain.scene.quantities import quantities, relative, weighted

RANDOM = np.random.default_rng(5)
BOXES, SCORES = RANDOM.uniform(0, 160, (6, 4, 50)), RANDOM.uniform(0, 0.5, (6, 10, 50))


def flat(y: np.ndarray) -> np.ndarray:
    return y.reshape(len(y), -1)


@pytest.mark.parametrize("axis", [1, 2])
def test_lost_scores_beside_boxes_in_pixels_are_seen(axis: int) -> None:
    """All scores 0: 0.2 % of the size of all numbers, and the whole of one of two quantities."""
    right, wrong = (np.concatenate([BOXES, scores], axis=1) for scores in (SCORES, 0 * SCORES))
    right, wrong = (np.moveaxis(y, 1, axis) for y in (right, wrong))
    groups = quantities([right])
    assert sorted(len(places) for places in groups) == [4 * 50, 10 * 50]
    assert compare(flat(right), flat(wrong)).relative < 0.01
    assert relative(flat(right), flat(wrong), groups) == pytest.approx(np.sqrt(0.5))
    apart = weighted(flat(right), flat(right), flat(wrong), groups)
    assert np.square(apart).sum() == pytest.approx(len(right))


def test_outputs_of_different_scale_are_quantities_and_those_of_one_scale_are_not() -> None:
    assert len(quantities([BOXES, SCORES])) == 2
    assert len(quantities([BOXES, BOXES * 3])) == 1
    assert np.array_equal(np.sort(np.concatenate(quantities([BOXES, SCORES]))), np.arange(14 * 50))


def test_columns_of_a_regression_are_quantities() -> None:
    columns = RANDOM.normal(0, 1, (40, 3)) * [1000.0, 20.0, 0.01]
    assert [places.tolist() for places in quantities([columns])] == [[2], [1], [0]]


@pytest.mark.parametrize(
    "y",
    [
        RANDOM.normal(0, 5, (40, 10)),
        RANDOM.dirichlet([1.0] * 9 + [1e-3], 40),
        np.maximum(RANDOM.normal(0, 1, (40, 64)), 0) * [1e-4, *[1.0] * 63],
        np.zeros((4, 3)),
        np.full((4, 3), np.nan),
    ],
    ids=["logits", "a class that never occurs", "a feature that is hardly used", "zeros", "nan"],
)
def test_columns_of_one_scale_are_compared_as_before(y: np.ndarray) -> None:
    groups = quantities([y])
    assert len(groups) == 1
    other = y + 0.1
    assert relative(y, other, groups) == compare(y, other).relative
    assert np.array_equal(weighted(y, y, other, groups), np.abs(np.where(np.isnan(y), 0.0, other - y)))
