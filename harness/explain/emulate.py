"""Arithmetic that errs, emulated on this machine: nodes that change numbers are put into an ONNX file.

A runtime that computes so has no option against it, or reports none: the reference that errs likewise shows
whether that is the difference, in which layers, and how much of it.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from harness.explain import files, layers, points
from harness.explain.changes import Change
from harness.explain.files import OnnxFile
from harness.explain.layers import Pair, Tapped
from harness.explain.points import FED, Graph
from harness.explain.scene import Scene
from harness.explain.sides import Side
from harness.stats.accuracy import distance

Real = NDArray[np.float64]
#: Operators that multiply and add.
PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
#: A number of which the emulation explains so much is nearer to the emulation.
NEARER = 0.25
#: Where no layer of so many runs is like an emulation, the rest is not looked at.
RUNS = 3
#: So many of the numbers that an emulation changes in a layer have to be nearer to it.
MOST = 0.8


class Place(StrEnum):
    """Which numbers of a layer are changed."""

    CONSTANTS = "its constants"
    WEIGHTS = "the weights of its products"
    OPERANDS = "the operands of its products"
    OPERANDS_RESULT = "the operands of its products, and its result"
    INPUTS = "what it reads"
    RESULTS = "its result"
    OPERATORS = "the result of each operator in it"
    ALL = "all its numbers"


@dataclass(frozen=True)
class Emulation:
    """A change, and of which numbers."""

    change: Change
    place: Place


def insert(graph: Graph, chosen: Mapping[str, Emulation]) -> onnx.ModelProto:
    """Return a copy of a model in which some layers err.

    Parameters
    ----------
    graph : Graph
    chosen : mapping of layer to Emulation
    """
    changed = copy.deepcopy(graph.model)
    del changed.graph.node[:]
    changed.graph.node.extend(_with_errors(graph.model.graph.node, graph, chosen))
    return changed


def _with_errors(
    original: Iterable[onnx.NodeProto], graph: Graph, chosen: Mapping[str, Emulation]
) -> list[onnx.NodeProto]:
    """Copies of the nodes of a graph, or of those in which its layers are fed one by one."""
    stored = {point.name for point in graph.points()} | set(graph.outputs)
    prefixes = (f"emulated:{number}" for number in itertools.count())
    nodes: list[onnx.NodeProto] = []
    for node in map(copy.deepcopy, original):
        maker = graph.maker.get(_result(node))
        emulation = None if maker is None else chosen.get(graph.layer_of(maker))
        if emulation is None:
            nodes.append(node)
            continue
        make = emulation.change.nodes
        for place, name in enumerate(node.input):
            if _is_read(emulation.place, node, place, graph):
                prefix = next(prefixes)
                nodes += make(name, prefix, prefix)
                node.input[place] = prefix
        nodes.append(node)
        for place, name in enumerate(node.output):
            is_stored = emulation.place not in _OF_STORED or name in stored
            if emulation.place in _OF_RESULTS and name and is_stored and graph.is_float(name):
                prefix = next(prefixes)
                node.output[place] = prefix
                nodes += make(prefix, name, prefix)
    return nodes


_OF_STORED = (Place.RESULTS, Place.OPERANDS_RESULT)
_OF_RESULTS = (*_OF_STORED, Place.OPERATORS, Place.ALL)


def _result(node: onnx.NodeProto) -> str:
    return next(filter(None, node.output), "")


def _is_read(where: Place, node: onnx.NodeProto, place: int, graph: Graph) -> bool:
    name = node.input[place].removesuffix(FED)
    if not name or not graph.is_float(name):
        return False
    is_operand = node.op_type in PRODUCTS and place < 2
    maker = graph.maker.get(name)
    is_inside = maker is not None and graph.layer_of(maker) == graph.layer_of(graph.maker[_result(node)])
    return {
        Place.CONSTANTS: name in graph.constants,
        Place.WEIGHTS: is_operand and name in graph.constants,
        Place.OPERANDS: is_operand,
        Place.OPERANDS_RESULT: is_operand,
        Place.INPUTS: name not in graph.constants and not is_inside,
        Place.ALL: True,
    }.get(where, False)


class Emulations:
    """An ONNX file whose layers are computed as they are, and with several errors each.

    As `harness.explain.files.LayeredFile`; every point is returned under its name, and for each error under
    `twin`.

    Parameters
    ----------
    file : OnnxFile
    emulations : sequence of Emulation
        Each is made in every layer.
    """

    def __init__(self, file: OnnxFile, emulations: Sequence[Emulation]) -> None:
        self.name, self.read = file.name, file.read
        self._file, self._emulations = file, emulations

    @staticmethod
    def twin(name: str, place: int) -> str:
        """Name of a point with an error, by the place of that among the emulations."""
        return f"{name}:twin{place}"

    def exploded(self, fed: Mapping[str, NDArray[np.generic]], names: Sequence[str]) -> bytes:
        """The file that returns these points, with each layer fed by itself."""
        return bytes(self._exploded(fed, names).SerializeToString())

    def alone(self, fed: Mapping[str, NDArray[np.generic]], names: Sequence[str]) -> tuple[bytes, list[str]]:
        """The same, with nothing but what these points need; and the names of its inputs."""
        twins = [self.twin(name, place) for name in names for place in range(len(self._emulations))]
        model = files.part(self._exploded(fed, names), *names, *twins)
        return bytes(model.SerializeToString()), [value.name for value in model.graph.input]

    def _exploded(self, fed: Mapping[str, NDArray[np.generic]], names: Sequence[str]) -> onnx.ModelProto:
        """One file for all: each error has copies of the nodes, and they share what is fed."""
        whole = points.exploded(self._file.model, fed, names)
        every = {point.layer for point in self._file.points}
        nodes = list(whole.graph.node)
        for place, emulation in enumerate(self._emulations):
            changed = _with_errors(whole.graph.node, self._file.graph, dict.fromkeys(every, emulation))
            made = {name for node in changed for name in node.output if name}
            renamed = {name: self.twin(name, place) for name in made}
            for node in changed:
                points.rename(node, renamed)
                node.output[:] = [renamed.get(name, name) for name in node.output]
                node.name = ""
            nodes += changed
            whole.graph.output.extend(
                helper.make_empty_tensor_value_info(self.twin(name, place)) for name in names
            )
        del whole.graph.node[:]
        whole.graph.node.extend(nodes)
        return whole


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


def host(scene: Scene) -> Side:
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
        part = next(layers.chunks(waiting, sizes_byte, len(scene.worst) * (1 + len(emulations))))
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
    seen = layers.feed(scene.runner, tapped, scene.other, scene.files[1], pairs)
    made = layers.feed(scene.runner, like, host(scene), emulated, references)
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
