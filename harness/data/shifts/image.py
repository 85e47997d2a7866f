"""Image corruptions of our own: eight families of ImageNet-C, for uint8 images of any size and channels.

After Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations"
(ICLR 2019). The reasons are in docs/decisions/0006-corruptions-are-our-own-code.md; the other eleven are in
`harness.data.shifts.imagenet_c`.
"""

from __future__ import annotations

import numpy as np

from harness.data.images import area_weights, linear_weights, nearest, resample
from harness.data.shifts.family import About, Change, Family, Kind, Streams, Values

HENDRYCKS = "ImageNet-C: Hendrycks & Dietterich, ICLR 2019"


# `x` is float64 of shape (n, h, w, c) in 0..255. Unless noted, the constants are those of ImageNet-C,
# which are stronger than those of CIFAR-10-C, and lengths scale with the image.


def _gaussian_noise(x: Values, severity: int, streams: Streams, about: About) -> Values:
    sigma = 255 * (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]
    for image, stream in zip(x, streams, strict=True):
        image[:] += sigma * stream.standard_normal(image.shape)
    return x


def _shot_noise(x: Values, severity: int, streams: Streams, about: About) -> Values:
    photons = (60, 25, 12, 5, 3)[severity - 1] / 255
    for image, stream in zip(x, streams, strict=True):
        image[:] = stream.poisson(image * photons) / photons
    return x


def _impulse_noise(x: Values, severity: int, streams: Streams, about: About) -> Values:
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    for image, stream in zip(x, streams, strict=True):
        drawn = stream.random(image.shape)
        image[drawn < share] = 255
        image[drawn < share / 2] = 0
    return x


def _gaussian_blur(x: Values, severity: int, streams: Streams, about: About) -> Values:
    from scipy import ndimage  # slow to import, and not on a board

    # CIFAR-10-C's widths at 32 pixels, near ImageNet-C's at 224: σ grows with the shorter side from there.
    sigma = (0.4, 0.6, 0.7, 0.8, 1.0)[severity - 1] * max(min(x.shape[1:3]) / 32, 1.0)
    blurred: Values = ndimage.gaussian_filter(x, (0, sigma, sigma, 0), mode="nearest")
    return blurred


def _brightness(x: Values, severity: int, streams: Streams, about: About) -> Values:
    # The paper raises V of HSV and keeps hue and saturation: all channels of a pixel grow by one factor.
    value = x.max(axis=3, keepdims=True)
    raised = np.minimum(value + 255 * (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1], 255)
    brighter: Values = np.where(value > 0, x * raised / np.maximum(value, 1), raised)
    return brighter


def _contrast(x: Values, severity: int, streams: Streams, about: About) -> Values:
    # Whole numbers sum exactly in any order, so the mean does not depend on the number of images.
    mean = x.sum(axis=(1, 2), keepdims=True) / (x.shape[1] * x.shape[2])
    flatter: Values = (x - mean) * (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1] + mean
    return flatter


def _pixelate(x: Values, severity: int, streams: Streams, about: About) -> Values:
    ratio = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1]
    height, width = x.shape[1:3]
    size = (max(1, int(height * ratio)), max(1, int(width * ratio)))
    coarse = resample(x, area_weights, size)
    return coarse[:, nearest(size[0], height)][:, :, nearest(size[1], width)].astype(np.float64)


def _fog(x: Values, severity: int, streams: Streams, about: About) -> Values:
    # The paper's plasma fractal: octaves of interpolated noise whose amplitude decreases by `decay`.
    # CIFAR-10-C's constants: with ImageNet-C's, severity 4 changes the pixels less than severity 3.
    strength, decay = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))[severity - 1]
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


def _family(change: Change, stands_for: str, loss_means: str) -> Family:
    name = change.__name__.removeprefix("_")
    return Family(name, (Kind.IMAGE,), change, stands_for, HENDRYCKS, loss_means)


#: In the order in which they run.
IMAGE_FAMILIES: tuple[Family, ...] = (
    _family(
        _gaussian_noise, "Noise of a sensor in low light.",
        "The model relies on fine texture, or rounding of int8 adds to the noise: train with noise.",
    ),
    _family(
        _shot_noise, "Noise of few photons: short exposure, small pixels.",
        "As for gaussian_noise; dark areas suffer less, bright ones more.",
    ),
    _family(
        _impulse_noise, "Dead and hot pixels, bit errors of a link.",
        "Single extreme values pass the first layers: a median filter before the model helps.",
    ),
    _family(
        _gaussian_blur, "A lens out of focus, a dirty cover, a strong noise filter.",
        "Classes are told apart by fine structure that the optics do not deliver.",
    ),
    _family(
        _brightness, "Overexposure, another time of day.",
        "The range of activations moves: wider calibration data for int8, or normalized exposure.",
    ),
    _family(
        _contrast, "Haze, glare, a flat picture profile of the camera.",
        "Small differences fall below one step of int8: check the scales of the first layers.",
    ),
    _family(
        _pixelate, "A camera of low resolution, or an enlarged crop.",
        "The training images were sharper than those of the field.",
    ),
    _family(
        _fog, "Fog or smoke: contrast falls and a bright veil is added, unevenly.",
        "As for contrast and brightness together.",
    ),
)  # fmt: skip
