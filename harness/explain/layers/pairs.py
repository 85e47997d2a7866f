"""Points of two files that stand for the same value, by their names, and how their axes correspond."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from harness.explain.files.graph import Point
from harness.explain.files.model_file import ModelFile

#: Files whose names are the same for this part of the layers are matched by name.
BY_NAME = 0.5


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


def is_by_name(pairs: Sequence[Pair], files: tuple[ModelFile, ModelFile]) -> bool:
    """Whether enough points were matched by name."""
    return len(pairs) >= BY_NAME * min(len(file.points) for file in files)
