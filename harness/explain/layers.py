"""How far two sides are apart at each layer: within the run, and fed with the reference's values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import Quantization
from harness.core.errors import BackendError
from harness.explain.files import LayeredFile, ModelFile
from harness.explain.points import FED, Point
from harness.explain.sides import Runner, Side, Tensors, Trace
from harness.stats.accuracy import distance

Real = NDArray[np.float64]
#: Tensors of layers that one run returns.
CHUNK_BYTE = 2**27
#: Of all layers, of all samples.
ALL_BYTE = 2**29


@dataclass(frozen=True, slots=True)
class Error:
    """How far the second tensor is from the first.

    Parameters
    ----------
    relative : float
        Root mean square of the difference, over that of the first; see `gaps`.
    largest : float
        Of the absolute differences; infinite where one has NaN or infinity and the other another number.
    differing : float
        Share of the elements that differ.
    steps : float, optional
        Largest difference in steps of an integer tensor.
    saturated : float
        Share of the second's integers at an end of their range.
    """

    relative: float
    largest: float
    differing: float
    steps: float | None = None
    saturated: float = 0.0

    @property
    def sqnr_db(self) -> float:
        """Signal to difference, in decibels."""
        return math.inf if self.relative == 0 else -20 * math.log10(self.relative)


def error(
    first: Real, second: Real, step: Quantization | None = None, codes: NDArray[Any] | None = None
) -> Error:
    """Compare two tensors of one shape."""
    gap, apart = gaps(first, second), distance(first, second)
    finite = first[np.isfinite(first)]
    size = float(np.sqrt(np.mean(np.square(finite)))) if finite.size else 0.0
    rms = float(np.sqrt(np.mean(np.square(gap)))) if gap.size else 0.0
    largest = float(apart.max(initial=0.0))
    saturated = 0.0
    if codes is not None and codes.dtype.kind in "iu":
        limits = np.iinfo(codes.dtype)
        saturated = float(np.mean((codes == limits.min) | (codes == limits.max)))
    return Error(
        rms / size if size else (math.inf if rms else 0.0),
        largest,
        float(np.mean(gap > 0)) if gap.size else 0.0,
        None if step is None else largest / step.scale,
        saturated,
    )


def gaps(first: Real, second: Real) -> Real:
    """Absolute differences, all finite, so that shares of them mean something.

    Equal infinities and NaN do not differ; NaN or infinity against another number counts as the largest
    number of the first.
    """
    apart = distance(first, second)
    limit = np.max(np.abs(first), where=np.isfinite(first), initial=0.0) or 1.0
    return np.where(np.isinf(apart), limit, apart)


@dataclass(frozen=True, slots=True)
class Layer:
    """One row of the table.

    Parameters
    ----------
    point : Point
        Of the second side.
    accumulated : Error
        Within the run.
    isolated : Error, optional
        Fed with the reference's values; None where the file cannot be taken apart.
    """

    point: Point
    accumulated: Error
    isolated: Error | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """A point of each side that stand for the same value."""

    reference: Point
    other: Point


def match(reference: Sequence[Point], other: Sequence[Point]) -> list[Pair]:
    """Pair points by the name in the file, else by the value that they stand for, in the other's order."""
    by_name = {point.name: point for point in reference}
    by_value = {point.value: point for point in reference}
    pairs = []
    for point in other:
        first = by_name.get(point.name) or by_value.get(point.value) or by_value.get(point.name)
        if first is not None:
            pairs.append(Pair(first, point))
    return pairs


def arrangements(
    shape: tuple[int, ...], like: tuple[int, ...], *, is_same_format: bool
) -> list[tuple[int, ...]]:
    """Orders of axes that bring one call's tensor into the shape of the reference's; the usual ones first.

    Formats differ in where channels are.
    """
    rank = len(shape)
    if is_same_format or rank < 3 or rank != len(like):
        return [tuple(range(rank))] if shape == like else []
    usual = [tuple(range(rank)), (0, rank - 1, *range(1, rank - 1)), (0, *range(2, rank), 1)]
    for orders in (usual, itertools.permutations(range(rank))):
        if fitting := [axes for axes in orders if tuple(shape[axis] for axis in axes) == like]:
            return fitting
    return []


@dataclass(frozen=True, slots=True)
class Tapped:
    """The values of both sides at their pairs.

    Parameters
    ----------
    pairs : list of Pair
    reference, other : Trace
    axes : mapping of the other's name to axes
        How its calls' tensors are arranged as the reference's.
    proved : Error
        Outputs of the other's file with more outputs, against those of the file as it is.
    """

    pairs: list[Pair]
    reference: Trace
    other: Trace
    axes: Mapping[str, tuple[int, ...]]
    proved: Error

    def first(self, pair: Pair) -> Real:
        """The reference's real numbers."""
        return self.reference.real(pair.reference.name, pair.reference.step)

    def second(self, pair: Pair, trace: Trace | None = None) -> Real:
        """The other's real numbers, arranged as the reference's."""
        real = (trace or self.other).real(pair.other.name, pair.other.step)
        like = self.reference.tensors[pair.reference.name].shape[1:]
        return np.stack([one.transpose(self.axes[pair.other.name]).reshape(like) for one in real])


def tap(
    runner: Runner, reference: Side, other: Side, files: tuple[ModelFile, ModelFile], rows: Sequence[int],
    pairs: Sequence[Pair] | None = None,
) -> Tapped:  # fmt: skip
    """Run both files with their points as outputs; without pairs, those of the same names.

    Raises
    ------
    HarnessError
        No layer of one file is known to be one of the other, or a side refuses its file with more outputs.
    """
    pairs = match(files[0].points, files[1].points) if pairs is None else pairs
    if not pairs:
        raise BackendError("no layers of the two files stand for the same values", where=other.target)
    traces, plain = [], runner.samples(other, rows)
    shapes = {name: tensor.shape[1:] for name, tensor in plain.tensors.items()}
    sizes_byte = [file.sizes_byte(shapes) for file in files]
    changed: list[Error] = []
    for side, file, names, sizes in (
        (reference, files[0], [pair.reference.name for pair in pairs], sizes_byte[0]),
        (other, files[1], [pair.other.name for pair in pairs], sizes_byte[1]),
    ):
        parts, stored = list[Trace](), dict[str, NDArray[Any] | Path]()
        for part in chunks(list(dict.fromkeys(names)), sizes, len(rows)):
            trace = runner.samples(runner.with_file(side, file.tapped(part), file.name), rows)
            if others := [name for name in part if name not in trace.tensors]:
                raise BackendError(
                    f"{side.label} does not return {others[0]}, an output of the file with more outputs",
                    where=side.target, cause=f"{side.backend} gives outputs other names than the file",
                )  # fmt: skip
            if side is other:
                changed.append(_changed(plain, trace))
            stored |= runner.on_disk(trace.tensors)
            parts.append(replace(trace, tensors={}))
        traces.append(_joined(parts, Tensors(stored)))
    axes = {}
    usable = []
    is_same_format = reference.artifact.format == other.artifact.format
    for pair in pairs:
        first, second = traces[0].tensors[pair.reference.name], traces[1].tensors[pair.other.name]
        orders = arrangements(second.shape[1:], first.shape[1:], is_same_format=is_same_format)
        if len(orders) > 1:  # 8 channels of 8 x 8 pixels: the values tell
            like = traces[0].real(pair.reference.name, pair.reference.step)[0]
            real = traces[1].real(pair.other.name, pair.other.step)[0]
            orders.sort(key=lambda axes: float(distance(like, real.transpose(axes)).sum()))
        if not orders and first[0].size == second[0].size:
            orders = [tuple(range(second.ndim - 1))]
        if orders:
            axes[pair.other.name] = orders[0]
            usable.append(pair)
    return Tapped(usable, traces[0], traces[1], axes, max(changed, key=lambda one: one.relative))


def affordable(files: Sequence[ModelFile], traces: Sequence[Trace], count: int) -> int:
    """For how many of some samples all layers are returned: at least one, at most `ALL_BYTE` of a side."""
    sizes_byte = [
        sum(file.sizes_byte({name: tensor.shape[1:] for name, tensor in trace.tensors.items()}).values())
        for file, trace in zip(files, traces, strict=True)
    ]
    return max(1, min(count, ALL_BYTE // max(1, *sizes_byte)))


def chunks(names: Sequence[str], sizes_byte: Mapping[str, int], calls: int) -> Iterator[list[str]]:
    """Split names so that the tensors of each part take at most `CHUNK_BYTE`, unless a single one takes more.

    A tensor of unknown size counts as much as the largest.
    """
    part, total_byte = list[str](), 0
    for name in names:
        size_byte = calls * sizes_byte.get(name, max(sizes_byte.values(), default=0))
        if part and total_byte + size_byte > CHUNK_BYTE:
            yield part
            part, total_byte = [], 0
        part.append(name)
        total_byte += size_byte
    if part:
        yield part


def _changed(plain: Trace, tapped: Trace) -> Error:
    """How far more outputs change the outputs."""
    one, two = (
        np.concatenate([trace.real(name).reshape(len(trace.tensors[name]), -1) for name in names], 1)
        # The outputs of the file come first; names that it has twice were changed.
        for trace, names in ((plain, plain.outputs), (tapped, tapped.outputs[: len(plain.outputs)]))
    )
    return error(one, two)


def _joined(parts: Sequence[Trace], tensors: Tensors) -> Trace:
    """One trace with the tensors of all parts."""
    steps = dict(itertools.chain.from_iterable(part.steps.items() for part in parts))
    outputs = tuple(dict.fromkeys(itertools.chain.from_iterable(part.outputs for part in parts)))
    return Trace(tensors, steps, outputs, parts[0].effective)


def table(
    runner: Runner, tapped: Tapped, other: Side, file: ModelFile, *, isolate: bool = True
) -> list[Layer]:
    """Compare each pair within the run, and with the layer fed by the reference's values."""
    rows = []
    sizes_byte = {name: tapped.other.tensors[name][0].nbytes for name in tapped.other.tensors}
    by_name = {pair.other.name: pair for pair in tapped.pairs}
    calls = len(tapped.other.tensors[next(iter(by_name))]) if by_name else 0
    for part in chunks(list(by_name), sizes_byte, calls):
        pairs = [by_name[name] for name in part]
        isolated = feed(runner, tapped, other, file, pairs) if isolate else None
        for pair in pairs:
            first, step = tapped.first(pair), pair.other.step
            codes = tapped.other.tensors[pair.other.name]
            rows.append(
                Layer(
                    pair.other,
                    error(first, tapped.second(pair), step, codes),
                    None if isolated is None else error(first, tapped.second(pair, isolated), step),
                )
            )
    return rows


def without_inputs(rows: Sequence[Layer]) -> list[Layer]:
    """The same, without what layers that read an input of the file do by themselves: it is another input."""
    names = {row.point.name for row in rows}
    return [
        replace(row, isolated=None)
        if not names.issuperset(row.point.after) or (not row.point.after and row is rows[0])
        else row
        for row in rows
    ]


def feed(runner: Runner, tapped: Tapped, other: Side, file: LayeredFile, pairs: Sequence[Pair]) -> Trace:
    """Run the other side's file with some layers fed by the reference's values.

    Where these are not all layers, the rest of the file is left out.
    """
    is_whole = len(pairs) == len(tapped.pairs)
    names = [pair.other.name for pair in pairs]
    like = {
        name: tapped.other.tensors[name][0]
        for name in (pair.other.name for pair in tapped.pairs)
        if name in file.read
    }
    if is_whole:
        content, read = file.exploded(like, names), [*tapped_inputs(tapped), *(name + FED for name in like)]
    else:
        content, read = file.alone(like, names)
    named = {name: tensor for name, tensor in tapped.other.tensors.items() if name in read}
    feeds = Fed(tapped, {name for name in like if name + FED in read})
    named |= {name + FED: tensor for name, tensor in feeds.items()}
    return runner.tensors(runner.with_file(other, content, file.name), named)


def tapped_inputs(tapped: Tapped) -> frozenset[str]:
    """Names of the other file's inputs."""
    return frozenset(tapped.other.tensors) - frozenset(tapped.other.outputs)


class Fed(Mapping[str, NDArray[np.generic]]):
    """The reference's values of some points as the other file takes them; each is computed when it is used.

    Parameters
    ----------
    tapped : Tapped
    names : collection of str
        Of points of the other side.
    """

    def __init__(self, tapped: Tapped, names: Collection[str]) -> None:
        self._tapped = tapped
        self._pairs = {pair.other.name: pair for pair in tapped.pairs if pair.other.name in names}

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        """In the layout of the other, and in its integers."""
        pair, tapped = self._pairs[name], self._tapped
        like, axes = tapped.other.tensors[name], tapped.axes[name]
        back = np.argsort(axes)
        arranged_shape = tuple(like.shape[1:][axis] for axis in axes)
        real = np.stack([one.reshape(arranged_shape).transpose(back) for one in tapped.first(pair)])
        step = pair.other.step
        if step is not None and like.dtype.kind in "iu":
            limits = np.iinfo(like.dtype)
            real = np.clip(np.rint(real / step.scale) + step.zero_point, limits.min, limits.max)
        return np.ascontiguousarray(real).astype(like.dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)
