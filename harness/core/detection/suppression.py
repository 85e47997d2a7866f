"""Non-maximum suppression class by class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.detection.boxes import overlap


def suppress(
    corners: NDArray[Any], scores: NDArray[Any], classes: NDArray[Any], *, iou: float, most: int
) -> NDArray[np.int64]:
    """Choose the best of boxes of one class that overlap.

    The box with the highest score is taken, and those of its class whose intersection over union with it
    is larger than `iou` are left out, until no box is left. Of equal scores the first comes first.

    Parameters
    ----------
    corners : ndarray, shape (n, 4)
        x0, y0, x1, y1.
    scores, classes : ndarray, shape (n,)
    iou : float
        At least 1: nothing is left out.
    most : int
        Boxes that are taken at most.

    Returns
    -------
    ndarray, shape (k,), int64
        Positions of the boxes that are taken, by descending score.
    """
    order = np.argsort(-scores, kind="stable")
    if iou >= 1:
        return order[:most]
    corners, classes = corners[order].astype(np.float64), classes[order]
    waiting = np.arange(len(order))
    taken: list[int] = []
    while len(waiting) and len(taken) < most:
        first, waiting = int(waiting[0]), waiting[1:]
        taken.append(first)
        rivals = overlap(corners[first], corners[waiting]) > iou
        waiting = waiting[~(rivals & (classes[waiting] == classes[first]))]
    return order[np.asarray(taken, np.int64)]
