"""How well the boundaries of masks agree, image by image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.confusion import IGNORED

#: Boundaries may lie apart by so much of an image's diagonal.
TOLERANCE = 0.0075


def boundary_f(predicted: NDArray[Any], truth: NDArray[Any], classes: int) -> NDArray[np.float64]:
    """Return the boundary F-score of each image: the mean over classes that are there or predicted.

    Of a class, the precision is the share of pixels of its predicted boundary that lie within the tolerance
    of a true one, the recall the share the other way round. A boundary is where a pixel has a neighbour of
    another class. `TOLERANCE` of the diagonal is at least one pixel.

    Source: G. Csurka, D. Larlus and F. Perronnin, "What is a good evaluation measure for semantic
    segmentation?", BMVC 2013, section 3.

    Parameters
    ----------
    predicted, truth : ndarray, shape (n, height, width), integer
        Ignored pixels of the truth have no boundary, and hide that of the prediction.
    classes : int

    Returns
    -------
    ndarray, shape (n,)
        NaN where an image has no boundary at all, of the truth or predicted.
    """
    reach = max(1.0, TOLERANCE * math.hypot(*truth.shape[1:]))
    pairs = zip(predicted, truth, strict=True)
    return np.array([_of_image(*pair, classes, reach) for pair in pairs])


def _of_image(predicted: NDArray[Any], truth: NDArray[Any], classes: int, reach: float) -> float:
    from scipy.ndimage import distance_transform_edt

    counted = truth != IGNORED
    scores = []
    for label in range(classes):
        sides = [_boundary(mask == label) & counted for mask in (predicted, truth)]
        if not any(side.any() for side in sides):
            continue
        if not all(side.any() for side in sides):
            scores.append(0.0)
            continue
        near = [distance_transform_edt(~side) <= reach for side in sides]
        precision, recall = near[1][sides[0]].mean(), near[0][sides[1]].mean()
        scores.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return float(np.mean(scores)) if scores else math.nan


def _boundary(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of a mask with a neighbour, above, below or beside, outside it."""
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    edge: NDArray[np.bool_] = mask & ~inner
    return edge
