"""Box formats, overlap, and the rows of several samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.core.detection.boxes import FORMATS, Detections, overlap, to_corners

CORNERS = np.array([[10.0, 20, 50, 80], [0.0, 0, 4, 2]])


def as_format(corners: Any, order: Any) -> Any:
    x0, y0, x1, y1 = corners.T
    centre, size = ((x0 + x1) / 2, (y0 + y1) / 2), (x1 - x0, y1 - y0)
    columns = {
        "xyxy": (x0, y0, x1, y1), "yxyx": (y0, x0, y1, x1), "xywh": (x0, y0, *size),
        "cxcywh": (*centre, *size), "cycxhw": (*centre[::-1], *size[::-1]),
    }  # fmt: skip
    return np.stack(columns[order], axis=1)


@pytest.mark.parametrize("order", FORMATS)
def test_every_format_comes_back(order: Any) -> None:
    np.testing.assert_allclose(to_corners(as_format(CORNERS, order), order), CORNERS)


def test_overlap_of_known_boxes() -> None:
    one = np.array([0.0, 0, 10, 10])
    others = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [0, 0, 0, 0], [10, 10, 0, 0]])
    np.testing.assert_allclose(overlap(one, others), [1, 1 / 3, 0, 0, 0])
    assert overlap(one, np.array([np.nan, 0, 1, 1])) == 0
    assert overlap(one, np.array([-np.inf, 0, np.inf, 1])) == 0


def test_rows_of_samples_are_cut_and_joined() -> None:
    parts = [
        Detections(np.array([n]), np.full((n, 4), n), np.full(n, 0.5), np.full(n, n), np.array([0.5]))
        for n in (2, 0, 3)
    ]
    joined = Detections.of_samples(parts)
    assert joined.samples.tolist() == [0, 0, 2, 2, 2]
    assert [joined.classes[rows].tolist() for rows in joined] == [[2, 2], [], [3, 3, 3]]
    assert joined.head(2).classes.tolist() == [2, 2]
    chosen = joined.where(np.array([True, False, False, True, True]))
    assert chosen.counts.tolist() == [1, 0, 2]
    for most in (None, 9):
        again = Detections.from_rows(chosen.to_rows(most))
        assert again.samples.tolist() == [0, 2, 2]
        np.testing.assert_array_equal(again.corners, chosen.corners)
        assert again.classes.tolist() == chosen.classes.tolist()
        assert again.highest.tolist() == chosen.highest.tolist()
    assert Detections.from_rows(Detections.none(2).to_rows()).counts.tolist() == [0, 0]
    assert len(Detections.of_samples([])) == 0
