"""Ways to read outputs that are grids of cells: heads of YOLO that an export left undecoded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.detection.decode import LAYOUTS, Decode
from harness.core.detection.grids import FAMILIES, Grids

Values = Mapping[str, NDArray[Any]]
_PROBABILITY = 1e-3  # by which rounding may leave 0 to 1


def ways(outputs: Values, size: tuple[int, int]) -> list[Decode]:
    """Return the likely ways to read grids, the commonest first.

    Parameters
    ----------
    outputs : mapping of str to ndarray, shape (n, …)
    size : tuple of int
        Height and width of the model's input in pixels.
    """
    likely = []
    for name in FAMILIES:
        for layout in LAYOUTS:
            grids = Grids(name, size, layout)
            heads = tuple(_heads(outputs, grids))
            if not heads:
                continue
            table, _ = grids.table([outputs[head] for head in heads])
            scores = table[..., grids.family.numbers :]
            finite = scores[np.isfinite(scores)]
            are_shares = not finite.size or (
                finite.min() >= -_PROBABILITY and finite.max() <= 1 + _PROBABILITY
            )
            likely.append(
                Decode(
                    heads[0], heads=heads, layout=layout, size=size, anchors=name,
                    score="objectness" if grids.family.objectness else "classes",
                    activation="none" if are_shares else "sigmoid",
                )
            )  # fmt: skip
    return likely


def _heads(outputs: Values, grids: Grids) -> Iterator[str]:
    """Yield the outputs of each stride, the box before the score of an object before those of classes."""
    family, by_stride = grids.family, dict[int, list[str]]()
    for name, y in outputs.items():
        if (stride := grids.stride(y.shape[1:])) is not None:
            by_stride.setdefault(stride, []).append(name)
    if set(by_stride) != set(grids.sizes):
        return
    for stride in sorted(by_stride):
        names = by_stride[stride]
        width = {name: grids.width(outputs[name].shape[1:]) for name in names}
        if len(names) == 1:
            yield names[0]
            continue
        boxes = [name for name in names if width[name] == family.numbers][:1]
        single = [name for name in names if width[name] == 1 and name not in boxes]
        classes = [name for name in names if name not in boxes and name not in single] or single[-1:]
        yield from (*boxes, *(single[:1] if family.objectness else ()), *classes[:1])
