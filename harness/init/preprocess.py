"""Layouts and common preprocessings that fit a model and its data, the simplest first."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import TensorSpec
from harness.core.errors import DataError
from harness.core.feeding import sample_shape
from harness.core.preprocess import Preprocess
from harness.data.datasets import Dataset

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: The simplest first: of several with the same score the first is chosen.
RANGES = {
    "0-255": Preprocess(),
    "0-1": Preprocess(scale=1 / 255),
    "-1..1": Preprocess(scale=1 / 255, mean=(0.5,), std=(0.5,)),
    "ImageNet mean/std": Preprocess(scale=1 / 255, mean=IMAGENET_MEAN, std=IMAGENET_STD),
}
#: Factor of audio that a model takes as integers of 16 bits.
SOUND = {"16 bits": 32768.0}
LAYOUTS = ("same", "NCHW", "NHWC")
#: Samples are flattened in both orders only if an axis has at most so many channels.
MOST_CHANNELS = 4
#: Combinations of layouts of several inputs that are tried at most.
MOST_COMBINATIONS = 8
#: Numbers that are not uint8 are divided like pixels, too, if their largest one lies in this range.
PIXELS_FROM, PIXELS_TO = 2.0, 255.0
#: Whole numbers up to less than this are also divided by the largest one, such as 16 grey levels.
PIXELS_BRIGHT = 100.0
#: A table of whole numbers may hold pixels if it has so many columns, and so many grey levels.
PIXEL_COLUMNS, PIXEL_LEVELS = 64, 15.0


@dataclass(frozen=True, slots=True)
class Fit:
    """How the raw samples of one input fit the model, apart from their values.

    Parameters
    ----------
    kind : str
        ``image`` (pixels, uint8), ``audio`` (real numbers in [-1, 1]), ``features`` (numbers), ``codes``
        (integers that the model takes as such).
    step : Preprocess
        Layout, shape and dtype.
    channels : int
        Size of the last axis of a raw image; 0 without such an axis.
    """

    kind: str
    step: Preprocess
    channels: int = 0


@dataclass(frozen=True, slots=True)
class Guess:
    """One preprocessing of all inputs, as text and as configured."""

    text: str
    steps: Mapping[str, Preprocess]

    @property
    def layouts(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Layout and shape of every input."""
        return tuple((step.layout, step.shape) for step in self.steps.values())


def fits(
    name: str, raw: NDArray[np.generic], spec: TensorSpec, *,
    channels_first: bool, layout: str = "", batch_axis: str = "", is_audio: bool = False,
) -> list[Fit]:  # fmt: skip
    """Find the layouts in which raw samples fit an input.

    Axes are moved, axes of size 1 are added or removed, and a vector takes the shape of an image or the other
    way round; values are never reshaped into another image.

    Parameters
    ----------
    raw : ndarray, shape (n, …)
    channels_first : bool
        Of an image that fits both ways, channels first is the first guess.
    layout : str
        The only layout to try; empty: all.
    batch_axis : str
        The only axis of the samples to try, or ``none``; empty: all, until one fits.
    is_audio : bool

    Returns
    -------
    list of Fit
        At least one; the simplest first.

    Raises
    ------
    DataError
        They fit in no layout.
    """
    sample = raw.shape[1:]
    # Integers of the file's own type are its codes; other numbers are real ones.
    is_real = spec.quantization is not None and (raw.dtype != spec.dtype or raw.dtype == np.uint8)
    dtype = "float32" if is_real else spec.dtype
    pixels = raw.dtype == np.uint8
    # Only real numbers are preprocessed; a model that takes integers gets them unchanged.
    kind = "image" if pixels else "audio" if is_audio else "features"
    if not np.issubdtype(np.dtype(dtype), np.floating):
        kind = "codes"
    channels = sample[-1] if pixels and len(sample) == 3 and sample[-1] in (1, 3, 4) else 0
    front = bool(channels and channels_first)
    tries = [*((axis, _layouts) for axis in batch_axes(spec.shape)), (0, _shapes), (None, _layouts)]
    for axis, find in tries:
        if batch_axis in ("", str(axis).lower()):
            step = Preprocess(dtype=dtype, batch_axis=axis)
            if steps := find(sample, spec, step, _ways(sample, layout, grey=pixels, front=front)):
                return [Fit(kind, way, channels) for way in steps]
    takes = "[" + ", ".join("?" if size is None else str(size) for size in spec.shape[1:]) + "]"
    raise DataError(
        f"samples of shape {list(sample)} do not fit the input {name}, which takes {takes}",
        cause="the data belong to another model, or the features contain a label column",
        next_step="use data of the model's shape (image files are resized, arrays are not)",
    )


def batch_axes(shape: Sequence[int | None]) -> list[int]:
    """Return the axes that samples may lie on, the likeliest first.

    Where the caller chooses the size of some axes, it is one of these; else it may be any.
    """
    open_axes = [axis for axis, size in enumerate(shape) if size is None]
    return open_axes or list(range(len(shape))) or [0]


def _ways(sample: tuple[int, ...], layout: str, *, grey: bool, front: bool) -> list[str]:
    """Return the layouts to try, the simplest first.

    Parameters
    ----------
    layout : str
        The only one; empty: all.
    grey : bool
        The samples are pixels: without an axis of channels they are not transposed.
    front : bool
        The last axis has channels, and most models of the format take them first.
    """
    # Of two axes, NCHW and NHWC would be the same.
    ways = LAYOUTS[: 1 if len(sample) < 2 or (grey and len(sample) == 2) else min(len(sample), 3)]
    ordered = sorted(ways, key=lambda way: way != ("NCHW" if front else "same"))
    return [way for way in ordered if not layout or way == layout]


def _layouts(
    sample: tuple[int, ...], spec: TensorSpec, step: Preprocess, ways: Sequence[str]
) -> list[Preprocess]:
    """Return those that give exactly the shape that an input takes."""
    if not spec.shape:  # unknown
        return [replace(step, layout=way) for way in ways[:1]]
    wanted = sample_shape(spec, step)
    return [replace(step, layout=way) for way in ways if _matches(_moved(sample, way), wanted)]


def _shapes(
    sample: tuple[int, ...], spec: TensorSpec, step: Preprocess, ways: Sequence[str]
) -> list[Preprocess]:
    """Return those that give it after axes of size 1 came or went, or a vector became an image."""
    shape = tuple(size for size in sample_shape(spec, step) if size is not None)
    if len(shape) < len(spec.shape) - 1 or math.prod(shape) != math.prod(sample):
        return []
    flat = len(shape) <= 1 or len(sample) == 1
    return [
        replace(step, layout=way, shape=shape)
        for way in sorted(ways, key=lambda way: way != "same")
        if (flat or _long(_moved(sample, way)) == _long(shape))
        and (way == "same" or _has_channels(sample, way))
    ]


def _moved(sample: tuple[int, ...], way: str) -> tuple[int, ...]:
    if way == "NCHW":
        return (sample[-1], *sample[:-1])
    return (*sample[1:], sample[0]) if way == "NHWC" else sample


def _matches(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(shape) == len(wanted) and all(w in (None, s) for s, w in zip(shape, wanted, strict=True))


def _long(shape: Sequence[int]) -> list[int]:
    return [size for size in shape if size != 1]


def _has_channels(sample: tuple[int, ...], way: str) -> bool:
    """Whether the axis that is moved looks like channels, so that moving it changes the order of values."""
    return len(sample) == 3 and 1 < sample[-1 if way == "NCHW" else 0] <= MOST_CHANNELS


def combinations(by_input: Mapping[str, Sequence[Fit]]) -> list[Mapping[str, Fit]]:
    """Return the combinations of the layouts of all inputs, the simplest first."""
    every = itertools.islice(itertools.product(*by_input.values()), MOST_COMBINATIONS)
    return [dict(zip(by_input, chosen, strict=True)) for chosen in every]


def guesses(by_input: Mapping[str, Sequence[Fit]], calibration: Dataset, samples: Dataset) -> list[Guess]:
    """Return the common preprocessings of these inputs, the simplest first, the same for inputs of a kind.

    Parameters
    ----------
    by_input : mapping of input name to sequence of Fit
    calibration : Dataset
        Source of the statistics of features.
    samples : Dataset
        Those that are tried; they show whether features look like pixels.
    """
    chosen = combinations(by_input)
    candidates = []
    for input_fits in chosen:
        layout = ""
        if len(chosen) > 1:
            layout = "layout " + ", ".join(fit.step.layout for fit in input_fits.values())
        candidates += [
            Guess(", ".join(text for text in (guess.text, layout) if text), guess.steps)
            for guess in _values(input_fits, calibration, samples)
        ]
    return candidates


def _values(input_fits: Mapping[str, Fit], calibration: Dataset, samples: Dataset) -> list[Guess]:
    """Return the common preprocessings of values in one layout."""
    kinds = {input_fit.kind for input_fit in input_fits.values()}
    channels = min((way.channels for way in input_fits.values() if way.kind == "image"), default=0)
    colours = ("RGB", "BGR") if channels == 3 else ("",)
    ranges, tables = [""], [""]
    if "image" in kinds:
        ranges = [text for text in RANGES if channels == 3 or "ImageNet" not in text]
    else:
        tables = ["as is"]
    if "audio" in kinds:
        tables = ["as is", *SOUND]
    if "features" in kinds:
        features = [
            _largest_pixel(samples.inputs[name], fit.step)
            for name, fit in input_fits.items()
            if fit.kind == "features"
        ]
        scaled = ["0-1", "-1..1"] if all(features) else []
        tables = ["as is", *scaled, *(["standardised"] if len(calibration) > 1 else [])]
    candidates = []
    for table, colour, values in itertools.product(tables, colours, ranges):
        steps = {}
        for name, input_fit in input_fits.items():
            steps[name] = input_fit.step
            if input_fit.kind == "image":
                usual = RANGES[values]
                steps[name] = replace(
                    input_fit.step,
                    scale=usual.scale,
                    mean=usual.mean[::-1] if colour == "BGR" else usual.mean,
                    std=usual.std[::-1] if colour == "BGR" else usual.std,
                    reverse_channels=colour == "BGR",
                )
            elif input_fit.kind == "audio" and table in SOUND:
                steps[name] = replace(input_fit.step, scale=SOUND[table])
            elif input_fit.kind == "features" and table == "standardised":
                steps[name] = _standardised(input_fit.step, calibration.inputs[name])
            elif input_fit.kind == "features" and table in RANGES:
                usual, largest = RANGES[table], _largest_pixel(samples.inputs[name], input_fit.step)
                steps[name] = replace(input_fit.step, scale=1 / largest, mean=usual.mean, std=usual.std)
        candidates.append(Guess(", ".join(text for text in (colour, values, table) if text), steps))
    return candidates


def _largest_pixel(raw: NDArray[np.generic], step: Preprocess) -> float:
    """Return the value of white if numbers that are not uint8 may be pixels, and else 0.

    They have the range of pixels, and more axes than a table has or the model takes such; or they are whole
    numbers in many columns.
    """
    if not raw.size or raw.ndim < 2:
        return 0.0
    values = raw.astype(np.float64)
    largest, whole = float(values.max()), bool((values == np.rint(values)).all())
    if values.min() < 0 or not PIXELS_FROM < largest <= PIXELS_TO:
        return 0.0
    is_table = raw.ndim < 3 and len(step.shape) < 2
    if is_table and not (whole and raw.shape[1] >= PIXEL_COLUMNS and largest >= PIXEL_LEVELS):
        return 0.0
    return largest if whole and largest < PIXELS_BRIGHT else PIXELS_TO


def _standardised(step: Preprocess, raw: NDArray[np.generic]) -> Preprocess:
    values = raw.astype(np.float64)
    axes = tuple(range(max(1, values.ndim - 1)))
    mean, std = values.mean(axis=axes), values.std(axis=axes)
    std = np.where(std > 0, std, 1.0)  # a constant feature is only centred

    def rounded(array: NDArray[np.float64]) -> tuple[float, ...]:
        return tuple(float(f"{value:.7g}") for value in np.atleast_1d(array))

    return replace(step, mean=rounded(mean), std=rounded(std))
