"""Labels of images with boxes as one array, so that they travel, are split and are stored like any labels.

The first row of a sample says how the pixels of its image came into the model's input, the others are its
objects; unused rows are filled with `EMPTY`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.detection.boxes import Detections

#: Columns of an object: class from 0, its number in the file of the labels, box x0, y0, x1, y1 in pixels of
#: the image, area in such pixels, 1 of a crowd.
COLUMNS = 8
#: What fills rows without an object.
EMPTY = -1.0


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the pixels of an image lie in the model's input: ``input = image * scale + shift``.

    Parameters
    ----------
    width, height : int
        Of the image in pixels.
    scale_x, scale_y, shift_x, shift_y : float
    """

    width: int
    height: int
    scale_x: float = 1.0
    scale_y: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of one image.

    Parameters
    ----------
    classes : ndarray, shape (n,), int64
        From 0, in the order of the class names.
    numbers : ndarray, shape (n,), int64
        What the labels call the classes.
    corners : ndarray, shape (n, 4), float64
        x0, y0, x1, y1 in pixels of the image.
    areas : ndarray, shape (n,), float64
        In pixels of the image; of a mask it is less than that of the box.
    crowd : ndarray, shape (n,), bool
        Boxes around many objects, which count neither as detected nor as missed.
    """

    classes: NDArray[np.int64]
    numbers: NDArray[np.int64]
    corners: NDArray[np.float64]
    areas: NDArray[np.float64]
    crowd: NDArray[np.bool_]

    @classmethod
    def of(cls, classes: Any, corners: Any, numbers: Any = None) -> Objects:  # noqa: ANN401 - array-like
        """Objects from their classes and corners."""
        boxes = np.asarray(corners, np.float64).reshape(-1, 4)
        of_class = np.asarray(classes, np.int64).reshape(-1)
        called = of_class if numbers is None else np.asarray(numbers, np.int64).reshape(-1)
        sides = boxes[:, 2:] - boxes[:, :2]
        return cls(of_class, called, boxes, sides[:, 0] * sides[:, 1], np.zeros(len(boxes), bool))

    def __len__(self) -> int:
        return len(self.classes)


def pack(images: Sequence[tuple[Placement, Objects]]) -> NDArray[np.float64]:
    """Return the labels of n images, shape (n, 1 + most objects of an image, `COLUMNS`)."""
    most = max((len(objects) for _, objects in images), default=0)
    packed = np.full((len(images), 1 + most, COLUMNS), EMPTY)
    for row, (place, objects) in zip(packed, images, strict=True):
        row[0, :4] = place.width, place.height, place.scale_x, place.scale_y
        row[0, 4:] = place.shift_x, place.shift_y, len(objects), 0
        rows = row[1 : 1 + len(objects)]
        rows[:, 0], rows[:, 1], rows[:, 2:6] = objects.classes, objects.numbers, objects.corners
        rows[:, 6], rows[:, 7] = objects.areas, objects.crowd
    return packed


def is_packed(labels: NDArray[Any]) -> bool:
    """Whether labels have the form of `pack`."""
    return labels.ndim == 3 and labels.shape[2] == COLUMNS and labels.dtype == np.float64


@dataclass(frozen=True, slots=True)
class Truth:
    """Packed labels.

    Parameters
    ----------
    packed : ndarray, shape (n, 1 + most objects, `COLUMNS`)
        Of `pack`.
    """

    packed: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.packed)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Objects of each image, shape (n,)."""
        counts: NDArray[np.int64] = self.packed[:, 0, 6].astype(np.int64)
        return counts

    @property
    def objects(self) -> NDArray[np.float64]:
        """All objects, one after the other, shape (total, `COLUMNS`)."""
        rows = self.packed[:, 1:]
        chosen: NDArray[np.float64] = rows[np.arange(rows.shape[1]) < self.counts[:, None]]
        return chosen

    @property
    def samples(self) -> NDArray[np.int64]:
        """Image of each object, shape (total,)."""
        return np.repeat(np.arange(len(self)), self.counts)

    def by_number(self, detections: Detections) -> Detections:
        """Return detections of a model that counts classes by their numbers, without classes of no object."""
        numbers, first = np.unique(self.objects[:, 1].astype(np.int64), return_index=True)
        at = np.minimum(np.searchsorted(numbers, detections.classes), max(0, len(numbers) - 1))
        exists = numbers[at] == detections.classes if len(numbers) else np.zeros(len(at), bool)
        classes = self.objects[first[at[exists]], 0].astype(np.int64)
        return replace(detections.where(exists), classes=classes)

    def to_image(self, detections: Detections) -> Detections:
        """Return detections in pixels of the images, cut at their edges."""
        place = self.packed[detections.samples, 0]
        scale, shift = np.tile(place[:, 2:4], 2), np.tile(place[:, 4:6], 2)
        corners = np.clip((detections.corners - shift) / scale, 0, np.tile(place[:, :2], 2))
        return replace(detections, corners=corners)
