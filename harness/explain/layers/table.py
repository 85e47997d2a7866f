"""How far two sides are apart at each layer: within the run, and fed with the reference's values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.explain.files.graph import Point
from harness.explain.files.model_file import ModelFile
from harness.explain.layers.errors import Error, compare
from harness.explain.layers.fed import feed
from harness.explain.layers.tapped import Tapped, chunks
from harness.explain.sides.runner import Runner
from harness.explain.sides.side import Side


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


def compare_layers(
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
                    compare(first, tapped.second(pair), step, codes),
                    None if isolated is None else compare(first, tapped.second(pair, isolated), step),
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
