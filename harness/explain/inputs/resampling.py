"""Resizing as other libraries do it, in floating point: filters, edges, and the centres of pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]
#: Where the pixels of two grids meet: at the middle of pixels, at the first corner, or at both corners.
HALF, CORNER, ALIGNED = "half", "corner", "aligned"


def _linear(x: Real) -> Real:
    return np.maximum(0.0, 1.0 - np.abs(x))


def _cubic(sharpness: float) -> Callable[[Real], Real]:
    """Keys' filter: −0.5 in Pillow and TensorFlow, −0.75 in OpenCV and PyTorch."""

    def weigh(x: Real) -> Real:
        x = np.abs(x)
        near = ((sharpness + 2) * x - (sharpness + 3)) * x * x + 1
        far = sharpness * (((x - 5) * x + 8) * x - 4)
        return np.where(x < 1, near, np.where(x < 2, far, 0.0))

    return weigh


def _lanczos(lobes: int) -> Callable[[Real], Real]:
    def weigh(x: Real) -> Real:
        return np.where(np.abs(x) < lobes, np.sinc(x) * np.sinc(x / lobes), 0.0)

    return weigh


def _box(x: Real) -> Real:
    return ((x > -0.5) & (x <= 0.5)).astype(np.float64)


#: Filters by name, and how far each reaches, in pixels.
FILTERS: dict[str, tuple[Callable[[Real], Real], int]] = {
    "bilinear": (_linear, 1),
    "bicubic": (_cubic(-0.5), 2),
    "bicubic of OpenCV": (_cubic(-0.75), 2),
    "lanczos": (_lanczos(3), 3),
    "box": (_box, 1),
}


@dataclass(frozen=True, slots=True)
class Method:
    """How an image is resized.

    Parameters
    ----------
    kernel : str
        ``nearest``, ``area`` (the mean of what a pixel covers), or a name of `FILTERS`.
    antialias : bool
        The filter is widened where the image shrinks.
    grid : {"half", "corner", "aligned"}
    is_summed : bool
        The nearest pixels are found by adding up steps, whose rounding decides between two, as in Pillow.
    """

    kernel: str
    antialias: bool = False
    grid: str = HALF
    is_summed: bool = False


def resize(images: Real, size: tuple[int, int], method: Method) -> Real:
    """Resize images of shape (…, h, w, c), without rounding."""
    rows, columns = (weights(old, new, method) for old, new in zip(images.shape[-3:-1], size, strict=True))
    return _weighted(_weighted(images, rows, -3), columns, -2)


def _weighted(images: NDArray[Any], parts: Real, axis: int) -> Real:
    """Sum along an axis; few of its numbers have a part in each sum."""
    lines, source = np.moveaxis(images, axis, 0), parts.shape[1]
    first = np.argmax(parts != 0, axis=1)
    count = int(np.max(source - np.argmax(parts[:, ::-1] != 0, axis=1) - first))
    total = np.zeros((len(parts), *lines.shape[1:]))
    for tap in range(count):
        places = np.minimum(first + tap, source - 1)
        weight = np.where(first + tap < source, parts[np.arange(len(parts)), places], 0.0)
        total += weight.reshape(-1, *[1] * (lines.ndim - 1)) * lines[places]
    return np.moveaxis(total, 0, axis)


def weights(source: int, target: int, method: Method) -> Real:
    """Part of each source pixel in each target pixel, shape (target, source); rows sum to 1."""
    if method.kernel == "area" and target <= source:
        edges = np.linspace(0, source, target + 1)[:, np.newaxis]
        start = np.arange(source)
        covered = np.minimum(edges[1:], start + 1) - np.maximum(edges[:-1], start)
        shares: Real = np.maximum(covered, 0.0) * target / source
        return shares
    centres = _centres(source, target, method.grid)
    if method.kernel == "nearest":
        nearest: Real = centres + (1e-9 if method.grid == CORNER else 0.5 + 1e-9)
        if method.is_summed:
            step = source / target
            nearest = np.cumsum(np.append(step / 2, np.full(target - 1, step)))
        chosen = np.clip(np.floor(nearest).astype(int), 0, source - 1)
        picked: Real = (chosen[:, np.newaxis] == np.arange(source)).astype(np.float64)
        return picked
    kernel, reach = FILTERS["bilinear" if method.kernel == "area" else method.kernel]
    width = max(1.0, source / target) if method.antialias else 1.0
    # Pixels outside of the image are those at its edge, or with antialiasing not there.
    margin = 0 if method.antialias else reach + 1
    places = np.arange(-margin, source + margin)
    wide = kernel((places - centres[:, np.newaxis]) / width)
    parts = np.zeros((target, source))
    np.add.at(parts.T, np.clip(places, 0, source - 1), wide.T)
    sums: Real = parts / parts.sum(axis=1, keepdims=True)
    return sums


def _centres(source: int, target: int, grid: str) -> Real:
    places = np.arange(target, dtype=np.float64)
    if grid == CORNER:
        return places * source / target
    if grid == ALIGNED:
        return places * (source - 1) / max(1, target - 1)
    return (places + 0.5) * source / target - 0.5
