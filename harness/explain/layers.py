"""How far two sides are apart at each layer: within the run, and fed with the reference's values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import Quantization
from harness.core.errors import BackendError
from harness.explain.files import ModelFile
from harness.explain.points import FED, Point
from harness.explain.sides import Runner, Side, Trace
from harness.stats.accuracy import distance

Real = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Error:
    """How far the second tensor is from the first.

    Parameters
    ----------
    relative : float
        Root mean square of the difference, over that of the first.
    largest : float
        Of the absolute differences.
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
    """Compare two tensors of one shape; equal infinities and NaN do not differ."""
    gap = distance(first, second)
    finite = first[np.isfinite(first)]
    size = float(np.sqrt(np.mean(np.square(finite)))) if finite.size else 0.0
    rms = float(np.sqrt(np.mean(np.square(gap)))) if gap.size else 0.0
    largest = float(gap.max(initial=0.0))
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


def arranged(tensor: NDArray[np.generic], like: tuple[int, ...]) -> tuple[int, ...] | None:
    """Axes that bring one call's tensor of a file with channels last into a shape; None where none does."""
    shape = tensor.shape
    if shape == like:
        return tuple(range(len(shape)))
    rank = len(shape)
    if rank == len(like) and rank > 2:
        axes = (0, rank - 1, *range(1, rank - 1))
        if tuple(shape[axis] for axis in axes) == like:
            return axes
        for axes in itertools.permutations(range(rank)):
            if tuple(shape[axis] for axis in axes) == like:
                return axes
    return None


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
    runner: Runner, reference: Side, other: Side, files: tuple[ModelFile, ModelFile], rows: Sequence[int]
) -> Tapped:
    """Run both files with their points as outputs."""
    pairs = match(files[0].points, files[1].points)
    traces, plain = [], runner.samples(other, rows)
    for side, file, names in (
        (reference, files[0], [pair.reference.name for pair in pairs]),
        (other, files[1], [pair.other.name for pair in pairs]),
    ):
        content = file.tapped(list(dict.fromkeys(names)))
        traces.append(runner.samples(runner.with_file(side, content, file.name), rows))
        if others := [name for name in names if name not in traces[-1].tensors]:
            raise BackendError(
                f"{side.label} does not return {others[0]}, which is an output of the file with more outputs",
                where=side.target, cause=f"{side.backend} gives outputs other names than the file",
            )  # fmt: skip
    axes = {}
    usable = []
    for pair in pairs:
        like = traces[0].tensors[pair.reference.name].shape[1:]
        tensor = traces[1].tensors[pair.other.name][0]
        place = arranged(tensor, like)
        if place is None and tensor.size == math.prod(like):
            place = tuple(range(tensor.ndim))
        if place is not None:
            axes[pair.other.name] = place
            usable.append(pair)
    one, two = (
        np.concatenate([trace.real(name).reshape(len(rows), -1) for name in plain.outputs], axis=1)
        for trace in (plain, traces[1])
    )
    return Tapped(usable, traces[0], traces[1], axes, error(one, two))


def table(
    runner: Runner, tapped: Tapped, other: Side, file: ModelFile, *, isolate: bool = True
) -> list[Layer]:
    """Compare each pair within the run, and with the layer fed by the reference's values."""
    isolated = feed(runner, tapped, other, file) if isolate else None
    rows = []
    for pair in tapped.pairs:
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


def feed(runner: Runner, tapped: Tapped, other: Side, file: ModelFile) -> Trace:
    """Run the other side's file with each layer fed by the reference's values."""
    feeds = {name: tensor for name, tensor in fed(tapped).items() if name in file.read}
    inputs = {name: tensor for name, tensor in tapped.other.tensors.items() if name in tapped_inputs(tapped)}
    names = [pair.other.name for pair in tapped.pairs]
    content = file.exploded({name: tensor[0] for name, tensor in feeds.items()}, names)
    named = {name + FED: tensor for name, tensor in feeds.items()}
    return runner.tensors(runner.with_file(other, content, file.name), inputs | named)


def tapped_inputs(tapped: Tapped) -> frozenset[str]:
    """Names of the other file's inputs."""
    return frozenset(tapped.other.tensors) - frozenset(tapped.other.outputs)


def fed(tapped: Tapped) -> dict[str, NDArray[np.generic]]:
    """The reference's values as the other file takes them: its layout, and its integers."""
    feeds: dict[str, NDArray[np.generic]] = {}
    for pair in tapped.pairs:
        like = tapped.other.tensors[pair.other.name]
        first, axes = tapped.first(pair), tapped.axes[pair.other.name]
        back = np.argsort(axes)
        arranged_shape = tuple(like.shape[1:][axis] for axis in axes)
        real = np.stack([one.reshape(arranged_shape).transpose(back) for one in first])
        step = pair.other.step
        if step is not None and like.dtype.kind in "iu":
            limits = np.iinfo(like.dtype)
            real = np.clip(np.rint(real / step.scale) + step.zero_point, limits.min, limits.max)
        feeds[pair.other.name] = np.ascontiguousarray(real).astype(like.dtype)
    return feeds
