"""Non-maximum suppression class by class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


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
    ordered = corners[order].astype(np.float64)
    # Boxes of each class in a plane of their own: so those of two classes never overlap.
    planes = np.unique(classes[order], return_inverse=True)[1].reshape(-1)
    reach = float(np.ptp(ordered)) + 1 if len(order) else 1.0
    x0, y0, x1, y1 = (ordered + (planes * reach)[:, None]).T
    area = np.clip(x1 - x0, 0, None) * np.clip(y1 - y0, 0, None)
    waiting = np.arange(len(order))
    taken: list[int] = []
    while len(waiting) and len(taken) < most:
        first, waiting = int(waiting[0]), waiting[1:]
        taken.append(first)
        width = np.minimum(x1[first], x1[waiting]) - np.maximum(x0[first], x0[waiting])
        height = np.minimum(y1[first], y1[waiting]) - np.maximum(y0[first], y0[waiting])
        both = np.where((width > 0) & (height > 0), width * height, 0.0)
        waiting = waiting[both <= iou * (area[first] + area[waiting] - both)]
    return order[np.asarray(taken, np.int64)]
