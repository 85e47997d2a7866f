"""Causes that lie in how a quantized file was made: it is changed on this machine, and run again."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from harness.core.artifact import Artifact
from harness.core.errors import HarnessError
from harness.explain.files.graph import Graph
from harness.explain.files.model_file import OnnxFile
from harness.explain.hypotheses.quantization import recipe
from harness.explain.layers.pairs import Pair, match
from harness.explain.layers.tapped import Tapped
from harness.explain.scene import Finding, Remedy, Scene, State
from harness.explain.scene.findings import percent_left
from harness.explain.sides.side import Side

#: What a layer loses by rounding its inputs, weights and result to 8 bits, in steps of its result.
STEPS = 4.0


class Real(Mapping[str, NDArray[np.float64]]):
    """Float values by the names of the reference's points; those of a large model do not lie in memory."""

    def __init__(self, tapped: Tapped) -> None:
        self._tapped, self._pairs = tapped, {pair.reference.name: pair for pair in tapped.pairs}

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        return self._tapped.first(self._pairs[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)


@dataclass(frozen=True, slots=True)
class Quantized:
    """A quantized model, the float one, and the float values on the worst samples.

    Parameters
    ----------
    graph : Graph
        Quantized.
    float32 : Graph, optional
        None where the reference runs no ONNX file.
    pairs : list of Pair
    real : Real
    """

    graph: Graph
    float32: Graph | None
    pairs: list[Pair]
    real: Real

    def constants(self, operators: Collection[str], place: int) -> Iterator[_Constant]:
        """Yield the quantized constants at one input of some operators, with those of the float model."""
        if self.float32 is None:
            return
        others = {node.name: node for node in self.float32.model.graph.node}
        for node in self.graph.model.graph.node:
            if node.op_type not in operators or node.name not in others:
                continue
            other = others[node.name]
            if min(len(node.input), len(other.input)) <= place:
                continue
            reader = self.graph.maker.get(node.input[place])
            if reader is None or reader.op_type != "DequantizeLinear":
                continue
            codes, scale = (self.graph.constant(name) for name in reader.input[:2])
            real = self.float32.constant(other.input[place])
            if codes is not None and scale is not None and real is not None and real.shape == codes.shape:
                yield _Constant(node, reader, codes, scale, real.astype(np.float64))


@dataclass(frozen=True, slots=True)
class _Constant:
    """A quantized constant: the node that takes it, its DequantizeLinear, its numbers, and the float ones."""

    node: onnx.NodeProto
    reader: onnx.NodeProto
    codes: NDArray[Any]
    scale: NDArray[Any]
    real: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is wrong.

    Parameters
    ----------
    weight : float
        How bad it is.
    layer, text : str
        What is wrong there.
    keep : tuple of str
        Layers with weights that would have to stay in float; the layer itself, where there are none.
    """

    weight: float
    layer: str
    text: str
    keep: tuple[str, ...] = ()


def options_of_range(*methods: str) -> Callable[[Place], Iterator[Mapping[str, Any]]]:
    """Other methods of calibration, then the layer in float."""

    def options(place: Place) -> Iterator[Mapping[str, Any]]:
        yield from ({"calibration": method} for method in methods)
        yield {"float_layers": list(place.keep or (place.layer,))}

    return options


def per_channel_scales(place: Place) -> Iterator[Mapping[str, Any]]:
    """A scale for each channel, then the layer in float."""
    yield {"per_channel": True}
    yield from in_float(place)


def in_float(place: Place) -> Iterator[Mapping[str, Any]]:
    """The layers in float."""
    yield {"float_layers": list(place.keep or (place.layer,))}


class OfQuantization(ABC):
    """Confirmed where a changed file is nearer to the float one."""

    name = ""
    absent = ""
    says = ""
    changed = ""
    remedy = ""
    #: What of the recipe of a variant takes it away.
    options: Callable[[Place], Iterator[Mapping[str, Any]]] = staticmethod(in_float)

    def test(self, scene: Scene) -> Finding:
        """Change the quantized file where the evidence is, and run it on this machine."""
        if scene.reference.artifact.precision or not scene.other.artifact.precision:
            return Finding(self.name, State.UNTESTED, "not a float file against an integer one")
        artifact = scene.onnx.get(scene.other.variant)
        if artifact is None or scene.tapped is None:
            why = scene.why_no_layers("there is no ONNX file of the variant")
            return Finding(self.name, State.UNTESTED, why)
        graph = OnnxFile(artifact.path).graph
        pairs = match([pair.reference for pair in scene.tapped.pairs], graph.points())
        real = Real(scene.tapped)
        first = scene.files[0] if scene.files else None
        float32 = first.graph if isinstance(first, OnnxFile) else None
        changed = copy.deepcopy(graph.model)
        seen = sorted(self.fix(Quantized(graph, float32, pairs, real), changed), key=lambda one: -one.weight)
        if not seen:
            return Finding(self.name, State.REFUTED, self.absent)
        try:
            side = scene.runner.with_file(
                _on_host(scene, artifact), changed.SerializeToString(), artifact.path.name
            )
            plain = scene.runner.samples(_on_host(scene, artifact), scene.rows)
            trace = scene.runner.samples(side, scene.rows)
        except HarnessError as error:
            return Finding(self.name, State.UNTESTED, error.what)
        before, left = scene.distance(scene.first, plain), scene.distance(scene.first, trace)
        share = 1 - left / before if before else 0.0
        layer, text = seen[0].layer, seen[0].text
        more = f", and {len(seen) - 1} more" if len(seen) > 1 else ""
        evidence = f"{layer}: {text}{more}; changed, {percent_left(share, 0)} of the difference is left"
        if share < recipe.ENOUGH:
            return Finding(self.name, State.REFUTED, evidence, max(0.0, share))
        finding = Finding(
            self.name, State.CONFIRMED, evidence, share, f"{self.says} in {layer}: {text}{more}", layer,
            Remedy(f"{self.changed}, in the file", self.remedy, scene.other.label),
        )  # fmt: skip
        return with_recipe(scene, finding, [*self.options(seen[0])])

    @abstractmethod
    def fix(self, quantized: Quantized, model: onnx.ModelProto) -> Iterator[Place]:
        """Change the model; yield each place."""


def with_recipe(scene: Scene, finding: Finding, options: Sequence[Mapping[str, Any]]) -> Finding:
    """The finding with a recipe that was run as its remedy, where one helps."""
    # A tenth: the change of the file kept all else as it was, another recipe does not.
    made = recipe.best(scene, scene.other, options, min(0.9, finding.share - 0.1))
    if made is None:
        return finding
    return replace(
        finding, share=made.share, remedy=made.remedy, after=(scene.reference, made.side),
        evidence=f"{finding.evidence}; made again with {made.text}, {percent_left(made.share, 0)} is left",
    )  # fmt: skip


def _on_host(scene: Scene, artifact: Artifact) -> Side:
    return replace(scene.host, artifact=artifact, variant=scene.other.variant, label="this machine")
