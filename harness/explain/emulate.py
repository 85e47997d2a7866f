"""Arithmetic that errs, emulated on this machine: nodes that change numbers are put into an ONNX file.

A runtime that computes so has no option against it, or reports none: the reference that errs likewise shows
whether that is the difference, in which layers, and how much of it.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from harness.explain import files, layers, points
from harness.explain.files import OnnxFile
from harness.explain.layers import Pair, Tapped
from harness.explain.points import FED, Graph
from harness.explain.scene import Scene
from harness.explain.sides import Side
from harness.stats.accuracy import distance

Real = NDArray[np.float64]
Nodes = Iterator[onnx.NodeProto]
#: Operators that multiply and add.
PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
#: A number of which the emulation explains so much is nearer to the emulation.
NEARER = 0.25
#: So many of the numbers that an emulation changes in a layer have to be nearer to it.
MOST = 0.8
SMALLEST_NORMAL, LARGEST = 2.0**-126, float(np.finfo(np.float32).max)


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
class Change:
    """What is done to each number.

    Parameters
    ----------
    name, text : str
        As in ``computes in f16``.
    nodes : callable
        Makes the nodes from the name of a value to another name, with names that begin with the third.
    values : callable
        The same on an array.
    """

    name: str
    text: str
    nodes: Callable[[str, str, str], Nodes]
    values: Callable[[Real], Real]


@dataclass(frozen=True)
class Emulation:
    """A change, and of which numbers."""

    change: Change
    place: Place


def insert(model: onnx.ModelProto, graph: Graph, chosen: Mapping[str, Emulation]) -> onnx.ModelProto:
    """Return a copy of a model in which some layers err.

    Parameters
    ----------
    model : ModelProto
        That of `graph`, or one in which its layers are fed one by one.
    graph : Graph
    chosen : mapping of layer to Emulation
    """
    changed = copy.deepcopy(model)
    stored = {point.name for point in graph.points()} | set(graph.outputs)
    prefixes = (f"emulated:{number}" for number in itertools.count())
    nodes: list[onnx.NodeProto] = []
    for node in changed.graph.node:
        original = graph.maker.get(_result(node))
        emulation = None if original is None else chosen.get(graph.layer_of(original))
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
    del changed.graph.node[:]
    changed.graph.node.extend(nodes)
    return changed


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


class EmulatedFile:
    """An ONNX file in which some layers err; see `harness.explain.files.LayeredFile`."""

    def __init__(self, file: OnnxFile, chosen: Mapping[str, Emulation]) -> None:
        self.name, self.read = file.name, file.read
        self._file, self._chosen = file, chosen

    def content(self) -> bytes:
        """The whole file."""
        return bytes(insert(self._file.model, self._file.graph, self._chosen).SerializeToString())

    def exploded(self, fed: Mapping[str, NDArray[np.generic]], names: Sequence[str]) -> bytes:
        """The file that returns these points, with each layer fed by itself."""
        return bytes(self._exploded(fed, names).SerializeToString())

    def alone(self, fed: Mapping[str, NDArray[np.generic]], names: Sequence[str]) -> tuple[bytes, list[str]]:
        """The same, with nothing but what these points need; and the names of its inputs."""
        model = files.part(self._exploded(fed, names), *names)
        return bytes(model.SerializeToString()), [value.name for value in model.graph.input]

    def _exploded(self, fed: Mapping[str, NDArray[np.generic]], names: Sequence[str]) -> onnx.ModelProto:
        whole = points.exploded(self._file.model, fed, names)
        return insert(whole, self._file.graph, self._chosen)


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
) -> list[list[Likeness]]:
    """Compare each layer of the other side, fed by the reference, with what emulations make of it.

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
    list of list of Likeness
        For each emulation, the layers that it changes, in their order.
    """
    assert scene.files is not None
    side, like = host(scene), _of_reference(tapped)
    pairs = [pair for pair in tapped.pairs if only(pair)]
    sizes_byte = {pair.other.name: tapped.other.tensors[pair.other.name][0].nbytes for pair in pairs}
    named = {pair.other.name: pair for pair in pairs}
    every = {point.layer for point in file.points}
    listed: list[list[Likeness]] = [[] for _ in emulations]
    for part in layers.chunks(list(named), sizes_byte, len(scene.worst)):
        chosen = [named[name] for name in part]
        twins = list({pair.reference.name: Pair(pair.reference, pair.reference) for pair in chosen}.values())
        seen = layers.feed(scene.runner, tapped, scene.other, scene.files[1], chosen)
        plain = layers.feed(scene.runner, like, side, EmulatedFile(file, {}), twins)
        for place, emulation in enumerate(emulations):
            changed = EmulatedFile(file, dict.fromkeys(every, emulation))
            emulated = layers.feed(scene.runner, like, side, changed, twins)
            for pair in chosen:
                twin = Pair(pair.reference, pair.reference)
                nearer = _nearer(
                    tapped.second(pair, seen), like.second(twin, plain), like.second(twin, emulated)
                )
                if nearer is not None:
                    listed[place].append(Likeness(pair, emulation, nearer))
    return listed


def _of_reference(tapped: Tapped) -> Tapped:
    """The reference's values on both sides, for a file that has the reference's names."""
    pairs = [
        Pair(one, one) for one in {pair.reference.name: pair.reference for pair in tapped.pairs}.values()
    ]
    axes = {
        pair.other.name: tuple(range(tapped.reference.tensors[pair.other.name].ndim - 1)) for pair in pairs
    }
    return Tapped(pairs, tapped.reference, tapped.reference, axes, tapped.proved)


def _nearer(seen: Real, plain: Real, emulated: Real) -> float | None:
    """Share of what an emulation changes that is nearer to it; None where it changes nothing."""
    changed = distance(plain, emulated) > 0
    if not changed.any():
        return None
    to_plain, to_emulated = distance(seen, plain)[changed], distance(seen, emulated)[changed]
    with np.errstate(invalid="ignore"):
        return float(np.mean((to_emulated <= NEARER * to_plain) & (to_plain > 0)))


# What is done to numbers


def _constant(value: float, name: str) -> onnx.NodeProto:
    tensor = numpy_helper.from_array(np.array(value, np.float32), name)
    return helper.make_node("Constant", [], [name], value=tensor)


def _cast(to: int) -> Callable[[str, str, str], Nodes]:
    def nodes(name: str, into: str, prefix: str) -> Nodes:
        yield helper.make_node("Cast", [name], [f"{prefix}:short"], to=to)
        yield helper.make_node("Cast", [f"{prefix}:short"], [into], to=TensorProto.FLOAT)

    return nodes


def _split(bits: int) -> Callable[[str, str, str], Nodes]:
    """Round to so many significant bits by G. W. Veltkamp's split; large numbers and infinities stay."""

    def nodes(name: str, into: str, prefix: str) -> Nodes:
        large, factor, rounded = f"{prefix}:large", f"{prefix}:factor", f"{prefix}:rounded"
        yield _constant(2.0 ** (24 - bits) + 1, factor)
        yield _constant(2.0**100, large)
        yield helper.make_node("Mul", [name, factor], [f"{prefix}:product"])
        yield helper.make_node("Sub", [f"{prefix}:product", name], [f"{prefix}:rest"])
        yield helper.make_node("Sub", [f"{prefix}:product", f"{prefix}:rest"], [rounded])
        yield helper.make_node("Abs", [name], [f"{prefix}:size"])
        yield helper.make_node("Less", [f"{prefix}:size", large], [f"{prefix}:is-small"])
        yield helper.make_node("Where", [f"{prefix}:is-small", rounded, name], [into])

    return nodes


def _rounded(bits: int) -> Callable[[Real], Real]:
    def values(real: Real) -> Real:
        mantissa, exponent = np.frexp(real)
        return np.asarray(np.ldexp(np.rint(mantissa * 2.0**bits), exponent - bits))

    return values


def _to_float16(real: Real) -> Real:
    with np.errstate(over="ignore"):
        return real.astype(np.float32).astype(np.float16).astype(np.float64)


def _flush(name: str, into: str, prefix: str) -> Nodes:
    yield _constant(SMALLEST_NORMAL, f"{prefix}:normal")
    yield _constant(0.0, f"{prefix}:zero")
    yield helper.make_node("Abs", [name], [f"{prefix}:size"])
    yield helper.make_node("Less", [f"{prefix}:size", f"{prefix}:normal"], [f"{prefix}:is-small"])
    yield helper.make_node("Where", [f"{prefix}:is-small", f"{prefix}:zero", name], [into])


def _without_nan(value: float) -> Callable[[str, str, str], Nodes]:
    def nodes(name: str, into: str, prefix: str) -> Nodes:
        yield _constant(value, f"{prefix}:value")
        yield helper.make_node("IsNaN", [name], [f"{prefix}:is-nan"])
        yield helper.make_node("Where", [f"{prefix}:is-nan", f"{prefix}:value", name], [into])

    return nodes


def _limited(name: str, into: str, prefix: str) -> Nodes:
    """Put the largest number for infinities; NaN stays, as Clip does not promise."""
    low, high, middle = f"{prefix}:low", f"{prefix}:high", f"{prefix}:middle"
    yield _constant(LARGEST, high)
    yield _constant(-LARGEST, low)
    yield helper.make_node("Greater", [name, high], [f"{prefix}:is-high"])
    yield helper.make_node("Where", [f"{prefix}:is-high", high, name], [middle])
    yield helper.make_node("Less", [name, low], [f"{prefix}:is-low"])
    yield helper.make_node("Where", [f"{prefix}:is-low", low, middle], [into])


def _numbers(name: str, into: str, prefix: str) -> Nodes:
    yield from _without_nan(0.0)(name, f"{prefix}:number", prefix)
    yield from _limited(f"{prefix}:number", into, prefix)


F16 = Change("f16", "f16", _cast(TensorProto.FLOAT16), _to_float16)
BF16 = Change("bf16", "bf16", _split(8), _rounded(8))
TF32 = Change("tf32", "tf32", _split(11), _rounded(11))
NUMBERS = Change(
    "numbers", "0 for NaN and the largest number for infinity", _numbers,
    lambda real: np.nan_to_num(real, posinf=LARGEST, neginf=-LARGEST),
)  # fmt: skip
FLUSHED = Change(
    "flushed", "0 for numbers below 2^-126", _flush,
    lambda real: np.where(np.abs(real) < SMALLEST_NORMAL, 0.0, real),
)  # fmt: skip
NAN_TO_ZERO = Change("zero", "0 for NaN", _without_nan(0.0), lambda real: np.where(np.isnan(real), 0.0, real))
NAN_TO_LOWEST = Change(
    "lowest", "the lowest number for NaN", _without_nan(-LARGEST),
    lambda real: np.where(np.isnan(real), -LARGEST, real),
)  # fmt: skip
NAN_TO_LARGEST = Change(
    "largest", "the largest number for NaN", _without_nan(LARGEST),
    lambda real: np.where(np.isnan(real), LARGEST, real),
)  # fmt: skip
LIMITED = Change(
    "limited", "the largest number for infinity", _limited,
    lambda real: np.where(np.isinf(real), np.sign(real) * LARGEST, real),
)  # fmt: skip
