"""Which detections match which objects, by the rules of COCO: class by class, greedily by descending score.

The metrics themselves are a library's (`harness.stats.coco_metrics`); these matches are what a bootstrap over
images accumulates again and again. Source: the function ``evaluateImg`` of pycocotools 2.0.11.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.core.detection.boxes import Detections
from harness.core.detection.truth import Truth

#: Least intersection over union of a match.
THRESHOLDS = np.linspace(0.5, 0.95, 10)
#: Detections of one class in one image that count, those with the highest scores.
MOST = 100


@dataclass(frozen=True, slots=True)
class Matches:
    """Matches of all images.

    Parameters
    ----------
    images, classes : int
    image, class_ : ndarray, shape (d,), int64
        Image and class of each detection, sorted by class, then by descending score.
    order : ndarray, shape (d,), int64
        Position of each among the detections that were given.
    object_at : ndarray, shape (thresholds, d), int64
        Object that each matches at each of `THRESHOLDS`; -1: none.
    ignored : ndarray, shape (thresholds, d), bool
        It matches a crowd, and does not count.
    objects : ndarray, shape (images, classes), int64
        Objects that count.
    """

    images: int
    classes: int
    image: NDArray[np.int64]
    class_: NDArray[np.int64]
    order: NDArray[np.int64]
    object_at: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    objects: NDArray[np.int64]

    @property
    def right(self) -> NDArray[np.bool_]:
        """True positives, shape (thresholds, d)."""
        hits: NDArray[np.bool_] = (self.object_at >= 0) & ~self.ignored
        return hits


def match(detections: Detections, truth: Truth, classes: int) -> Matches:
    """Match detections with objects.

    Parameters
    ----------
    detections : Detections
        In pixels of the images.
    truth : Truth
        Of as many images.
    classes : int
        Number of classes; detections of others are left out.
    """
    image, class_ = detections.samples, detections.classes
    used = np.flatnonzero(class_ < classes)
    by_image = np.lexsort((-detections.scores[used], class_[used], image[used]))
    used = used[by_image[_rank(image[used][by_image] * classes + class_[used][by_image]) < MOST]]
    # Stable: of equal scores of a class the first image comes first, and in an image the first detection.
    order = used[np.lexsort((-detections.scores[used], class_[used]))]
    objects = truth.objects
    of_object = truth.samples * classes + objects[:, 0].astype(np.int64)
    of_detection = image[order] * classes + class_[order]
    object_at = np.full((len(THRESHOLDS), len(order)), -1, np.int64)
    ignored = np.zeros(object_at.shape, bool)
    detection, target, overlap = _pairs(
        _extents(detections.corners[order]),
        of_detection,
        _extents(objects[:, 2:6]),
        of_object,
        objects[:, 7] > 0,
    )
    crowd, taken = objects[:, 7] > 0, np.zeros((len(THRESHOLDS), len(objects)), bool)
    for chosen in _rounds(of_detection[detection], detection):
        pair_of, goal = detection[chosen], target[chosen]
        fits = overlap[chosen] >= np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
        free = fits & (~taken[:, goal] | crowd[goal])
        starts = np.flatnonzero(np.r_[True, pair_of[1:] != pair_of[:-1]])
        best = _last(free & ~crowd[goal], starts)
        second = _last(free & crowd[goal], starts)
        picked = np.where(best >= 0, best, second)
        level, place = np.nonzero(picked >= 0)
        pair = picked[level, place]
        object_at[level, pair_of[pair]] = goal[pair]
        ignored[level, pair_of[pair]] = crowd[goal[pair]]
        taken[level, goal[pair]] = True
    counted = np.bincount(of_object[~crowd], minlength=len(truth) * classes).reshape(len(truth), classes)
    return Matches(
        len(truth), classes, image[order], class_[order], order, object_at, ignored, counted.astype(np.int64)
    )


def _rank(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place of each element in its run of equal keys."""
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]]) if len(keys) else np.zeros(0, np.int64)
    lengths = np.diff(np.r_[starts, len(keys)])
    return np.arange(len(keys)) - np.repeat(starts, lengths)


def _extents(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x, y, width and height, as COCO stores boxes: the overlap rounds as the library's does."""
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)


def _pairs(
    boxes: NDArray[np.float64],
    of_box: NDArray[np.int64],
    targets: NDArray[np.float64],
    of_target: NDArray[np.int64],
    crowd: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the pairs of one image and class that overlap enough, by detection, then by overlap.

    Of equal overlaps the last object comes last, and is taken.
    """
    by_key = np.argsort(of_target, kind="stable")
    first = np.searchsorted(of_target[by_key], of_box, "left")
    counts = np.searchsorted(of_target[by_key], of_box, "right") - first
    detection = np.repeat(np.arange(len(boxes)), counts)
    within = np.arange(len(detection)) - np.repeat(np.cumsum(counts) - counts, counts)
    target = by_key[np.repeat(first, counts) + within]
    d, g = boxes[detection], targets[target]
    width = np.minimum(d[:, 0] + d[:, 2], g[:, 0] + g[:, 2]) - np.maximum(d[:, 0], g[:, 0])
    height = np.minimum(d[:, 1] + d[:, 3], g[:, 1] + g[:, 3]) - np.maximum(d[:, 1], g[:, 1])
    both = np.clip(width, 0, None) * np.clip(height, 0, None)
    of_d, of_g = d[:, 2] * d[:, 3], g[:, 2] * g[:, 3]
    with np.errstate(all="ignore"):
        overlap = both / np.where(crowd[target], of_d, of_d + of_g - both)
    near = np.flatnonzero(overlap >= THRESHOLDS[0])
    near = near[np.lexsort((target[near], overlap[near], detection[near]))]
    return detection[near], target[near], overlap[near]


def _rounds(keys: NDArray[np.int64], detection: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield the pairs of the first detection of each image and class, of the second, and so on.

    Detections of one key follow each other by descending score, but not directly.
    """
    unique, first = np.unique(detection, return_index=True)
    by_key = np.argsort(keys[first], kind="stable")
    rank = np.empty(len(unique), np.int64)
    rank[by_key] = _rank(keys[first][by_key])
    of_pair = np.repeat(rank, np.diff(np.r_[first, len(detection)]))
    by_rank = np.argsort(of_pair, kind="stable")
    stops = np.cumsum(np.bincount(of_pair)) if len(of_pair) else np.zeros(0, np.int64)
    start = 0
    for stop in stops.tolist():
        yield by_rank[start:stop]
        start = stop


def _last(mask: NDArray[np.bool_], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the last true column of each segment of every row, shape (rows, segments); -1: none."""
    columns = np.where(mask, np.arange(mask.shape[1]), -1)
    last: NDArray[np.int64] = np.maximum.reduceat(columns, starts, axis=1)
    return last
