"""Mistakes of preprocessing in the pixels of images that are there without their files."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from harness.explain.inputs.mistakes import Array, Change, Made, Mistake, axes_of, moved, typed
from harness.explain.inputs.resampling import ALIGNED, Method, resize

#: How images are shrunk, and enlarged again.
THERE = {name: Method(name) for name in ("nearest", "bilinear", "area")}
BACK = {
    "bilinear": Method("bilinear"),
    "nearest": Method("nearest"),
    "bilinear with aligned corners": Method("bilinear", grid=ALIGNED),
    "nearest with aligned corners": Method("nearest", grid=ALIGNED),
}


def of_pixels(made: Made) -> Iterator[Mistake]:
    """Yield mistakes that are possible for an input; none where it has no images."""
    if made.raw.ndim != 4:
        return
    rows, columns, _ = axes_of(made)
    height, width = made.raw.shape[rows], made.raw.shape[columns]
    if min(height, width) >= 4:
        for factor in (2.0, 1.5, 4.0):
            yield from _smaller(made, (round(height / factor), round(width / factor)))
        yield _images("resize", "blurred by 3 × 3 pixels", _blurred, made)
        size = round(height * 7 / 8), round(width * 7 / 8)
        text = f"shrunk to {size[0]} × {size[1]} within a border of zeros"
        yield _images("frame", text, partial(_bordered, size=size), made)
    for margin in dict.fromkeys((1, 2, round(height / 16), round(height / 8))):
        if 0 < 2 * margin < min(height, width):
            for name, method in BACK.items():
                text = f"cropped by a border of {margin} and enlarged again by {name}"
                yield _images("frame", text, partial(_cropped, margin=margin, method=method), made)
    if min(height, width) > 2:
        for sign in (1, -1):
            yield _images("place", "shifted by half a pixel", partial(_half, sign=sign), made)


def _smaller(made: Made, size: tuple[int, int]) -> Iterator[Mistake]:
    if min(size) < 2:
        return
    for name, method in THERE.items():
        for other in ("nearest", "bilinear"):
            text = f"shrunk to {size[0]} × {size[1]} by {name} and enlarged again by {other}"
            yield _images("resize", text, partial(_through, size=size, method=method, back=BACK[other]), made)


def _images(kind: str, text: str, change: Change, made: Made) -> Mistake:
    """A mistake that changes images of shape (n, h, w, c)."""
    channels = axes_of(made)[2]

    def changed(raw: Array) -> Array:
        return np.moveaxis(typed(change(np.moveaxis(raw, channels, -1)), raw), -1, channels)

    return moved(kind, text, changed)


def _through(images: Array, size: tuple[int, int], method: Method, back: Method) -> Array:
    return resize(resize(images, size, method), images.shape[1:3], back)


def _blurred(images: Array) -> Array:
    wide = np.pad(images.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    wide = (wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]) / 4
    blurred: Array = (wide[:, :, :-2] + 2 * wide[:, :, 1:-1] + wide[:, :, 2:]) / 4
    return blurred


def _cropped(images: Array, margin: int, method: Method) -> Array:
    return resize(images[:, margin:-margin, margin:-margin], images.shape[1:3], method)


def _bordered(images: Array, size: tuple[int, int]) -> Array:
    frame = np.zeros(images.shape)
    top, left = ((whole - part) // 2 for whole, part in zip(images.shape[1:3], size, strict=True))
    frame[:, top : top + size[0], left : left + size[1]] = resize(images, size, Method("bilinear"))
    return frame


def _half(images: Array, sign: int) -> Array:
    real = images.astype(np.float64)
    for axis in (1, 2):
        edge = np.take(real, [-1 if sign > 0 else 0], axis)
        parts = (real, edge) if sign > 0 else (edge, real)
        wide = np.concatenate(parts, axis)
        count = wide.shape[axis]
        real = (np.take(wide, range(count - 1), axis) + np.take(wide, range(1, count), axis)) / 2
    return real
