"""Heads of YOLO that an export left undecoded: one grid of cells a stride, a box at each cell and anchor.

Sources of formulas and anchors: YOLOv3, arXiv:1804.02767, and YOLOv4, arXiv:2004.10934 (``cfg/*.cfg`` of
darknet); YOLOv5 (``models/yolo.py``, ``models/yolov5*.yaml``) and YOLOv7, arXiv:2207.02696
(``cfg/deploy/yolov7.yaml``), which decode alike; YOLOX, arXiv:2107.08430; YOLOv8 and later, whose boxes are
distances to the four sides, each a distribution over 16 cells (arXiv:2006.04388).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]
Activate = Callable[[NDArray[Any]], NDArray[Any]]

#: Cells that a distance of YOLOv8 is a distribution over.
BINS = 16
#: Largest exponent of a size, as for other anchors, so that a large difference is no infinity.
_MOST = math.log(1000 / 16)
#: By how much the offset in a cell of YOLOv4 reaches beyond it, by stride.
_REACH = {8: 1.2, 16: 1.1, 32: 1.05}


@dataclass(frozen=True, slots=True)
class Cells:
    """Where the boxes of a grid belong, one row each.

    Parameters
    ----------
    place : ndarray, shape (n, 2)
        Column and row of the cell.
    stride : ndarray, shape (n, 1)
        Pixels from one cell to the next.
    size : ndarray, shape (n, 2)
        Width and height of the anchor in pixels.
    """

    place: Real
    stride: Real
    size: Real

    def take(self, rows: NDArray[np.int64]) -> Cells:
        """Return some rows."""
        return Cells(self.place[rows], self.stride[rows], self.size[rows])


def _yolov5(values: Real, cells: Cells, activate: Activate) -> Real:
    share = activate(values)
    centre = (2 * share[:, :2] - 0.5 + cells.place) * cells.stride
    return np.concatenate([centre, (2 * share[:, 2:]) ** 2 * cells.size], axis=1)


def _yolov3(values: Real, cells: Cells, activate: Activate) -> Real:
    centre = (activate(values[:, :2]) + cells.place) * cells.stride
    return np.concatenate([centre, np.exp(np.minimum(values[:, 2:], _MOST)) * cells.size], axis=1)


def _yolov4(values: Real, cells: Cells, activate: Activate) -> Real:
    reach = np.vectorize(_REACH.__getitem__, otypes=[np.float64])(cells.stride)
    centre = (activate(values[:, :2]) * reach - (reach - 1) / 2 + cells.place) * cells.stride
    return np.concatenate([centre, np.exp(np.minimum(values[:, 2:], _MOST)) * cells.size], axis=1)


def _yolox(values: Real, cells: Cells, activate: Activate) -> Real:
    centre = (values[:, :2] + cells.place) * cells.stride
    return np.concatenate([centre, np.exp(np.minimum(values[:, 2:], _MOST)) * cells.size], axis=1)


def _yolov8(values: Real, cells: Cells, activate: Activate) -> Real:
    bins = values.reshape(len(values), 4, BINS)
    with np.errstate(all="ignore"):
        share = np.exp(bins - bins.max(axis=-1, keepdims=True))
        distance = (share * np.arange(BINS)).sum(axis=-1) / share.sum(axis=-1)
    low, high = cells.place + 0.5 - distance[:, :2], cells.place + 0.5 + distance[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1) * cells.stride


@dataclass(frozen=True, slots=True)
class Family:
    """Heads of one kind of detector.

    Parameters
    ----------
    decode : callable
        Numbers of boxes, their cells and the activation to centre x and y, width, height in pixels.
    sizes : mapping of int to tuple of (float, float)
        Stride to width and height in pixels of the anchors at each of its cells.
    numbers : int
        Numbers of a box.
    objectness : bool
        After the box there is a score that there is an object.
    """

    decode: Callable[[Real, Cells, Activate], Real]
    sizes: Mapping[int, Sequence[tuple[float, float]]]
    numbers: int = 4
    objectness: bool = True


def _sizes(first: int, *levels: Sequence[float]) -> dict[int, tuple[tuple[float, float], ...]]:
    """Widths and heights a level, whose strides double from the first on."""
    return {
        first << place: tuple(zip(level[::2], level[1::2], strict=True)) for place, level in enumerate(levels)
    }


_COCO = ((10, 13, 16, 30, 33, 23), (30, 61, 62, 45, 59, 119), (116, 90, 156, 198, 373, 326))
_LARGE = ((12, 16, 19, 36, 40, 28), (36, 75, 76, 55, 72, 146), (142, 110, 192, 243, 459, 401))
_FOUR = (
    (19, 27, 44, 40, 38, 94), (96, 68, 86, 152, 180, 137), (140, 301, 303, 264, 238, 542),
    (436, 615, 739, 380, 925, 792),
)  # fmt: skip
_TINY = (10, 14, 23, 27, 37, 58), (81, 82, 135, 169, 344, 319)
_NO_ANCHORS = {stride: ((float(stride), float(stride)),) for stride in (8, 16, 32)}

#: The commonest first.
FAMILIES: Mapping[str, Family] = {
    "yolov5": Family(_yolov5, _sizes(8, *_COCO)),
    "yolov5-p6": Family(_yolov5, _sizes(8, *_FOUR)),
    "yolov7": Family(_yolov5, _sizes(8, *_LARGE)),
    "yolov8": Family(_yolov8, _NO_ANCHORS, 4 * BINS, objectness=False),
    "yolox": Family(_yolox, _NO_ANCHORS),
    "yolov3": Family(_yolov3, _sizes(8, *_COCO)),
    "yolov3-tiny": Family(_yolov3, _sizes(16, *_TINY)),
    "yolov4": Family(_yolov4, _sizes(8, *_LARGE)),
    "yolov4-tiny": Family(_yolov4, _sizes(16, *_TINY)),
}


@dataclass(frozen=True, slots=True)
class Grids:
    """The heads of one model: how their values are ordered, and which box each belongs to.

    Parameters
    ----------
    name : str
        One of `FAMILIES`.
    size : tuple of int
        Height and width of the model's input in pixels.
    layout : {"rows", "columns"}
        Whether the values of a box lie on the last axis of a head, as in [3, 80, 80, 85] and [80, 80, 255],
        or before the cells, as in [255, 80, 80].
    anchor_sizes : tuple of float
        Widths and heights of the model's anchors in pixels, those of the smallest stride first; empty: those
        of the family.
    """

    name: str
    size: tuple[int, ...]
    layout: str
    anchor_sizes: tuple[float, ...] = ()

    @property
    def family(self) -> Family:
        """The kind of detector."""
        return FAMILIES[self.name]

    @property
    def sizes(self) -> Mapping[int, Sequence[tuple[float, float]]]:
        """Stride to the width and height of its anchors in pixels."""
        strides = sorted(self.family.sizes)
        if not self.anchor_sizes:
            return self.family.sizes
        each = len(self.anchor_sizes) // len(strides)
        parts = [self.anchor_sizes[start : start + each] for start in range(0, each * len(strides), each)]
        return _sizes(strides[0], *parts)

    def stride(self, shape: Sequence[int]) -> int | None:
        """Return the stride of a head by the shape of a sample; None where none fits."""
        return next((stride for stride in self.sizes if self._axes(shape, stride) is not None), None)

    def cells(self, stride: int) -> tuple[int, int]:
        """Rows and columns of a grid."""
        return math.ceil(self.size[0] / stride), math.ceil(self.size[1] / stride)

    def _axes(self, shape: Sequence[int], stride: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """How a sample becomes [rows, columns, anchors, values]: its shape, and the order of its axes."""
        cells, anchors, lengths = self.cells(stride), len(self.sizes[stride]), tuple(shape)
        if self.layout == "rows":
            if len(lengths) == 4 and lengths[:3] == (anchors, *cells):
                return lengths, (1, 2, 0, 3)
            if len(lengths) == 4 and lengths[:3] == (*cells, anchors):
                return lengths, (0, 1, 2, 3)
            if len(lengths) == 3 and lengths[:2] == cells and lengths[2] % anchors == 0:
                return (*cells, anchors, lengths[2] // anchors), (0, 1, 2, 3)
        elif len(lengths) == 3 and lengths[1:] == cells and lengths[0] % anchors == 0:
            return (anchors, lengths[0] // anchors, *cells), (2, 3, 0, 1)
        elif len(lengths) == 4 and lengths[0] == anchors and lengths[2:] == cells:
            return lengths, (2, 3, 0, 1)
        return None

    def width(self, shape: Sequence[int]) -> int:
        """Values a box that a head of that shape has; 0 where no stride fits."""
        stride = self.stride(shape)
        if stride is None:
            return 0
        axes = self._axes(shape, stride)
        assert axes is not None, "the stride fits"
        whole, order = axes
        return whole[order[3]]

    def widths(self, shapes: Sequence[Sequence[int]]) -> dict[int, int]:
        """Values a box by stride; outputs of one stride have them one after the other."""
        values: dict[int, int] = {}
        for shape in shapes:
            if (stride := self.stride(shape)) is not None:
                values[stride] = values.get(stride, 0) + self.width(shape)
        return values

    def table(self, heads: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], Cells]:
        """Return all values as (n, boxes, values), the smallest stride first, and the cells of the boxes."""
        parts: dict[int, list[NDArray[Any]]] = {}
        for head in heads:
            stride = self.stride(head.shape[1:])
            axes = None if stride is None else self._axes(head.shape[1:], stride)
            assert stride is not None, "the shapes were checked"
            assert axes is not None, "the stride fits"
            whole, order = axes
            parts.setdefault(stride, []).append(
                head.reshape(len(head), *whole).transpose(0, *(axis + 1 for axis in order))
            )
        strides = sorted(parts)
        tables = [np.concatenate(parts[stride], axis=-1) for stride in strides]
        flat = [y.reshape(len(y), -1, y.shape[-1]) for y in tables]
        return np.concatenate(flat, axis=1), self._places(tuple(strides))

    def _places(self, strides: tuple[int, ...]) -> Cells:
        levels = ((stride, *self.cells(stride), tuple(self.sizes[stride])) for stride in strides)
        return _cells(tuple(levels))


@lru_cache(maxsize=16)
def _cells(levels: tuple[tuple[int, int, int, tuple[tuple[float, float], ...]], ...]) -> Cells:
    """Cells of grids, row by row, with the anchors in their order: stride, rows, columns, sizes of each."""
    parts = []
    for stride, rows, columns, sizes in levels:
        grid = np.empty((rows, columns, len(sizes), 5))
        grid[..., 0], grid[..., 1] = np.arange(columns)[None, :, None], np.arange(rows)[:, None, None]
        grid[..., 2], grid[..., 3:] = stride, np.asarray(sizes, np.float64)
        parts.append(grid.reshape(-1, 5))
    whole = np.concatenate(parts)
    whole.setflags(write=False)
    return Cells(whole[:, :2], whole[:, 2:3], whole[:, 3:])
