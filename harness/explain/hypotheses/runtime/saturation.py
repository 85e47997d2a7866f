"""Sums of products of bytes overflow 16 bits on some CPUs: x86 without VNNI, ARM without dotprod."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

from harness.core.artifact import Artifact
from harness.core.contracts import Variation
from harness.core.errors import HarnessError
from harness.device import environment
from harness.explain.files.model_file import OnnxFile
from harness.explain.hypotheses.runtime.options import ByOption
from harness.explain.integers.products import Product, products
from harness.explain.integers.requantize import other_codes
from harness.explain.integers.sums import SATURATES, WRAPS, Way
from harness.explain.layers.tapped import chunks
from harness.explain.recipes.variants import changed
from harness.explain.scene import Finding, Remedy, Scene, State
from harness.explain.scene.findings import percent_left
from harness.explain.sides.side import Side

#: Machines by the way in which they add, and those that add otherwise.
AFFECTED = {
    SATURATES: "affected: x86 without VNNI; not affected: x86 with VNNI, ARM",
    WRAPS: "affected: ARM without dotprod (Cortex-A53, A72); not affected: ARM with dotprod, x86",
}
#: Whether a machine adds so, by what it tells of itself.
ADDING = {SATURATES: environment.saturates, WRAPS: environment.wraps}
WEIGHTS = {SATURATES: "weights of 7 bits", WRAPS: "weights from -127 on"}
RECIPES = {
    SATURATES: "quantize with portable = true, or with reduce_range where another tool does it",
    WRAPS: "quantize with symmetric weights, which end at -127",
}


class Saturation(ByOption):
    """A CPU adds products of bytes in 16 bits."""

    name = "saturation"

    def is_likely(self, scene: Scene) -> bool:
        """Whether the flags of a CPU say that it adds so, and the file has weights that overflow."""
        for side in (scene.other, scene.reference):
            facts = scene.runner.machine(side)
            ways = [way for way, adds in ADDING.items() if adds(facts)]
            if ways and any(one.can(way) for one in _products(side)[1] for way in ways):
                return True
        return False

    def test(self, scene: Scene) -> Finding:
        """Compute the layers of the quantized file as such a CPU does; else try the runtime's option."""
        sides = [side for side in (scene.other, scene.reference) if _is_quantized(side)]
        if not sides:
            return Finding(self.name, State.UNTESTED, "no side runs a quantized ONNX file")
        for side in sides:
            finding = self._of_side(scene, side)
            if finding is not None:
                return finding
        return super().test(scene)

    def cause(self, scene: Scene, side: Side, variation: Variation) -> str:
        """Say on what."""
        return f"{side.label} {SATURATES.text}{_machine(scene, side)}"

    def _of_side(self, scene: Scene, side: Side) -> Finding | None:
        file, layers = _products(side)
        if file is None:
            return None
        suspects = [one for one in layers if one.can(SATURATES) or one.can(WRAPS)]
        place = _first(scene, side, file, suspects)
        if place is None:
            return None
        layer, way = place
        text = (
            f"the numbers of {layer.name} are those of a CPU that {way.text}{_machine(scene, side)}; "
            f"{AFFECTED[way]}"
        )
        cause = f"{side.label} {way.text}, first in {layer.name}{_machine(scene, side)}"
        wrong = side.label if side is scene.reference else ""
        try:
            share, remedy, after = self._remedied(scene, side, file, way)
        except HarnessError as error:
            return Finding(
                self.name, State.CONFIRMED, f"{text}; {error.what}", 1.0, cause, layer.name, side=wrong
            )
        state = scene.judged(share, is_exact=share == 1)
        evidence = f"{text}; with {remedy.text} {percent_left(share)} of the difference is left"
        return Finding(self.name, state, evidence, share, cause, layer.name, remedy, after, wrong)

    def _remedied(
        self, scene: Scene, side: Side, file: OnnxFile, way: Way
    ) -> tuple[float, Remedy, tuple[Side, Side]]:
        """The runtime's option, where it takes the difference away; else weights that cannot overflow."""
        for variation in scene.variations(side, self.name) if way is SATURATES else ():
            after = scene.replaced(side, replace(side, options=variation.options))
            share = _share(scene, after)
            if scene.judged(share, is_exact=share == 1) is State.CONFIRMED:
                return share, Remedy(variation.text, f"[deploy] {variation.remedy}", side.label), after
        if way is SATURATES and (made := _portable(scene, side)) is not None:
            return made
        model = copy.deepcopy(file.model)
        for layer in products(file.graph):
            if layer.can(way):
                other_codes(file.graph, model, layer.node, *layer.safe(way))
        new = scene.runner.with_file(side, model.SerializeToString(), side.artifact.path.name).artifact
        after = _both(scene, side, new)
        return _share(scene, after), Remedy(WEIGHTS[way], RECIPES[way], side.label), after


def _portable(scene: Scene, side: Side) -> tuple[float, Remedy, tuple[Side, Side]] | None:
    """The variant made again with weights that cannot saturate, where its recipe turned that off."""
    steps = () if scene.recipes is None else scene.recipes.of(side.variant)
    if scene.recipes is None or not any(step.get("portable") is False for step in steps):
        return None
    recipe = changed(steps, {"portable": True})
    if recipe is None:
        return None
    after = _both(scene, side, scene.recipes.made(side.variant, recipe, "onnx")["onnx"])
    remedy = Remedy("made again with portable = true", scene.recipes.line(side.variant, recipe), side.label)
    return _share(scene, after), remedy, after


def _both(scene: Scene, side: Side, artifact: Artifact) -> tuple[Side, Side]:
    """Where both run the file, both run the changed one: what is left is what the CPUs make of it."""
    sides = [
        replace(one, artifact=artifact) if one.artifact.sha256 == side.artifact.sha256 else one
        for one in (scene.reference, scene.other)
    ]
    return sides[0], sides[1]


def _is_quantized(side: Side) -> bool:
    return side.artifact.format == "onnx" and bool(side.artifact.precision)


def _products(side: Side) -> tuple[OnnxFile | None, list[Product]]:
    """The quantized ONNX file of a side, and its layers that add products."""
    if not _is_quantized(side):
        return None, []
    file = OnnxFile(side.artifact.path)
    return file, products(file.graph)


def _share(scene: Scene, sides: tuple[Side, Side]) -> float:
    return scene.share(*(scene.runner.samples(side, scene.rows) for side in sides))


def _first(
    scene: Scene, side: Side, file: OnnxFile, suspects: Sequence[Product]
) -> tuple[Product, Way] | None:
    """The first layer whose numbers are those of sums in 16 bits."""
    if not suspects or scene.gap == 0:
        return None
    rows = scene.worst[:1]
    inputs = set(file.graph.inputs)
    for part in chunks([one.result for one in suspects], {}, 1):
        some = [one for one in suspects if one.result in part]
        names = dict.fromkeys(name for one in some for name in (one.source, one.result) if name not in inputs)
        tapped = scene.runner.with_file(side, file.tapped(list(names)), file.name)
        tensors = scene.runner.samples(tapped, rows).tensors
        for one in some:
            for way in (SATURATES, WRAPS):
                x, seen = tensors[one.source][0], tensors[one.result][0]
                if one.can(way) and one.explains(x, seen, way):
                    return one, way
    return None


def _machine(scene: Scene, side: Side) -> str:
    """What the target's CPU lacks, where its flags say so."""
    facts = scene.runner.machine(side)
    if environment.saturates(facts):
        return ": its CPU has no VNNI"
    if environment.wraps(facts):
        return ": its CPU has no dotprod"
    return ""
