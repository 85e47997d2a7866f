"""Boxes: their formats, their overlap, and the detections of several samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Orders of the four numbers of a box: corners, a corner and the size, the centre and the size.
FORMATS = ("xyxy", "yxyx", "xywh", "cxcywh", "cycxhw")


def to_corners(boxes: NDArray[Any], order: str) -> NDArray[np.float64]:
    """Return boxes as x0, y0, x1, y1.

    Parameters
    ----------
    boxes : ndarray, shape (…, 4)
    order : str
        One of `FORMATS`.
    """
    a, b, c, d = (boxes[..., column].astype(np.float64) for column in range(4))
    if order == "yxyx":
        a, b, c, d = b, a, d, c
    elif order == "xywh":
        c, d = a + c, b + d
    elif order in ("cxcywh", "cycxhw"):
        x, y, width, height = (a, b, c, d) if order == "cxcywh" else (b, a, d, c)
        a, b, c, d = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    return np.stack([a, b, c, d], axis=-1)


def areas(corners: NDArray[Any]) -> NDArray[np.float64]:
    """Return the area of each box x0, y0, x1, y1; 0 of a box whose corners are swapped."""
    sides = np.clip(corners[..., 2:] - corners[..., :2], 0, None)
    area: NDArray[np.float64] = sides[..., 0] * sides[..., 1]
    return area


def overlap(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Return the intersection over union of boxes x0, y0, x1, y1 that are broadcast against each other.

    0 where the union has no area, or a coordinate is no finite number.
    """
    low, high = np.maximum(one[..., :2], other[..., :2]), np.minimum(one[..., 2:], other[..., 2:])
    with np.errstate(all="ignore"):
        sides = np.clip(high - low, 0, None)
        both = sides[..., 0] * sides[..., 1]
        union = areas(one) + areas(other) - both
        shared = both / union
    return np.where(np.isfinite(shared) & (union > 0), shared, 0.0)


@dataclass(frozen=True, slots=True)
class Detections:
    """The detections of n samples, those of a sample in descending order of their scores.

    Parameters
    ----------
    counts : ndarray, shape (n,), int64
        Detections of each sample; the rows of the other arrays follow in that order.
    corners : ndarray, shape (total, 4), float64
        x0, y0, x1, y1.
    scores : ndarray, shape (total,), float64
    classes : ndarray, shape (total,), int64
    highest : ndarray, shape (n,), float64
        Highest score of each sample before any was left out; NaN where a score or a box that counts is no
        finite number, and -inf where there is none.
    """

    counts: NDArray[np.int64]
    corners: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: NDArray[np.int64]
    highest: NDArray[np.float64]

    @classmethod
    def of_samples(cls, samples: Sequence[Detections]) -> Detections:
        """Join the detections of several samples."""
        if not samples:
            return cls.none(0)
        parts = ("counts", "corners", "scores", "classes", "highest")
        return cls(*(np.concatenate([getattr(sample, part) for sample in samples]) for part in parts))

    @classmethod
    def none(cls, n: int) -> Detections:
        """No detections in n samples."""
        return cls(
            np.zeros(n, np.int64), np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), np.full(n, -np.inf)
        )

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def samples(self) -> NDArray[np.int64]:
        """Sample of each detection, shape (total,)."""
        return np.repeat(np.arange(len(self)), self.counts)

    def where(self, mask: NDArray[np.bool_]) -> Detections:
        """Return the detections where `mask`, shape (total,), holds."""
        counts = np.bincount(self.samples[mask], minlength=len(self)).astype(np.int64)
        return Detections(counts, self.corners[mask], self.scores[mask], self.classes[mask], self.highest)

    def head(self, n: int) -> Detections:
        """Return the first n samples."""
        stop = int(self.counts[:n].sum())
        return Detections(
            self.counts[:n], self.corners[:stop], self.scores[:stop], self.classes[:stop], self.highest[:n]
        )

    def __iter__(self) -> Iterator[slice]:
        """Yield the rows of each sample."""
        stops = np.cumsum(self.counts).tolist()
        yield from (slice(start, stop) for start, stop in zip([0, *stops[:-1]], stops, strict=True))

    def to_rows(self, most: int | None = None) -> NDArray[np.float64]:
        """Return one table a sample, shape (n, 1 + most, 6).

        The first row has the number of boxes and the highest score, the others x0, y0, x1, y1, score and
        class; unused rows are 0.

        Parameters
        ----------
        most : int, optional
            Boxes of a sample that there is room for; default: as many as one has.
        """
        longest = int(self.counts.max(initial=0)) if most is None else most
        table = np.zeros((len(self), 1 + longest, 6))
        table[:, 0, 0], table[:, 0, 1] = self.counts, self.highest
        place = 1 + np.arange(len(self.scores)) - np.repeat(np.cumsum(self.counts) - self.counts, self.counts)
        values = np.concatenate([self.corners, self.scores[:, None], self.classes[:, None]], axis=1)
        table[self.samples, place] = values
        return table

    @classmethod
    def from_rows(cls, table: NDArray[Any]) -> Detections:
        """Read what `to_rows` returned."""
        real = table.astype(np.float64)
        counts = real[:, 0, 0].astype(np.int64)
        rows = real[:, 1:][np.arange(real.shape[1] - 1) < counts[:, None]]
        return cls(counts, rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64), real[:, 0, 1])
