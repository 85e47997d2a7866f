"""Corrupted copies of a data set: families of corruptions in five severities.

The image families follow Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations" (ICLR 2019), rewritten for uint8 images of any size and number of channels.
Each sample has its own random stream, so that a subset of a set, or the set in another order, gets the same
pixels. The reason for not using a library is in docs/decisions/0006-corruptions-are-our-own-code.md.
"""

from __future__ import annotations

import difflib
import hashlib
import math
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from harness.core.errors import DataError, UsageError
from harness.data.corruptions_features import FEATURE_FAMILIES, Streams, Values, spread_of
from harness.data.images import area_weights, linear_weights, nearest, resample

__all__ = ["FEATURE_FAMILIES", "IMAGE_FAMILIES", "SEVERITIES", "corrupt"]

SEVERITIES = (1, 2, 3, 4, 5)
SMALLEST_SIDE = 8
_CHUNK_BYTE = 1 << 26  # of float64 at a time, so that a set of photos fits into memory

Family = Callable[[Values, int, Streams], Values]


def corrupt(
    raw: npt.NDArray[np.generic],
    ids: npt.NDArray[np.int64],
    family: str,
    severity: int,
    *,
    seed: int,
    kind: Literal["image", "features"],
    reference: npt.NDArray[np.generic] | None = None,
) -> npt.NDArray[np.generic]:
    """Return a corrupted copy of the samples.

    Parameters
    ----------
    raw : ndarray, shape (n, ...)
        Images: uint8, (n, h, w, c) or (n, h, w), sides of at least 8 pixels. Features: integers or
        floating point.
    ids : ndarray, shape (n,), int64
        Fixed number of each sample; its random stream depends on (seed, family, severity, id) only.
    family : str
        A name in ``IMAGE_FAMILIES`` or ``FEATURE_FAMILIES``.
    severity : int
        1 (mild) to 5.
    seed : int
        Seed of the run.
    kind : {"image", "features"}
        Kind of the values.
    reference : ndarray, shape (m, ...), optional
        Calibration samples, which give the spread of each feature; required for features.

    Returns
    -------
    ndarray
        Same shape and dtype as ``raw``.
    """
    families = IMAGE_FAMILIES if kind == "image" else FEATURE_FAMILIES
    if family not in families:
        close = difflib.get_close_matches(family, families, n=1, cutoff=0.0)[0]
        raise UsageError(
            f"there is no corruption family {family!r} for {kind}",
            next_step=f"did you mean {close!r}? known: {', '.join(families)}",
        )
    if severity not in SEVERITIES:
        raise UsageError(f"{family!r} has no severity {severity}", next_step="use 1, 2, 3, 4 or 5")
    if len(ids) != len(raw):
        raise DataError(f"{len(raw)} samples but {len(ids)} ids", where=f"corruption {family!r}")
    if kind == "image" and raw.ndim == 3:
        grey = corrupt(raw[..., np.newaxis], ids, family, severity, seed=seed, kind=kind)
        return grey.reshape(raw.shape)
    corrupt_chunk = (
        _feature_chunks(raw, reference, family) if kind == "features" else _image_chunks(raw, family)
    )
    streams = _streams(ids, family, severity, seed)
    corrupted = np.empty_like(raw)
    step = max(1, _CHUNK_BYTE // (8 * math.prod(raw.shape[1:])))
    for start in range(0, len(raw), step):
        chunk = raw[start : start + step]
        values = corrupt_chunk(chunk.astype(np.float64), severity - 1, islice(streams, len(chunk)))
        corrupted[start : start + step] = _cast(values, raw.dtype)
    return corrupted


def _image_chunks(raw: npt.NDArray[np.generic], family: str) -> Family:
    if raw.dtype != np.uint8 or raw.ndim != 4 or min(raw.shape[1:3]) < SMALLEST_SIDE:
        raise DataError(
            f"image corruptions need uint8 images (n, h, w, c) of at least {SMALLEST_SIDE} pixels a side, "
            f"not {raw.dtype} of shape {raw.shape}",
            where=f"corruption {family!r}",
            next_step='use raw uint8 pixels in NHWC, or the corruptions of kind "features"',
        )
    return IMAGE_FAMILIES[family]


def _feature_chunks(
    raw: npt.NDArray[np.generic], reference: npt.NDArray[np.generic] | None, family: str
) -> Family:
    if raw.dtype.kind not in "iuf":
        raise DataError(f"features of dtype {raw.dtype} cannot be corrupted", where=f"corruption {family!r}")
    if reference is None or reference.shape[1:] != raw.shape[1:] or not len(reference):
        given = "none" if reference is None else f"an array of shape {reference.shape}"
        raise DataError(
            f"feature corruptions need calibration samples of shape {raw.shape[1:]}, not {given}",
            where=f"corruption {family!r}",
            next_step="use calibration samples with the shape of the test samples",
        )
    return partial(FEATURE_FAMILIES[family], spread_of(reference))


def _cast(values: Values, dtype: np.dtype[Any]) -> npt.NDArray[np.generic]:
    """Return the nearest values of the dtype."""
    if dtype.kind == "f":
        limits = np.finfo(dtype)
        return np.clip(values, float(limits.min), float(limits.max)).astype(dtype)
    bounds = np.iinfo(dtype)
    # The largest 64-bit integers round up in float64, beyond the range of the cast.
    highest = float(bounds.max) if bounds.bits < 64 else np.nextafter(float(bounds.max), 0)
    return np.clip(np.rint(values), float(bounds.min), highest).astype(dtype)


def _streams(ids: npt.NDArray[np.int64], family: str, severity: int, seed: int) -> Streams:
    """Yield the generator of each sample; a family without randomness uses none."""
    for sample in ids.tolist():
        digest = hashlib.blake2b(f"{seed}/{family}/{severity}/{sample}".encode(), digest_size=16).digest()
        yield np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


# The families. `x` is float64 of shape (n, h, w, c) in 0..255 and may be overwritten; `s` is severity − 1.
# Unless noted, the constants are those of ImageNet-C, which are stronger than those of CIFAR-10-C, and
# lengths scale with the image.


def _gaussian_noise(x: Values, s: int, streams: Streams) -> Values:
    sigma = 255 * (0.08, 0.12, 0.18, 0.26, 0.38)[s]
    for image, stream in zip(x, streams, strict=True):
        image[:] += sigma * stream.standard_normal(image.shape)
    return x


def _shot_noise(x: Values, s: int, streams: Streams) -> Values:
    photons = (60, 25, 12, 5, 3)[s] / 255
    for image, stream in zip(x, streams, strict=True):
        image[:] = stream.poisson(image * photons) / photons
    return x


def _impulse_noise(x: Values, s: int, streams: Streams) -> Values:
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[s]
    for image, stream in zip(x, streams, strict=True):
        drawn = stream.random(image.shape)
        image[drawn < share] = 255
        image[drawn < share / 2] = 0
    return x


def _gaussian_blur(x: Values, s: int, streams: Streams) -> Values:
    from scipy import ndimage  # slow to import, and not on a board

    # CIFAR-10-C's widths at 32 pixels, near ImageNet-C's at 224: σ grows with the shorter side from there.
    sigma = (0.4, 0.6, 0.7, 0.8, 1.0)[s] * max(min(x.shape[1:3]) / 32, 1.0)
    blurred: Values = ndimage.gaussian_filter(x, (0, sigma, sigma, 0), mode="nearest")
    return blurred


def _brightness(x: Values, s: int, streams: Streams) -> Values:
    # The paper raises V of HSV and keeps hue and saturation: all channels of a pixel grow by one factor.
    value = x.max(axis=3, keepdims=True)
    raised = np.minimum(value + 255 * (0.1, 0.2, 0.3, 0.4, 0.5)[s], 255)
    brighter: Values = np.where(value > 0, x * raised / np.maximum(value, 1), raised)
    return brighter


def _contrast(x: Values, s: int, streams: Streams) -> Values:
    # Whole numbers sum exactly in any order, so the mean does not depend on the number of images.
    mean = x.sum(axis=(1, 2), keepdims=True) / (x.shape[1] * x.shape[2])
    flatter: Values = (x - mean) * (0.4, 0.3, 0.2, 0.1, 0.05)[s] + mean
    return flatter


def _pixelate(x: Values, s: int, streams: Streams) -> Values:
    ratio = (0.6, 0.5, 0.4, 0.3, 0.25)[s]
    height, width = x.shape[1:3]
    size = (max(1, int(height * ratio)), max(1, int(width * ratio)))
    coarse = resample(x, area_weights, size)
    return coarse[:, nearest(size[0], height)][:, :, nearest(size[1], width)].astype(np.float64)


def _fog(x: Values, s: int, streams: Streams) -> Values:
    # The paper's plasma fractal: octaves of interpolated noise whose amplitude decreases by `decay`.
    # CIFAR-10-C's constants: with ImageNet-C's, severity 4 changes the pixels less than severity 3.
    strength, decay = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))[s]
    height, width = x.shape[1:3]
    sides = [2**octave for octave in range(1, max(height, width).bit_length())]
    size = sum(side**2 for side in sides)
    draws = np.stack([stream.integers(256, size=size, dtype=np.uint8) for stream in streams])
    plasma = np.zeros((len(x), height, width))
    used = 0
    for octave, side in enumerate(sides):
        grid = draws[:, used : used + side**2].reshape(-1, side, side).astype(np.float64)
        used += side**2
        rows, columns = (linear_weights(side, length).astype(np.float64) for length in (height, width))
        plasma += decay**-octave / (4 * height * width) * (rows @ grid @ columns.T)
    low, high = (bound(plasma, axis=(1, 2), keepdims=True) for bound in (np.min, np.max))
    brightest = x.max(axis=(1, 2, 3), keepdims=True)
    haze = 255 * strength * ((plasma - low) / np.maximum(high - low, 1))[..., np.newaxis]
    foggy: Values = (x + haze) * (brightest / (brightest + 255 * strength))
    return foggy


IMAGE_FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "gaussian_noise": _gaussian_noise,
        "shot_noise": _shot_noise,
        "impulse_noise": _impulse_noise,
        "gaussian_blur": _gaussian_blur,
        "brightness": _brightness,
        "contrast": _contrast,
        "pixelate": _pixelate,
        "fog": _fog,
    }
)
