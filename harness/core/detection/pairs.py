"""Boxes of two sides matched one to one, those that overlap most first; and a score of each sample."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.detection.boxes import Detections, overlap

#: Least intersection over union of a matched box.
LEAST = 0.5


def one_to_one(overlaps: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the column of each row, the largest overlaps first; -1 without one of at least `LEAST`.

    Parameters
    ----------
    overlaps : ndarray, shape (rows, columns)
    """
    columns = np.full(len(overlaps), -1, np.int64)
    rows, places = np.nonzero(overlaps >= LEAST)
    for pair in np.argsort(-overlaps[rows, places], kind="stable").tolist():
        if columns[rows[pair]] < 0 and places[pair] not in columns:
            columns[rows[pair]] = places[pair]
    return columns


def f1(
    detections: Detections, corners: NDArray[Any], classes: NDArray[Any], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the F1 of each sample: two times the matched boxes, over those of both sides; 1 without any.

    Parameters
    ----------
    detections : Detections
    corners : ndarray, shape (total, 4)
        Boxes of the other side, one sample after the other.
    classes : ndarray, shape (total,)
    counts : ndarray, shape (n,), int64
        Boxes of each sample of the other side.
    """
    starts = np.cumsum(counts) - counts
    scores = np.ones(len(counts))
    for sample, rows in enumerate(detections):
        others = slice(int(starts[sample]), int(starts[sample] + counts[sample]))
        both = (rows.stop - rows.start) + int(counts[sample])
        if both:
            shared = overlap(detections.corners[rows][:, None], corners[others][None])
            same = detections.classes[rows][:, None] == classes[others][None]
            scores[sample] = 2 * np.count_nonzero(one_to_one(np.where(same, shared, 0)) >= 0) / both
    return scores
