"""Boxes lost, invented, moved and renamed are counted as what they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.core.detection.boxes import Detections
from harness.core.detection.truth import Objects, Placement, Truth, pack
from harness.core.errors import DataError
from harness.stats.box_agreement import agree, detected

A, B, C = [10.0, 10, 50, 50], [60.0, 60, 90, 90], [100.0, 10, 140, 50]


def boxes(*samples: Any) -> Any:
    """Samples as lists of (corners, class, score)."""
    return Detections.of_samples(
        [
            Detections(
                np.array([len(rows)]), np.array([r[0] for r in rows], float).reshape(-1, 4),
                np.array([r[2] for r in rows], float), np.array([r[1] for r in rows], np.int64),
                np.array([1.0]),
            )
            for rows in samples
        ]
    )  # fmt: skip


def test_equal_boxes_agree() -> None:
    one = boxes([(A, 0, 0.9), (B, 1, 0.5)], [], [(C, 2, 0.4)])
    got = agree(one, one, 0.25)
    assert got.same.all()
    assert got.close.all()
    assert not got.lost.any()
    assert got.invented.tolist() == [0, 0, 0]
    assert got.score_shift.tolist() == [0, 0, 0]
    assert got.sample.tolist() == [0, 0, 2]


def test_each_change_is_counted_once() -> None:
    reference = boxes([(A, 0, 0.9), (B, 1, 0.8), (C, 2, 0.7)], [(A, 0, 0.9)])
    moved = [10.0, 10, 50, 40]  # three quarters of A
    variant = boxes([(moved, 0, 0.8), (B, 0, 0.8)], [(A, 0, 0.9), (B, 1, 0.3), (C, 1, 0.1)])
    got = agree(variant, reference, 0.25)
    assert got.same.tolist() == [True, False, False, True]
    assert got.close.tolist() == [True, False, False, True]
    assert got.flipped.tolist() == [False, True, False, False]
    assert got.lost.tolist() == [False, False, True, False]
    assert got.invented.tolist() == [0, 1]
    np.testing.assert_allclose(got.score_shift, [-0.1, np.nan, np.nan, 0], atol=1e-12)
    half = agree(boxes([([10.0, 10, 50, 35], 0, 0.9)]), boxes([(A, 0, 0.9)]), 0.25)
    assert half.same.tolist() == [True]
    assert half.close.tolist() == [False]


def test_a_box_matches_one_box() -> None:
    got = agree(boxes([(A, 0, 0.9)]), boxes([(A, 0, 0.9), (A, 0, 0.8)]), 0.25)
    assert got.same.tolist() == [True, False]
    assert got.lost.tolist() == [False, True]
    back = agree(boxes([(A, 0, 0.9), (A, 0, 0.8)]), boxes([(A, 0, 0.9)]), 0.25)
    assert back.invented.tolist() == [1]


def test_other_samples_are_refused() -> None:
    with pytest.raises(DataError, match="boxes of 1 samples are compared with those of 2"):
        agree(boxes([]), boxes([], []), 0.25)


def test_objects_are_detected_by_class_place_and_score() -> None:
    truth = Truth(
        pack([(Placement(200, 100), Objects.of([0, 1, 2], [A, B, C])), (Placement(9, 9), Objects.of([], []))])
    )
    seen = boxes([(A, 0, 0.9), (B, 0, 0.9), (C, 2, 0.1)], [])
    assert detected(seen, truth, 3, 0.25).tolist() == [True, False, False]
