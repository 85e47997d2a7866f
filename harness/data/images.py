"""Resize, crop and pad decoded images on the host; the result is uint8 NHWC.

Resizing without antialiasing, also for corruptions and the bundled digits, is integer arithmetic in this
module, so that no library version changes a pixel. Pillow's decoding and antialiased resizing are
deterministic for one version of Pillow, and sets are addressed by their content.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Number = TypeVar("Number", bound=np.generic)
RESIZES = ("none", "stretch", "cover", "contain")
METHODS = ("nearest", "bilinear", "bicubic", "lanczos", "box")
COLOURS = ("RGB", "BGR", "L")


@dataclass(frozen=True, slots=True)
class ImageRecipe:
    """How an image file becomes the raw pixels of a sample.

    Parameters
    ----------
    size : (int, int) or None
        Height and width of the result in pixels; None (with ``resize="none"``) keeps the files' size.
    resize : {"none", "stretch", "cover", "contain"}
        ``stretch`` ignores the aspect ratio, ``cover`` fills the frame and crops the centre, ``contain``
        fits into the frame and pads evenly (letterbox), ``none`` only crops the centre or pads.
    method : {"nearest", "bilinear", "bicubic", "lanczos", "box"}
        Interpolation.
    antialias : bool
        Widen the filter when shrinking, as Pillow does. False, for nearest and bilinear only, samples at
        half-pixel centres, as TensorFlow, PyTorch and OpenCV do by default.
    crop : float
        With ``cover``: the share of the resized image's side that remains, in (0, 1]; 0.875 is the common
        "resize to 256, crop 224".
    pad : int
        Grey level of padding, 0..255.
    colour : {"RGB", "BGR", "L"}
        Channels and their order; ``L`` is one channel of luma (ITU-R 601-2).
    """

    size: tuple[int, int] | None = None
    resize: str = "none"
    method: str = "bilinear"
    antialias: bool = True
    crop: float = 1.0
    pad: int = 0
    colour: str = "RGB"

    def problems(self) -> tuple[str, ...]:
        """Return all problems of the recipe; empty if it is valid."""
        problems = []
        for name, value, choices in (
            ("resize", self.resize, RESIZES),
            ("method", self.method, METHODS),
            ("colour", self.colour, COLOURS),
        ):
            if value not in choices:
                problems.append(f"{name} = {value!r}: must be one of {', '.join(choices)}")
        if self.size is None and self.resize != "none":
            problems.append(f'resize = "{self.resize}" needs a size')
        if self.size is not None and min(self.size) < 1:
            problems.append(f"size = {list(self.size)}: height and width must be at least 1")
        if not self.antialias and self.method not in ("nearest", "bilinear"):
            problems.append(f"method = {self.method!r} needs antialias = true")
        if not 0 < self.crop <= 1:
            problems.append(f"crop = {self.crop}: must be above 0 and at most 1")
        if not 0 <= self.pad <= 255:
            problems.append(f"pad = {self.pad}: must be in 0..255")
        return tuple(problems)


def apply_recipe(recipe: ImageRecipe, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Resize, crop and pad one image of shape (h, w, c)."""
    if recipe.size is None:
        return pixels
    scaled = resized(recipe, *pixels.shape[:2])
    pixels = resize(pixels, scaled, method=recipe.method, antialias=recipe.antialias)
    return centre(pixels, recipe.size, pad=recipe.pad)


def resized(recipe: ImageRecipe, height: int, width: int) -> tuple[int, int]:
    """Return the height and width to which an image is resized before it is cropped or padded."""
    if recipe.size is None or recipe.resize == "none":
        return height, width
    target_h, target_w = recipe.size
    if recipe.resize == "stretch":
        return target_h, target_w
    ratios = (target_h / height, target_w / width)
    if recipe.resize == "cover":
        # The longer side is truncated and not rounded, as in torchvision; 1e-6 is for 223.99999999999997.
        ratio = max(ratios) / recipe.crop
        return int(height * ratio + 1e-6), int(width * ratio + 1e-6)
    return max(1, round(height * min(ratios))), max(1, round(width * min(ratios)))


def centre(pixels: npt.NDArray[Number], size: tuple[int, int], *, pad: int) -> npt.NDArray[Number]:
    """Crop the centre of an axis that is too long, and pad an axis that is too short evenly."""
    framed = np.full((*size, pixels.shape[2]), pad, dtype=pixels.dtype)
    source, target = [], []
    for length, new_length in zip(pixels.shape[:2], size, strict=True):
        common = min(length, new_length)
        first = round((length - common) / 2)  # half to even, as in torchvision
        source.append(slice(first, first + common))
        target.append(slice((new_length - common) // 2, (new_length - common) // 2 + common))
    framed[tuple(target)] = pixels[tuple(source)]
    return framed


def resize(
    pixels: npt.NDArray[np.uint8], size: tuple[int, int], *, method: str, antialias: bool
) -> npt.NDArray[np.uint8]:
    """Resize one image of shape (h, w, c) to (height, width)."""
    if pixels.shape[:2] == size:
        return pixels
    if method == "nearest":
        rows, columns = (nearest(old, new) for old, new in zip(pixels.shape[:2], size, strict=True))
        picked: npt.NDArray[np.uint8] = pixels[rows][:, columns]
        return picked
    if not antialias:
        resampled = resample(pixels[np.newaxis], linear_weights, size)
        return resampled.reshape(*size, -1)
    from PIL import Image

    filters = {
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
        "lanczos": Image.Resampling.LANCZOS,
        "box": Image.Resampling.BOX,
    }
    channels: list[npt.NDArray[np.uint8]] = [
        np.asarray(Image.fromarray(channel).resize((size[1], size[0]), filters[method]))
        for channel in np.moveaxis(pixels, 2, 0)
    ]
    return np.stack(channels, axis=2)


def nearest(source: int, target: int) -> npt.NDArray[np.int64]:
    """Return the source index of each target pixel, with half-pixel centres."""
    return (2 * np.arange(target) + 1) * source // (2 * target)


def linear_weights(source: int, target: int) -> npt.NDArray[np.int64]:
    """Return bilinear weights with half-pixel centres: shape (target, source), each row sums to 2·target."""
    weights = np.zeros((target, source), dtype=np.int64)
    for row in range(target):
        below, fraction = divmod((2 * row + 1) * source - target, 2 * target)
        weights[row, max(below, 0)] += 2 * target - fraction
        weights[row, min(below + 1, source - 1)] += fraction
    return weights


def area_weights(source: int, target: int) -> npt.NDArray[np.int64]:
    """Return the overlap of each target pixel with each source pixel; each row sums to ``source``."""
    edges = np.arange(target + 1)[:, np.newaxis] * source
    low, high = edges[:-1], edges[1:]
    start = np.arange(source) * target
    overlap: npt.NDArray[np.int64] = np.minimum(high, start + target) - np.maximum(low, start)
    return overlap.clip(min=0)


def resample(
    images: npt.NDArray[np.uint8] | npt.NDArray[np.float64],
    weights: Callable[[int, int], npt.NDArray[np.int64]],
    size: tuple[int, int],
) -> npt.NDArray[np.uint8]:
    """Resample images of shape (n, h, w, c) with whole-number weights, rounded half up.

    The sums are whole numbers below 2⁵³, which are exact in float64, so the result does not depend on the
    order of additions in a BLAS.
    """
    rows = weights(images.shape[1], size[0]).astype(np.float64)
    columns = weights(images.shape[2], size[1]).astype(np.float64)
    channels_first = np.moveaxis(images, 3, 1).astype(np.float64)
    sums = rows @ channels_first @ columns.T
    whole = rows[0].sum() * columns[0].sum()
    rounded: npt.NDArray[np.float64] = np.floor((2 * sums + whole) / (2 * whole))
    return np.moveaxis(rounded, 1, 3).astype(np.uint8)
