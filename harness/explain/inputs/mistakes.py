"""Usual mistakes of preprocessing, as changes of what one input is made from."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core import preprocess
from harness.core.preprocess import Preprocess
from harness.explain.inputs.originals import Originals, Pipeline

Array = NDArray[Any]
Change = Callable[[Array], Array]
#: ITU-R 601: the luma of red, green and blue.
LUMA = (0.299, 0.587, 0.114)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Made:
    """What one input is made from.

    Parameters
    ----------
    raw : ndarray, shape (n, …)
    step : Preprocess
    rows : sequence of int
        Of the samples.
    originals : Originals, optional
        The image files.
    pipeline : Pipeline, optional
        What makes the raw samples of them.
    after : tuple of callable
        Applied to the canonical input.
    """

    raw: Array
    step: Preprocess
    rows: Sequence[int]
    originals: Originals | None = None
    pipeline: Pipeline | None = None
    after: tuple[Change, ...] = ()

    def canonical(self) -> Array:
        """What the model takes."""
        x = preprocess.apply(np.ascontiguousarray(self.raw), self.step)
        for change in self.after:
            x = change(x)
        return np.ascontiguousarray(x, self.step.dtype)

    def with_array(self, change: Change) -> Made:
        """With the raw samples changed."""
        return replace(self, raw=change(self.raw))

    def with_step(self, **values: Any) -> Made:  # noqa: ANN401 - fields of Preprocess
        """With other values of the step."""
        return replace(self, step=replace(self.step, **values))

    def with_canonical(self, change: Change) -> Made:
        """With the canonical input changed."""
        return replace(self, after=(*self.after, change))


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake.

    Parameters
    ----------
    text : str
        After "gets its input".
    change : callable
        Changes what the input is made from; None where the mistake is not possible there.
    stage : int
        Several mistakes are made in this order.
    kind : str
        Two of one kind are not made at once.
    """

    text: str
    change: Callable[[Made], Made | None] = field(compare=False)
    stage: int
    kind: str


IMAGE, ARRAY, STEP, CANONICAL = range(4)


def together(mistakes: Sequence[Mistake], made: Made) -> Made | None:
    """Make several mistakes at once."""
    changed: Made | None = made
    for mistake in sorted(mistakes, key=lambda one: one.stage):
        if changed is not None:
            changed = mistake.change(changed)
    return changed


def of_input(made: Made) -> Iterator[Mistake]:
    """Yield mistakes that are possible for an input, the likeliest first."""
    yield from _steps(made)
    if made.raw.ndim == 4:
        yield from _channels(made)
        if made.originals is not None:
            for kind, text, change in made.originals.others():
                yield Mistake(text, partial(_remade, change=change), IMAGE, kind)
        yield from _places(made)
    elif made.raw.ndim == 2 and made.raw.shape[1] > 1:
        yield moved("columns", "with its columns in reverse order", lambda x: x[:, ::-1])
        for shift in (1, -1):
            yield moved("columns", "shifted by a column", partial(np.roll, shift=shift, axis=1))
    elif made.raw.ndim == 3 and made.raw.shape[1] > 1:
        yield moved("place", "with its rows in reverse order", lambda x: x[:, ::-1])
        for shift in (1, -1):
            yield moved("place", "shifted by a row", partial(np.roll, shift=shift, axis=1))
    yield from _values(made)


def of_step(made: Made) -> Iterator[Mistake]:
    """Yield those that ``[input.NAME]`` can say."""
    yield from _steps(made)
    if made.raw.ndim == 4 and made.raw.shape[-1] == 3:
        turned = partial(Made.with_step, reverse_channels=not made.step.reverse_channels)
        yield Mistake("in the channel order BGR and not RGB", turned, STEP, "channels")


def _remade(made: Made, change: Callable[[Pipeline], Pipeline]) -> Made | None:
    if made.originals is None or made.pipeline is None:
        return None
    pipeline = change(made.pipeline)
    raw = made.originals.made(made.rows, pipeline)
    return None if raw is None or raw.shape != made.raw.shape else replace(made, raw=raw, pipeline=pipeline)


def moved(kind: str, text: str, change: Change) -> Mistake:
    """A mistake that changes the raw samples."""
    return Mistake(text, lambda made: made.with_array(change), ARRAY, kind)


def _steps(made: Made) -> Iterator[Mistake]:
    step, plain = made.step, ((0.0,), (1.0,))
    mean, std, scale = step.mean, step.std, step.scale
    options: list[tuple[str, float, tuple[float, ...], tuple[float, ...]]] = [
        ("in the range 0 to 255 and not 0 to 1", 255.0 * scale, mean, std),
        ("multiplied by 255 after normalization", scale, mean, tuple(width / 255 for width in std)),
        ("divided by 255 after normalization", scale, mean, tuple(width * 255 for width in std)),
        ("divided by 255 once more", scale / 255.0, mean, std),
        ("without mean and standard deviation", scale, *plain),
        ("without its mean", scale, plain[0], std),
        ("not divided by its standard deviation", scale, mean, plain[1]),
        ("without any normalization", 1.0, *plain),
        ("in the range 0 to 1", 1 / 255, *plain),
        ("in the range −1 to 1", 2 / 255, (1.0,), (1.0,)),
        ("with the mean and standard deviation of ImageNet", 1 / 255, MEAN, STD),
        ("with the mean of ImageNet in the range 0 to 255", 1.0, tuple(255 * x for x in MEAN), (1.0,)),
        ("with mean and standard deviation in reverse", scale, mean[::-1], std[::-1]),
        ("multiplied by its standard deviation", scale, mean, tuple(1 / width for width in std)),
        ("with its mean added", scale, tuple(-centre for centre in mean), std),
        ("with its mean subtracted twice", scale, tuple(2 * centre for centre in mean), std),
        ("normalized twice", scale, *_twice(mean, std)),
    ]
    for text, factor, centre, width in options:
        changed = replace(step, scale=factor, mean=centre, std=width)
        if changed != step and len(centre) in (1, made.raw.shape[-1]):
            yield Mistake(
                text, partial(Made.with_step, scale=factor, mean=centre, std=width), STEP, "normalization"
            )


def _twice(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """``((x - mean) / std - mean) / std`` as one step."""
    count = max(len(mean), len(std))
    wide = [values if len(values) == count else values * count for values in (mean, std)]
    pairs = list(zip(*wide, strict=True))
    return tuple(m * (1 + s) for m, s in pairs), tuple(s * s for _, s in pairs)


def axes_of(made: Made) -> tuple[int, int, int]:
    """Axes of rows, columns and channels of raw images."""
    is_last = made.step.layout != "same" or made.raw.shape[-1] in (1, 3, 4)
    return (1, 2, 3) if is_last else (2, 3, 1)


def _channels(made: Made) -> Iterator[Mistake]:
    channels = axes_of(made)[2]
    if made.raw.shape[channels] != 3:
        return
    yield moved("channels", "in the channel order BGR and not RGB", partial(np.flip, axis=channels))
    for name, parts in (
        ("as the luma of its channels", LUMA), ("as the mean of its channels", (1 / 3,) * 3),
        ("as its first channel", (1.0, 0.0, 0.0)), ("as its second channel", (0.0, 1.0, 0.0)),
        ("as its last channel", (0.0, 0.0, 1.0)),
    ):  # fmt: skip
        yield moved("channels", f"in grey, {name}", partial(_grey, axis=channels, parts=parts))
    for order in permutations(range(3)):
        if order not in ((0, 1, 2), (2, 1, 0)):
            name = "".join("RGB"[place] for place in order)
            yield moved(
                "channels",
                f"in the channel order {name} and not RGB",
                partial(np.take, indices=order, axis=channels),
            )


def _grey(raw: Array, axis: int, parts: Sequence[float]) -> Array:
    grey = np.expand_dims(np.tensordot(raw.astype(np.float64), parts, axes=(axis, 0)), axis)
    return typed(np.broadcast_to(grey, raw.shape), raw)


def typed(real: Array, raw: Array) -> Array:
    """Real numbers in the type of the raw samples, which integers are rounded to."""
    if raw.dtype.kind not in "iu":
        return real.astype(raw.dtype)
    limits = np.iinfo(raw.dtype)
    return np.clip(np.rint(real), limits.min, limits.max).astype(raw.dtype)


def _places(made: Made) -> Iterator[Mistake]:
    rows, columns, channels = axes_of(made)
    raw = made.raw
    yield moved("place", "mirrored left to right", partial(np.flip, axis=columns))
    yield moved("place", "upside down", partial(np.flip, axis=rows))
    yield moved("place", "rotated by 180 degrees", partial(np.flip, axis=(rows, columns)))
    if raw.shape[rows] == raw.shape[columns]:
        yield moved("place", "with rows and columns exchanged", lambda x: np.swapaxes(x, rows, columns))
        for turns, degrees in ((1, 90), (3, 270)):
            yield moved(
                "place", f"rotated by {degrees} degrees", partial(np.rot90, k=turns, axes=(rows, columns))
            )
    if raw.shape[channels] > 1:
        yield moved(
            "place", "with channels first read as channels last", partial(_first_as_last, axis=channels)
        )
        yield moved(
            "place", "with channels last read as channels first", partial(_last_as_first, axis=channels)
        )
    for axis, where in ((rows, "row"), (columns, "column")):
        for shift in (1, -1):
            yield moved("place", f"shifted by a {where}", partial(np.roll, shift=shift, axis=axis))


def _first_as_last(raw: Array, axis: int) -> Array:
    first = np.ascontiguousarray(np.moveaxis(raw, axis, 1))
    count, depth, height, width = first.shape
    return np.moveaxis(first.reshape(count, height, width, depth), -1, axis)


def _last_as_first(raw: Array, axis: int) -> Array:
    last = np.moveaxis(raw, axis, -1)
    shape = (len(raw), last.shape[3], last.shape[1], last.shape[2])
    return np.moveaxis(np.moveaxis(np.ascontiguousarray(last).reshape(shape), 1, -1), -1, axis)


def _shifted(raw: Array, shift: int) -> Array:
    """Integers changed by one, in their type: bytes have no -1 to add."""
    return typed(raw.astype(np.float64) + shift, raw)


def _values(made: Made) -> Iterator[Mistake]:
    raw, dtype = made.raw, np.dtype(made.step.dtype)
    if dtype.kind in "iu" and raw.dtype.kind in "iu" and raw.ndim <= 3:
        for shift in (1, -1):
            yield moved("values", f"with every number changed by {shift:+d}", partial(_shifted, shift=shift))
        return
    if raw.dtype == np.uint8:
        yield moved("values", "inverted", lambda x: 255 - x)
        for power, text in ((2.2, "with a gamma of 2.2"), (1 / 2.2, "with a gamma of 1/2.2")):
            yield moved("values", text, partial(_power, power=power))
        yield moved("values", "in the video range 16 to 235", lambda x: typed(x * (219 / 255) + 16, x))
        yield moved("values", "stretched from the video range", lambda x: typed((x - 16.0) * (255 / 219), x))
        if raw.ndim == 4 and raw.shape[-1] == 3 and find_spec("PIL") is not None:
            yield moved("values", "as YCbCr and not RGB", partial(_mode, mode="YCbCr"))
            yield moved("values", "as HSV and not RGB", partial(_mode, mode="HSV"))
            for quality in (95, 75, 50):
                yield moved(
                    "values", f"compressed as JPEG of quality {quality}", partial(_jpeg, quality=quality)
                )
    if dtype.kind == "f" and raw.ndim > 1:
        for text, change in (
            ("rounded to whole numbers after normalization", np.rint),
            ("without its fractions after normalization", np.trunc),
            ("standardized sample by sample", _standardized),
            ("stretched from its least to its largest number sample by sample", _stretched),
        ):
            yield Mistake(text, partial(Made.with_canonical, change=change), CANONICAL, "values")


def _power(raw: Array, power: float) -> Array:
    return typed(255 * (raw / 255) ** power, raw)


def _standardized(x: Array) -> Array:
    flat = x.reshape(len(x), -1)
    spread = np.maximum(flat.std(axis=1), flat.shape[1] ** -0.5)
    standard: Array = (flat - flat.mean(axis=1, keepdims=True)) / spread[:, np.newaxis]
    return standard.reshape(x.shape)


def _stretched(x: Array) -> Array:
    flat = x.reshape(len(x), -1)
    low, width = flat.min(axis=1, keepdims=True), np.ptp(flat, axis=1)[:, np.newaxis]
    stretched: Array = (flat - low) / np.where(width == 0, 1, width)
    return stretched.reshape(x.shape)


def _mode(raw: Array, mode: str) -> Array:
    return np.stack([np.asarray(image.convert(mode)) for image in _in_8_bits(raw)])


def _jpeg(raw: Array, quality: int) -> Array:
    from PIL import Image

    images = []
    for image in _in_8_bits(raw):
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality)
        images.append(np.asarray(Image.open(stream)))
    return np.stack(images)


def _in_8_bits(raw: Array) -> Iterator[Any]:
    """Images of Pillow; another mistake may have left numbers that are not rounded."""
    from PIL import Image

    for image in raw:
        yield Image.fromarray(np.clip(np.rint(image), 0, 255).astype(np.uint8))
