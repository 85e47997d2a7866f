"""Mistakes of a deployment, as negative controls: each has to cost accuracy.

Where one costs nothing, these data cannot show that it was made, and a PASS says nothing about it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from harness.core.preprocess import Preprocess
from harness.data.images import nearest
from harness.data.shifts.family import About, Change, Family, Kind, Streams, Values

PIXEL_MAX = 255.0
EVERY = (Kind.IMAGE, Kind.SERIES, Kind.TABLE)


# Why a mistake cannot be made; empty where it can.


def _colours(about: About) -> str:
    return "" if _channels(about) == 3 else "there are no three channels to swap"


def _many_channels(about: About) -> str:
    return "" if _channels(about) > 1 else "one channel is the same in both layouts"


def _square(about: About) -> str:
    return "" if about.shape[0] == about.shape[1] else "the images are not square"


def _floats(about: About) -> str:
    is_float = np.issubdtype(np.dtype(about.step.dtype), np.floating)
    return "" if is_float else f"the input takes {about.step.dtype} values"


def _scaled(about: About) -> str:
    return _floats(about) or ("" if about.step.scale != 1 else "[input] has no scale")


def _normalized(about: About) -> str:
    step = about.step
    normalizes = any(step.mean) or any(value != 1 for value in step.std)
    return _floats(about) or ("" if normalizes else "[input] has no mean and std")


def _several_features(about: About) -> str:
    most = 1 if about.kind is Kind.TABLE else 2
    fits = len(about.shape) == most and about.shape[-1] > 1
    return "" if fits else f"a sample of shape {about.shape} has no columns or channels to exchange"


def _window(about: About) -> str:
    fits = len(about.shape) in (1, 2) and about.shape[0] > 1
    return "" if fits else f"a sample of shape {about.shape} has no one time axis"


def _channels(about: About) -> int:
    return about.shape[2] if len(about.shape) > 2 else 1


def _as_raw(wanted: Values, step: Preprocess) -> NDArray[np.float64]:
    """Return raw samples of which the preprocessing makes the wanted input."""
    mean, std = np.array(step.mean), np.array(step.std)
    if step.reverse_channels:  # the step reverses first
        mean, std = mean[::-1], std[::-1]
    raw: NDArray[np.float64] = (wanted * std + mean) / step.scale
    return raw


# `x` is float64, (n, …). No mistake draws from the streams.


def _swapped_channels(x: Values, severity: int, streams: Streams, about: About) -> Values:
    return x[..., ::-1]


def _range_of_one(x: Values, severity: int, streams: Streams, about: About) -> Values:
    return x / PIXEL_MAX


def _missing_scale(x: Values, severity: int, streams: Streams, about: About) -> Values:
    return x / about.step.scale


def _missing_mean_std(x: Values, severity: int, streams: Streams, about: About) -> Values:
    return _as_raw(x * about.step.scale, about.step)


def _wrong_layout(x: Values, severity: int, streams: Streams, about: About) -> Values:
    n, height, width, channels = x.shape
    return np.moveaxis(x.reshape(n, channels, height, width), 1, -1)


def _wrong_resize(x: Values, severity: int, streams: Streams, about: About) -> Values:
    height = x.shape[1]
    lines = max(1, 3 * height // 4)
    above = (height - lines) // 2
    squeezed = np.zeros_like(x)
    squeezed[:, above : above + lines] = x[:, nearest(height, lines)]
    return squeezed


def _rotated(x: Values, severity: int, streams: Streams, about: About) -> Values:
    return np.rot90(x, axes=(1, 2))


def _crop_off_by_one(x: Values, severity: int, streams: Streams, about: About) -> Values:
    moved = x.copy()
    moved[:, 1:, 1:] = x[:, :-1, :-1]
    return moved


def _exchanged_features(x: Values, severity: int, streams: Streams, about: About) -> Values:
    return np.roll(x, 1, axis=-1)


def _reversed_time(x: Values, severity: int, streams: Streams, about: About) -> Values:
    return x[:, ::-1]


def _half_rate(x: Values, severity: int, streams: Streams, about: About) -> Values:
    indices = np.minimum(2 * np.arange(x.shape[1]), x.shape[1] - 1)
    return x[:, indices]


def _mistake(
    change: Change,
    kinds: tuple[Kind, ...],
    applies: Callable[[About], str],
    stands_for: str,
    loss_means: str,
    dtype: str = "",
) -> Family:
    name = change.__name__.removeprefix("_")
    source = "Breck et al., IEEE Big Data 2017: training-serving skew"
    return Family(
        name, kinds, change, stands_for, source, loss_means, applies=applies, mistake=True, dtype=dtype
    )  # fmt: skip


#: In the order in which they run.
MISTAKES: tuple[Family, ...] = (
    _mistake(
        _swapped_channels, (Kind.IMAGE,), _colours,
        "Red and blue exchanged: OpenCV reads BGR, most training code RGB.",
        "None: the model does not look at colour, and these data cannot show the mistake.",
    ),
    _mistake(
        _range_of_one, (Kind.IMAGE,), _floats,
        "Pixels of 0 to 1 where 0 to 255 are expected: divided by 255 once too often.",
        "None: the model normalizes its input itself.", "float32",
    ),
    _mistake(
        _missing_scale, EVERY, _scaled,
        "The scale of `[input]` left out: pixels of 0 to 255 where 0 to 1 are expected.",
        "None: the model normalizes its input itself.", "float32",
    ),
    _mistake(
        _missing_mean_std, EVERY, _normalized,
        "Mean and standard deviation of `[input]` left out.",
        "None: the model normalizes its input itself.", "float32",
    ),
    _mistake(
        _wrong_layout, (Kind.IMAGE,), _many_channels,
        "The bytes of NHWC read as NCHW.",
        "None: the answers do not depend on the image; look at the test data.",
    ),
    _mistake(
        _wrong_resize, (Kind.IMAGE,), lambda about: "",
        "The image fitted into the frame with bars where it was stretched, by nearest pixels.",
        "Small: the model was trained with changed sizes.",
    ),
    _mistake(
        _rotated, (Kind.IMAGE,), _square,
        "Turned by 90 degrees: the orientation of EXIF is not read, the camera is mounted upright.",
        "None: the model was trained with rotations.",
    ),
    _mistake(
        _crop_off_by_one, (Kind.IMAGE,), lambda about: "",
        "A crop that begins one pixel too early.",
        "Small, as a rule: a model that is trained with crops does not notice.",
    ),
    _mistake(
        _exchanged_features, (Kind.SERIES, Kind.TABLE), _several_features,
        "Columns or channels in another order than in training.",
        "None: the features are alike, or the model does not look at them.",
    ),
    _mistake(
        _reversed_time, (Kind.SERIES,), _window,
        "A ring buffer read backwards.",
        "None: the order of the readings does not matter to the model.",
    ),
    _mistake(
        _half_rate, (Kind.SERIES,), _window,
        "A sensor that is read half as often as in training.",
        "None: the model does not look at frequencies.",
    ),
)  # fmt: skip
