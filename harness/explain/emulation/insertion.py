"""Arithmetic that errs, emulated on this machine: nodes that change numbers are put into an ONNX file.

A runtime that computes so has no option against it, or reports none: the reference that errs likewise shows
whether that is the difference, in which layers, and how much of it.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from harness.explain.emulation.changes import Change
from harness.explain.files import edits
from harness.explain.files.edits import FED
from harness.explain.files.graph import PRODUCTS, Graph
from harness.explain.files.model_file import OnnxFile


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

    As `harness.explain.files.model_file.LayeredFile`; every point is returned under its name, and for each
    error under `twin`.

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
        model = edits.part(self._exploded(fed, names), *names, *twins)
        return bytes(model.SerializeToString()), [value.name for value in model.graph.input]

    def _exploded(self, fed: Mapping[str, NDArray[np.generic]], names: Sequence[str]) -> onnx.ModelProto:
        """One file for all: each error has copies of the nodes, and they share what is fed."""
        whole = edits.exploded(self._file.model, fed, names)
        every = {point.layer for point in self._file.points}
        nodes = list(whole.graph.node)
        for place, emulation in enumerate(self._emulations):
            changed = _with_errors(whole.graph.node, self._file.graph, dict.fromkeys(every, emulation))
            made = {name for node in changed for name in node.output if name}
            renamed = {name: self.twin(name, place) for name in made}
            for node in changed:
                edits.rename(node, renamed)
                node.output[:] = [renamed.get(name, name) for name in node.output]
                node.name = ""
            nodes += changed
            whole.graph.output.extend(
                helper.make_empty_tensor_value_info(self.twin(name, place)) for name in names
            )
        del whole.graph.node[:]
        whole.graph.node.extend(nodes)
        return whole
