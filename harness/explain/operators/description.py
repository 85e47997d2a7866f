"""What is wrong in the result of one layer, in words: the right numbers changed so give the wrong ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.explain.layers.orders import LISTED, moved, nearest_order, order_text

Real = NDArray[np.float64]
#: A description that leaves more of the error of the layer is none.
EXPLAINED = 0.1
#: The order of more channels is not looked for.
MOST_CHANNELS = 2048
#: Along a shorter axis nothing is shifted.
SHIFTED = 4
#: A smallest or largest value that so many of the elements have is a bound.
AT_BOUND = 0.01
#: No bound is one that fewer have.
MOST_BY_CHANCE = 5


@dataclass(frozen=True, slots=True)
class Description:
    """What is wrong.

    Parameters
    ----------
    text : str
        After "is computed wrongly: ".
    left : float
        Of the layer's error, after the right numbers were changed so.
    """

    text: str
    left: float


@dataclass(frozen=True, slots=True)
class Results:
    """What a layer has to give and what it gives, fed with the same numbers.

    Parameters
    ----------
    expected, seen : ndarray, shape (samples, …)
    channels : int
        Axis of the channels; 0 where there are none.
    grain : float
        A smaller difference is rounding.
    limits : tuple of float, optional
        Ends of the range of an integer tensor.
    source : ndarray, optional
        Input of the layer, where it has one of the shape of the result.
    """

    expected: Real
    seen: Real
    channels: int
    grain: float
    limits: tuple[float, float] | None = None
    source: Real | None = None

    def left(self, changed: Real) -> float:
        """What is left of the error where `changed` is expected."""
        if changed.shape != self.seen.shape:
            return np.inf
        before, after = (
            float(np.linalg.norm(np.maximum(np.abs(self.seen - one) - self.grain, 0.0)))
            for one in (self.expected, changed)
        )
        return after / before if before else np.inf

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Where they differ by more than rounding."""
        return ~(np.abs(self.seen - self.expected) <= self.grain)

    def of(self, *places: slice | NDArray[np.intp]) -> Results:
        """A part of the elements: one index an axis after the first."""
        where = (slice(None), *places)
        source = None if self.source is None else self.source[where]
        return Results(self.expected[where], self.seen[where], self.channels, self.grain, self.limits, source)


def describe(results: Results) -> Description | None:
    """Find the first change of the right numbers that gives the wrong ones; None where none does.

    Where the error lies in some channels or at the border alone, the change is looked for there; without one
    the place is the description.
    """
    if not np.isfinite(results.expected).all() or not results.wrong.any():
        return None
    if not np.isfinite(results.seen).all():
        share = float(np.mean(~np.isfinite(results.seen)))
        return Description(f"{share:.1%} of its result is infinite or no number", 0.0)
    part, place = _some_channels(results)
    change = _change(part)
    if change is not None:
        return Description(change.text + place, change.left)
    where = f"it is wrong{place}" if place else _place(results)
    return Description(f"{where}, and nowhere else", 0.0) if where else None


def _place(results: Results) -> str:
    if border := _border(results):
        return border
    if results.source is not None and not results.wrong[results.source >= 0].any():
        return "it is wrong where its input is negative"
    return "" if results.wrong[results.expected >= 0].any() else "it is wrong where its result is negative"


def _change(results: Results) -> Description | None:
    for text, changed in _changes(results):
        left = results.left(changed)
        if left <= EXPLAINED:
            return Description(text, left)
    return None


def _changes(results: Results) -> Iterator[tuple[str, Real]]:
    """Yield texts and changed numbers, the plainest first."""
    if np.ptp(results.seen) <= results.grain < np.ptp(results.expected):
        yield f"every number is {results.seen.flat[0]:.4g}", results.seen
    yield from _bounds(results)
    whole = tuple(range(results.expected.ndim))
    by_channel = tuple(axis for axis in whole if axis != results.channels)
    has_channels = results.channels > 0 and results.expected.shape[results.channels] > 1
    fits: list[tuple[str, Callable[[Results, tuple[int, ...]], Real]]] = [
        ("{} is added", _offset), ("it is multiplied by {}", _factor),
    ]  # fmt: skip
    for axes in (whole, by_channel)[: 1 + has_channels]:
        for text, fit in fits:
            size = fit(results, axes)
            changed = results.expected + size if fit is _offset else results.expected * size
            yield text.format(_number(size)), _bounded(results, changed)
    if has_channels:
        yield from _orders(results)
    yield from _arranged(results)
    if has_channels:
        factor, offset = _line(results, by_channel)
        text = f"it is multiplied by {_number(factor)}, and {_number(offset)} is added"
        yield text, _bounded(results, results.expected * factor + offset)


def _number(size: Real) -> str:
    """One number; the smallest and the largest where each channel has one."""
    if size.size == 1:
        return f"{size.item():.3g}"
    return f"another number in each channel ({size.min():.3g} to {size.max():.3g})"


def _ends(values: Real, limits: tuple[float, float] | None) -> tuple[float, float]:
    """Bounds that many values have; infinite where there are none."""
    ends = []
    for end, infinite in ((float(values.min()), -np.inf), (float(values.max()), np.inf)):
        count = int(np.count_nonzero(values == end))
        ends.append(end if count >= max(MOST_BY_CHANCE, AT_BOUND * values.size) else infinite)
    low, high = ends
    if limits is not None:
        low, high = max(low, limits[0]), min(high, limits[1])
    return low, high


def _bounds(results: Results) -> Iterator[tuple[str, Real]]:
    """A bound too many, one that is missing, a range of integers that ends earlier, or that wraps."""
    expected, seen, limits = results.expected, results.seen, results.limits
    low, high = _ends(seen, None)
    clipped = np.clip(expected, low, high)
    if low > expected.min() + results.grain or high < expected.max() - results.grain:
        texts = []
        if low > expected.min() + results.grain:
            texts.append(
                "negative numbers become 0" if abs(low) <= results.grain else f"it ends below at {low:.4g}"
            )
        if high < expected.max() - results.grain:
            of = " (as of Relu6)" if abs(high - 6) <= max(results.grain, 1e-6) else ""
            texts.append(f"it ends above at {high:.4g}{of}")
        if limits is not None and (low > limits[0] + results.grain or high < limits[1] - results.grain):
            texts.append("which is no end of its range of integers")
        yield ", ".join(texts), clipped
    low, high = _ends(expected, None)
    if seen.min() < low - results.grain or seen.max() > high + results.grain:
        # The seen numbers with that bound are the right ones: where they are beyond it they stay as seen.
        within = np.clip(seen, low, high)
        fits = np.abs(within - expected) <= results.grain
        which = "the activation is left out" if low == 0 and seen.min() < 0 else "a bound is left out"
        if seen.max() > high + results.grain and np.isfinite(high):
            which = f"the bound {high:.4g} is left out"
        yield which, np.where(fits, seen, expected)
    if limits is not None:
        width = limits[1] - limits[0] + results.grain  # one step more: from the first to the next first
        turns = np.rint((seen - expected) / width)
        if turns.any() and np.abs(turns).max() <= 2:
            # What was cut off at an end of the range is gone: beyond it anything may have come back.
            is_at_end = (
                np.minimum(np.abs(expected - limits[0]), np.abs(expected - limits[1])) <= results.grain
            )
            wrapped = np.where(is_at_end & (turns != 0), seen, expected + turns * width)
            yield "it wraps at the ends of its range of integers", wrapped


def _bounded(results: Results, changed: Real) -> Real:
    """The changed numbers within the bounds; what was at a bound may be anything beyond it before."""
    low, high = _ends(results.expected, results.limits)
    bounded = np.clip(changed, low, high)
    at_low, at_high = results.expected <= low, results.expected >= high
    bounded = np.where(at_low, np.clip(results.seen, low, np.maximum(bounded, low)), bounded)
    return np.where(at_high, np.clip(results.seen, np.minimum(bounded, high), high), bounded)


def _free(results: Results) -> NDArray[np.bool_]:
    """Elements at no bound of either."""
    low, high = _ends(results.expected, results.limits)
    both = results.expected, results.seen
    free = np.logical_and.reduce([(one > low) & (one < high) for one in both])
    return np.asarray(free if free.any() else np.ones_like(free))


def _offset(results: Results, axes: tuple[int, ...]) -> Real:
    gap = np.where(_free(results), results.seen - results.expected, np.nan)
    with np.errstate(all="ignore"):
        return np.asarray(np.nan_to_num(_nanmedian(gap, axes)))


def _factor(results: Results, axes: tuple[int, ...]) -> Real:
    is_free = _free(results)
    product = np.where(is_free, results.seen * results.expected, 0.0).sum(axis=axes, keepdims=True)
    square = np.where(is_free, results.expected**2, 0.0).sum(axis=axes, keepdims=True)
    return np.asarray(np.divide(product, square, out=np.ones_like(product), where=square > 0))


def _line(results: Results, axes: tuple[int, ...]) -> tuple[Real, Real]:
    """Factor and offset of the least squares."""
    weight = _free(results).astype(np.float64)
    count = np.maximum(weight.sum(axis=axes, keepdims=True), 1.0)
    x, y = ((one * weight).sum(axis=axes, keepdims=True) / count for one in (results.expected, results.seen))
    covariance = (weight * (results.expected - x) * (results.seen - y)).sum(axis=axes, keepdims=True)
    variance = (weight * (results.expected - x) ** 2).sum(axis=axes, keepdims=True)
    factor = np.divide(covariance, variance, out=np.ones_like(covariance), where=variance > 0)
    return factor, y - factor * x


def _nanmedian(values: Real, axes: tuple[int, ...]) -> Real:
    """The median over some axes, kept as axes of one; NaN where there is nothing."""
    front = np.moveaxis(values, axes, range(len(axes)))
    flat = front.reshape(-1, *front.shape[len(axes) :])
    empty = np.isnan(flat).all(axis=0)
    medians = np.where(empty, np.nan, np.nanmedian(np.where(empty, 0.0, flat), axis=0))
    return np.asarray(np.expand_dims(medians, axes))


def _orders(results: Results) -> Iterator[tuple[str, Real]]:
    count = results.expected.shape[results.channels]
    if count > MOST_CHANNELS:
        return
    one, two = (
        np.moveaxis(x, results.channels, 0).reshape(count, -1) for x in (results.expected, results.seen)
    )
    order = nearest_order(one, two)
    if len(moved(order)):
        text = f"its channels are in another order: {order_text(order)}"
        yield text, np.take(results.expected, order, axis=results.channels)


def _arranged(results: Results) -> Iterator[tuple[str, Real]]:
    """The same numbers at other places."""
    expected = results.expected
    inner = range(1, expected.ndim)
    if expected.ndim == 4:
        rows, columns = [axis for axis in inner if axis != results.channels][:2]
        for axis, text in ((rows, "upside down"), (columns, "mirrored left to right")):
            yield f"its result is {text}", np.flip(expected, axis)
        yield "its result is rotated by 180 degrees", np.flip(expected, (rows, columns))
        for axis, where in ((rows, "row"), (columns, "column")):
            if expected.shape[axis] < SHIFTED:
                continue
            for shift in (1, -1):
                yield f"its result is shifted by a {where}", _shifted(expected, shift, axis, results.seen)
    if expected.ndim <= 5:
        for axes in itertools.permutations(inner):
            if axes != tuple(inner):
                arranged = expected.transpose(0, *axes)
                if arranged.shape == expected.shape:
                    yield f"its axes are exchanged: {', '.join(map(str, (0, *axes)))}", arranged
                elif expected.ndim == 4:
                    text = f"its numbers are in the order of the axes {', '.join(map(str, (0, *axes)))}"
                    yield text, arranged.reshape(expected.shape)


def _shifted(values: Real, shift: int, axis: int, fill: Real) -> Real:
    """Shifted along an axis; what moves in is taken from `fill`."""
    shifted = np.roll(values, shift, axis)
    place: list[slice | int] = [slice(None)] * values.ndim
    place[axis] = 0 if shift > 0 else -1
    shifted[tuple(place)] = fill[tuple(place)]
    return shifted


def _some_channels(results: Results) -> tuple[Results, str]:
    """The channels that are wrong, where others are right."""
    if results.channels <= 0 or results.expected.shape[results.channels] < 2:
        return results, ""
    others = tuple(axis for axis in range(results.expected.ndim) if axis != results.channels)
    wrong = np.atleast_1d(results.wrong.any(axis=others))
    if wrong.sum() > len(wrong) // 2:
        return results, ""
    chosen = np.flatnonzero(wrong)
    index: list[slice | NDArray[np.intp]] = [slice(None)] * (results.expected.ndim - 1)
    index[results.channels - 1] = chosen
    word = "channel" if len(chosen) == 1 else "channels"
    names = _list(chosen)
    return results.of(*index), f" in {word} {names} of {len(wrong)}"


def _list(numbers: Sequence[int] | NDArray[np.intp]) -> str:
    some = ", ".join(str(number) for number in numbers[:LISTED])
    return some + (" …" if len(numbers) > LISTED else "")


def _border(results: Results) -> str:
    """Whether only the first and last rows and columns differ."""
    axes = [axis for axis in range(1, results.expected.ndim) if axis != results.channels]
    if results.expected.ndim < 4 or not axes:
        return ""
    inner = np.ones(results.expected.shape[1:], bool)
    widths = []
    for axis in axes:
        extent = results.expected.shape[axis]
        places = np.arange(extent)
        # The widest border that leaves a third of the axis inside.
        widths.append(width := min(2, extent // 3))
        is_inside = (places >= width) & (places < extent - width)
        shape = [1] * (results.expected.ndim - 1)
        shape[axis - 1] = -1
        inner &= is_inside.reshape(shape)
    if not inner.any() or not any(widths) or results.wrong[:, inner].any():
        return ""
    return "it is wrong at the border of the image"
