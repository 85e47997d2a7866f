"""Boxes of a variant against those of its reference, without labels; and which objects are detected."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.core.detection.boxes import Detections, overlap
from harness.core.detection.pairs import one_to_one
from harness.core.detection.truth import Truth
from harness.core.errors import DataError
from harness.stats.box_matches import match

#: Least intersection over union of a box that is closely matched.
CLOSE = 0.75


@dataclass(frozen=True, slots=True)
class Agreement:
    """What became of each box of the reference.

    Parameters
    ----------
    sample : ndarray, shape (boxes,), int64
        Sample of each box of the reference.
    same, close : ndarray, shape (boxes,), bool
        The variant has a box of the same class there, by an overlap of 0.5 and of `CLOSE`.
    flipped : ndarray, shape (boxes,), bool
        It has only one of another class there.
    score_shift : ndarray, shape (boxes,), float64
        Score of the variant's box of the same class minus that of the reference; NaN without one.
    invented : ndarray, shape (samples,), int64
        Boxes of the variant that match none of the reference.
    """

    sample: NDArray[np.int64]
    same: NDArray[np.bool_]
    close: NDArray[np.bool_]
    flipped: NDArray[np.bool_]
    score_shift: NDArray[np.float64]
    invented: NDArray[np.int64]

    @property
    def lost(self) -> NDArray[np.bool_]:
        """Boxes of the reference where the variant has none."""
        return ~(self.same | self.flipped)


def agree(variant: Detections, reference: Detections, threshold: float) -> Agreement:
    """Match the boxes that are shown to a user, one to one, those that overlap most first.

    Parameters
    ----------
    variant, reference : Detections
        Of the same samples in the same order.
    threshold : float
        Score from which a box is shown.

    Raises
    ------
    DataError
        They have different numbers of samples.
    """
    if len(variant) != len(reference):
        raise DataError(
            f"boxes of {len(variant)} samples are compared with those of {len(reference)}",
            cause="the two were not measured on the same samples",
        )
    one, base = (side.where(side.scores >= threshold) for side in (variant, reference))
    partner = np.full(len(base.scores), -1, np.int64)
    crossed = partner.copy()
    shared = np.zeros(len(base.scores))
    invented = np.zeros(len(base), np.int64)
    for number, (ours, theirs) in enumerate(zip(one, base, strict=True)):
        overlaps = overlap(base.corners[theirs][:, None], one.corners[ours][None])
        equal = base.classes[theirs][:, None] == one.classes[ours][None]
        same = one_to_one(np.where(equal, overlaps, 0))
        free = np.setdiff1d(np.arange(overlaps.shape[1]), same)
        other = one_to_one(
            np.where((same < 0)[:, None] & np.isin(np.arange(overlaps.shape[1]), free), overlaps, 0)
        )
        rows = np.flatnonzero(same >= 0)
        shared[theirs.start + rows] = overlaps[rows, same[rows]]
        partner[theirs.start + rows] = ours.start + same[rows]
        crossed[theirs.start + np.flatnonzero(other >= 0)] = 0
        invented[number] = len(free) - np.count_nonzero(other >= 0)
    matched = partner >= 0
    shift = np.full(len(partner), np.nan)
    shift[matched] = one.scores[partner[matched]] - base.scores[matched]
    return Agreement(base.samples, matched, matched & (shared >= CLOSE), crossed >= 0, shift, invented)


def detected(detections: Detections, truth: Truth, classes: int, threshold: float) -> NDArray[np.bool_]:
    """Return whether each object that counts is detected, by the right class and an overlap of 0.5.

    Parameters
    ----------
    detections : Detections
        In pixels of the images.
    threshold : float
        Score from which a box is shown.

    Returns
    -------
    ndarray, shape (objects,), bool
        In the order of ``truth.objects``; False of crowds.
    """
    shown = match(detections.where(detections.scores >= threshold), truth, classes)
    hits = np.zeros(int(truth.counts.sum()), bool)
    hits[shown.object_at[0][shown.right[0]]] = True
    return hits
