"""Layers of one side that are fed with the values of the reference."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.explain.files.edits import FED
from harness.explain.files.model_file import LayeredFile
from harness.explain.layers.pairs import Pair
from harness.explain.layers.tapped import Tapped
from harness.explain.sides.runner import Runner
from harness.explain.sides.side import Side
from harness.explain.sides.steps import as_codes
from harness.explain.sides.trace import Trace


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
        return as_codes(np.ascontiguousarray(real), pair.other.step, like.dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)
