"""Common preprocessings that fit a model and its data, the simplest first."""

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


@dataclass(frozen=True, slots=True)
class Fit:
    """How the raw samples of one input fit the model, apart from their values.

    Parameters
    ----------
    kind : str
        ``image`` (pixels, uint8), ``features`` (numbers), ``codes`` (integers that the model takes as such).
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


def fit(name: str, raw: NDArray[np.generic], spec: TensorSpec, *, channels_first: bool) -> Fit:
    """Find the layout in which raw samples fit an input.

    Parameters
    ----------
    raw : ndarray, shape (n, …)
    channels_first : bool
        Preferred if an image fits both ways.

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
    kind = "image" if pixels else "features"
    if not np.issubdtype(np.dtype(dtype), np.floating):
        kind = "codes"
    channels = sample[-1] if pixels and len(sample) == 3 and sample[-1] in (1, 3, 4) else 0
    for axis in batch_axes(spec.shape):
        same = Preprocess(dtype=dtype, batch_axis=axis)
        wanted = sample_shape(spec, same)
        ways = [(same, sample)]
        if channels:
            first = replace(same, layout="NCHW")
            ways = [(first, (sample[2], *sample[:2])), (same, sample)]
            ways = ways if channels_first else ways[::-1]
        for step, shape in ways:
            if not spec.shape or _is(shape, wanted):
                return Fit(kind, step, channels)
    same, wanted = Preprocess(dtype=dtype), spec.shape[1:]
    fixed = [size for size in wanted if size is not None]
    if len(fixed) == len(wanted) and math.prod(fixed) == math.prod(sample):
        return Fit(kind, replace(same, shape=tuple(fixed)), channels)
    takes = "[" + ", ".join("?" if size is None else str(size) for size in wanted) + "]"
    raise DataError(
        f"samples of shape {list(sample)} do not fit the input {name}, which takes {takes}",
        cause="the data belong to another model, or the features contain a label column",
        next_step="use data of the model's shape (image files are resized, arrays are not)",
    )


def batch_axes(shape: Sequence[int | None]) -> list[int | None]:
    """Return the axes that samples may lie on, the likeliest first; None: it takes one sample without any.

    Axes whose size the caller chooses come before those of a fixed size.
    """
    axes = sorted(range(len(shape)), key=lambda axis: shape[axis] is not None)
    return [*axes, None] if axes else [0]


def _is(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(shape) == len(wanted) and all(w in (None, s) for s, w in zip(shape, wanted, strict=True))


def guesses(fits: Mapping[str, Fit], calibration: Dataset) -> list[Guess]:
    """Return the common preprocessings of these inputs, the simplest first, the same for inputs of a kind.

    Parameters
    ----------
    calibration : Dataset
        Source of the statistics of features.
    """
    kinds = {input_fit.kind for input_fit in fits.values()}
    channels = min((way.channels for way in fits.values() if way.kind == "image"), default=0)
    colours = ("RGB", "BGR") if channels == 3 else ("",)
    ranges, tables = [""], [""]
    if "image" in kinds:
        ranges = [text for text in RANGES if channels == 3 or "ImageNet" not in text]
    else:
        tables = ["as is"]
    if "features" in kinds and len(calibration) > 1:
        tables = ["as is", "standardised"]
    candidates = []
    for table, colour, values in itertools.product(tables, colours, ranges):
        steps = {}
        for name, input_fit in fits.items():
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
            elif input_fit.kind == "features" and table == "standardised":
                steps[name] = _standardised(input_fit.step, calibration.inputs[name])
        candidates.append(Guess(", ".join(text for text in (colour, values, table) if text), steps))
    return candidates


def _standardised(step: Preprocess, raw: NDArray[np.generic]) -> Preprocess:
    values = raw.astype(np.float64)
    axes = tuple(range(max(1, values.ndim - 1)))
    mean, std = values.mean(axis=axes), values.std(axis=axes)
    std = np.where(std > 0, std, 1.0)  # a constant feature is only centred

    def rounded(array: NDArray[np.float64]) -> tuple[float, ...]:
        return tuple(float(f"{value:.7g}") for value in np.atleast_1d(array))

    return replace(step, mean=rounded(mean), std=rounded(std))
