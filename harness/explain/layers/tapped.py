"""The values of both sides at their layers: each file is run with these as outputs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import BackendError
from harness.explain.files.model_file import ModelFile
from harness.explain.layers.errors import Error, compare
from harness.explain.layers.pairs import Pair, arrangements, match
from harness.explain.sides.runner import Runner
from harness.explain.sides.side import Side
from harness.explain.sides.trace import Tensors, Trace
from harness.stats.accuracy import distance

Real = NDArray[np.float64]
#: Tensors of layers that one run returns.
CHUNK_BYTE = 2**27
#: Of all layers, of all samples.
ALL_BYTE = 2**29


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
        No layer of one file stands for one of the other, or a side refuses its file with more outputs.
    """
    pairs = match(files[0].points, files[1].points) if pairs is None else pairs
    if not pairs:
        raise BackendError("no layers of the two files stand for the same values", where=other.target)
    plain = runner.samples(other, rows)
    shapes = {name: tensor.shape[1:] for name, tensor in plain.tensors.items()}
    names = [pair.reference.name for pair in pairs], [pair.other.name for pair in pairs]
    first, _ = _returned(runner, reference, files[0], names[0], shapes, rows)
    second, changed = _returned(runner, other, files[1], names[1], shapes, rows, plain)
    is_same_format = reference.artifact.format == other.artifact.format
    axes = {
        pair.other.name: order
        for pair in pairs
        if (order := _arranged(pair, first, second, is_same_format=is_same_format)) is not None
    }
    usable = [pair for pair in pairs if pair.other.name in axes]
    return Tapped(usable, first, second, axes, max(changed, key=lambda one: one.relative))


def _returned(
    runner: Runner, side: Side, file: ModelFile, names: Sequence[str],
    shapes: Mapping[str, tuple[int, ...]], rows: Sequence[int], plain: Trace | None = None,
) -> tuple[Trace, list[Error]]:  # fmt: skip
    """Points of a side, run in parts; and how far the outputs of each part are from the plain file's."""
    parts, stored, changed = list[Trace](), dict[str, NDArray[Any] | Path](), list[Error]()
    for part in chunks(list(dict.fromkeys(names)), file.sizes_byte(shapes), len(rows)):
        trace = runner.samples(runner.with_file(side, file.tapped(part), file.name), rows)
        if others := [name for name in part if name not in trace.tensors]:
            raise BackendError(
                f"{side.label} does not return {others[0]}, an output of the file with more outputs",
                where=side.target, cause=f"{side.backend} gives outputs other names than the file",
            )  # fmt: skip
        if plain is not None:
            changed.append(_changed(plain, trace))
        stored |= runner.on_disk(trace.tensors)
        parts.append(replace(trace, tensors={}))
    return _joined(parts, Tensors(stored)), changed


def _arranged(pair: Pair, first: Trace, second: Trace, *, is_same_format: bool) -> tuple[int, ...] | None:
    """Axes of the other's tensor in the order of the reference's; None where the sizes differ."""
    one, two = first.tensors[pair.reference.name], second.tensors[pair.other.name]
    orders = arrangements(two.shape[1:], one.shape[1:], is_same_format=is_same_format)
    if len(orders) > 1:  # 8 channels of 8 x 8 pixels: the values tell
        like = first.real(pair.reference.name, pair.reference.step)[0]
        real = second.real(pair.other.name, pair.other.step)[0]
        orders.sort(key=lambda axes: float(distance(like, real.transpose(axes)).sum()))
    if not orders and one[0].size == two[0].size:
        orders = [tuple(range(two.ndim - 1))]
    return orders[0] if orders else None


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
    return compare(one, two)


def _joined(parts: Sequence[Trace], tensors: Tensors) -> Trace:
    """One trace with the tensors of all parts."""
    steps = dict(itertools.chain.from_iterable(part.steps.items() for part in parts))
    outputs = tuple(dict.fromkeys(itertools.chain.from_iterable(part.outputs for part in parts)))
    return Trace(tensors, steps, outputs, parts[0].effective)
