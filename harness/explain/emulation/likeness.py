"""Which layers of a side err as an emulation does, when both are fed with the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.explain.emulation.insertion import Emulation, Emulations
from harness.explain.files.model_file import OnnxFile
from harness.explain.layers.fed import feed
from harness.explain.layers.pairs import Pair
from harness.explain.layers.tapped import Tapped, chunks
from harness.explain.scene import Scene
from harness.explain.sides.side import Side
from harness.stats.accuracy import distance

Real = NDArray[np.float64]
#: A number of which the emulation explains so much is nearer to the emulation.
NEARER = 0.25
#: Where no layer of so many runs is like an emulation, the rest is not looked at.
RUNS = 3
#: So many of the numbers that an emulation changes in a layer have to be nearer to it.
MOST = 0.8


@dataclass(frozen=True)
class Likeness:
    """One layer of the other side, and an emulation that changes numbers of it.

    Parameters
    ----------
    pair : Pair
    emulation : Emulation
    nearer : float
        Share of these numbers at which the other side is nearer to the emulation.
    """

    pair: Pair
    emulation: Emulation
    nearer: float

    @property
    def is_like(self) -> bool:
        """Whether the layer errs so."""
        return self.nearer >= MOST


def plain_host(scene: Scene) -> Side:
    """ONNX Runtime on this machine without optimizations, which could take what is inserted away."""
    side = scene.host_side or scene.host
    without = scene.variations(side, "graph optimization")
    return replace(side, options=without[0].options) if without else side


def alike(
    scene: Scene,
    file: OnnxFile,
    tapped: Tapped,
    emulations: Sequence[Emulation],
    only: Callable[[Pair], bool],
) -> list[Likeness]:
    """Compare each layer of the other side, fed by the reference, with what emulations make of it.

    Where the tensors need several runs, those after the first have only the emulations that a layer is like.

    Parameters
    ----------
    scene : Scene
        Whose reference runs `file`.
    file : OnnxFile
    tapped : Tapped
    emulations : sequence of Emulation
    only : callable
        Whether a layer is compared.

    Returns
    -------
    list of Likeness
        In the order of the layers, then of the emulations.
    """
    pairs = {pair.other.name: pair for pair in tapped.pairs if only(pair)}
    sizes_byte = {name: tapped.other.tensors[name][0].nbytes for name in pairs}
    listed: list[Likeness] = []
    waiting, runs = list(pairs), 0
    while waiting and (runs < RUNS or any(one.is_like for one in listed)):
        part = next(chunks(waiting, sizes_byte, len(scene.worst) * (1 + len(emulations))))
        listed += _compared(scene, file, tapped, emulations, [pairs[name] for name in part])
        waiting, runs = waiting[len(part) :], runs + 1
        likely = {one.emulation for one in listed if one.is_like}
        emulations = [one for one in emulations if one in likely] or emulations
    return listed


def _compared(
    scene: Scene, file: OnnxFile, tapped: Tapped, emulations: Sequence[Emulation], pairs: Sequence[Pair]
) -> Iterator[Likeness]:
    """Run some layers of both, once each."""
    assert scene.files is not None
    references = list({pair.reference.name: Pair(pair.reference, pair.reference) for pair in pairs}.values())
    like, emulated = _of_reference(tapped, len(emulations)), Emulations(file, emulations)
    seen = feed(scene.runner, tapped, scene.other, scene.files[1], pairs)
    made = feed(scene.runner, like, plain_host(scene), emulated, references)
    for pair in pairs:
        real, plain = tapped.second(pair, seen), like.second(Pair(pair.reference, pair.reference), made)
        for place, emulation in enumerate(emulations):
            point = replace(pair.reference, name=emulated.twin(pair.reference.name, place))
            nearer = _nearer(real, plain, like.second(Pair(pair.reference, point), made))
            if nearer is not None:
                yield Likeness(pair, emulation, nearer)


def _of_reference(tapped: Tapped, count: int) -> Tapped:
    """The reference's values on both sides, for a file that has the reference's names, and so many twins."""
    points_ = {pair.reference.name: pair.reference for pair in tapped.pairs}
    axes = {name: tuple(range(tapped.reference.tensors[name].ndim - 1)) for name in points_}
    axes |= {Emulations.twin(name, place): axes[name] for name in points_ for place in range(count)}
    pairs = [Pair(one, one) for one in points_.values()]
    return Tapped(pairs, tapped.reference, tapped.reference, axes, tapped.proved)


def _nearer(seen: Real, plain: Real, emulated: Real) -> float | None:
    """Share of what an emulation changes that is nearer to it; None where it changes nothing."""
    changed = distance(plain, emulated) > 0
    if not changed.any():
        return None
    to_plain, to_emulated = distance(seen, plain)[changed], distance(seen, emulated)[changed]
    with np.errstate(invalid="ignore"):
        return float(np.mean((to_emulated <= NEARER * to_plain) & (to_plain > 0)))
