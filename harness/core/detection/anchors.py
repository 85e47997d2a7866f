"""Anchors of the families of detectors whose boxes are differences from them.

Each family is a grid a level: a step in pixels, the sizes at every place of the grid, and where in a cell the
centre lies. Sources: YOLOX, arXiv:2107.08430 (``yolox/models/yolo_head.py``); EfficientDet, arXiv:1911.09070
(``efficientdet/tf2/anchors.py``); RetinaNet, arXiv:1708.02002, and SSD, arXiv:1512.02325, as torchvision has
them (``torchvision/models/detection/anchor_utils.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Level:
    """One grid of anchors.

    Parameters
    ----------
    step : int
        Pixels from one centre to the next.
    columns, rows : int
    sizes : tuple of (float, float)
        Width and height in pixels of the anchors at each place, in their order.
    """

    step: int
    columns: int
    rows: int
    sizes: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Family:
    """The anchors of one kind of detector.

    Parameters
    ----------
    levels : callable
        Height and width of the input in pixels to its grids.
    offset : float
        Of a centre in its cell, as a share.
    centre_variance, size_variance : float
        Factors of the differences that the model returns.
    """

    levels: Callable[[int, int], Sequence[Level]]
    offset: float
    centre_variance: float = 1.0
    size_variance: float = 1.0


def _grid(height: int, width: int, stride: int, sizes: Sequence[tuple[float, float]]) -> Level:
    return Level(stride, math.ceil(width / stride), math.ceil(height / stride), tuple(sizes))


def _yolox(height: int, width: int) -> list[Level]:
    return [_grid(height, width, stride, [(stride, stride)]) for stride in (8, 16, 32)]


def _efficientdet(height: int, width: int) -> list[Level]:
    levels = []
    for stride in (8, 16, 32, 64, 128):
        sizes = [
            (4 * stride * 2 ** (octave / 3) * x, 4 * stride * 2 ** (octave / 3) * y)
            for octave in range(3)
            for x, y in ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4))
        ]
        levels.append(_grid(height, width, stride, sizes))
    return levels


def _retinanet(height: int, width: int) -> list[Level]:
    levels = []
    for stride, size in zip((8, 16, 32, 64, 128), (32, 64, 128, 256, 512), strict=True):
        scales = (size, int(size * 2 ** (1 / 3)), int(size * 2 ** (2 / 3)))
        # torchvision rounds the corners, so that every side is an even number of pixels.
        sizes = [
            tuple(2.0 * round(scale * side / 2) for side in (1 / math.sqrt(ratio), math.sqrt(ratio)))
            for ratio in (0.5, 1.0, 2.0)
            for scale in scales
        ]
        levels.append(_grid(height, width, stride, [(size[0], size[1]) for size in sizes]))
    return levels


def _ssd(height: int, width: int) -> list[Level]:
    shares = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
    ratios = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
    levels = []
    for place, (cells, stride) in enumerate(
        zip((38, 19, 10, 5, 3, 1), (8, 16, 32, 64, 100, 300), strict=True)
    ):
        share, following = shares[place], shares[place + 1]
        sizes = [(share, share), (math.sqrt(share * following),) * 2]
        for ratio in ratios[place]:
            root = math.sqrt(ratio)
            sizes += [(share * root, share / root), (share / root, share * root)]
        inside = tuple((min(x, 1.0) * width, min(y, 1.0) * height) for x, y in sizes)
        levels.append(Level(stride, cells, cells, inside))
    return levels


FAMILIES: Mapping[str, Family] = {
    "yolox": Family(_yolox, 0.0),
    "efficientdet": Family(_efficientdet, 0.5),
    "retinanet": Family(_retinanet, 0.0),
    "ssd300": Family(_ssd, 0.5, 0.1, 0.2),
}


@lru_cache(maxsize=16)
def anchors(name: str, height: int, width: int) -> NDArray[np.float64]:
    """Return the anchors of a family for one size of the input in pixels.

    Returns
    -------
    ndarray, shape (n, 4)
        Centre x and y, width, height; level by level, row by row, and at a place in the order of the sizes.
    """
    family = FAMILIES[name]
    parts = []
    for level in family.levels(height, width):
        x = (np.arange(level.columns) + family.offset) * level.step
        y = (np.arange(level.rows) + family.offset) * level.step
        sizes = np.asarray(level.sizes)
        grid = np.empty((level.rows, level.columns, len(sizes), 4))
        grid[..., 0], grid[..., 1] = x[None, :, None], y[:, None, None]
        grid[..., 2:] = sizes
        parts.append(grid.reshape(-1, 4))
    whole = np.concatenate(parts)
    whole.setflags(write=False)
    return whole


def decode(boxes: NDArray[Any], name: str, base: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the boxes that are given as differences from anchors.

    Parameters
    ----------
    boxes : ndarray, shape (n, 4)
        Differences of the centre x and y, of the width and of the height.
    name : str
        Family of the anchors.
    base : ndarray, shape (n, 4)
        The anchors of these boxes.

    Returns
    -------
    ndarray, shape (n, 4)
        Centre x and y, width, height in pixels.
    """
    family, real = FAMILIES[name], boxes.astype(np.float64)
    centre = base[:, :2] + real[:, :2] * family.centre_variance * base[:, 2:]
    # As torchvision does, so that a large difference is no infinity.
    size = base[:, 2:] * np.exp(np.minimum(real[:, 2:] * family.size_variance, math.log(1000 / 16)))
    return np.concatenate([centre, size], axis=-1)
