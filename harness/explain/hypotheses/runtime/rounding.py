"""Integer layers round otherwise: once or twice, a half to even or away from zero, or always down."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.core.artifact import Quantization
from harness.core.errors import HarnessError
from harness.explain.files.model_file import OnnxFile
from harness.explain.integers.exact import Exact, exact_result
from harness.explain.integers.rounding import MODES, Integers, Mode, limited
from harness.explain.layers.fed import feed
from harness.explain.layers.pairs import Pair
from harness.explain.layers.tapped import Tapped
from harness.explain.scene import Finding, Scene, State
from harness.explain.sides.side import Side

#: So many layers that differ are computed exactly.
LAYERS = 8
#: Two ways to round give so many of the integers of both sides: of all, and of those at which the two ways
#: differ; and so many of the integers in which the sides differ are among these. Scales of float32 miss some.
CLEAR = 0.95
#: So many of all layers differ where a runtime rounds in a way of its own.
MANY = 1 / 3


@dataclass(frozen=True)
class _Fed:
    """A side whose layers were fed with the integers of a reference that runs an ONNX file."""

    scene: Scene
    file: OnnxFile
    tapped: Tapped
    by_name: dict[str, Pair]

    def steps(self, name: str, *, is_reference: bool = False) -> Integers:
        """Integers of a point without the zero point, as the reference arranges them."""
        pair = self.by_name[name]
        assert pair.reference.step is not None
        if is_reference:
            real = self.tapped.first(pair)
        else:
            assert self.scene.files is not None
            fed = feed(self.scene.runner, self.tapped, self.scene.other, self.scene.files[1], [pair])
            real = self.tapped.second(pair, fed)
        return np.rint(real / pair.reference.step.scale).astype(np.int64)


@dataclass(frozen=True)
class _Ways:
    """How both sides round a layer, where both ways are clear and differ."""

    layer: str
    first: Mode
    second: Mode
    differing: int


class Rounding:
    """Integer layers of the two sides round in different ways."""

    name = "rounding"

    def test(self, scene: Scene) -> Finding:
        """Compute each layer that differs exactly, and look which ways to round give the integers of both.

        Where the outputs differ by no more than rounding explains, it is a cause if many layers round so:
        then the two sides are two runtimes that never agree. In some layers alone it is expected.
        """
        one, two = scene.reference, scene.other
        if not (one.artifact.precision and two.artifact.precision) or one.variant != two.variant:
            return Finding(self.name, State.UNTESTED, "not one integer model on both sides")
        sides = _fed(scene)
        if isinstance(sides, str):
            return Finding(self.name, State.UNTESTED, sides)
        shared = [name for name in sides[-1].by_name if all(name in side.by_name for side in sides)]
        differing, ways = 0, list[_Ways]()
        for name in shared:
            first = sides[0].steps(name, is_reference=len(sides) == 1)
            second = sides[-1].steps(name)
            if np.array_equal(first, second):
                continue
            differing += 1
            if differing <= LAYERS:
                seen = _ways(sides[0], name, first, second)
                ways += [seen] if seen is not None else []
        if not differing:
            return Finding(self.name, State.REFUTED, "fed with the same integers, no layer differs")
        tried = min(differing, LAYERS)
        evidence = (
            f"fed with the same integers, {differing} of {len(shared)} layers differ; "
            f"in {len(ways)} of {tried} two ways to round give the integers of both"
        )
        if 2 * len(ways) < tried:
            return Finding(self.name, State.REFUTED, evidence)
        row = ways[0]
        evidence += f", first in {row.layer}, where {row.differing} differ"
        is_everywhere = len(ways) >= MANY * min(len(shared), LAYERS)
        return Finding(
            self.name, State.EXPECTED if scene.is_within_rounding and not is_everywhere else State.CONFIRMED,
            evidence, len(ways) / tried, f"{two.label} {row.second.text}; {one.label} {row.first.text}",
            row.layer,
        )  # fmt: skip


def _fed(scene: Scene) -> list[_Fed] | str:
    """The other side, fed by the reference; both, fed by this machine, if the reference runs no ONNX file."""
    if scene.reference.artifact.format == "onnx":
        views = [scene]
    elif scene.host_side is None:
        return f"there is no ONNX file of {scene.reference.variant}"
    else:
        views = [_on(scene, scene.host_side, side) for side in (scene.reference, scene.other)]
    sides = []
    for view in views:
        file = view.files[0] if view.files else None
        if view.tapped is None or not isinstance(file, OnnxFile):
            return view.why_no_layers()
        pairs = {
            pair.reference.name: pair
            for pair in view.tapped.pairs
            if pair.reference.step is not None and pair.other.step is not None
        }
        sides.append(_Fed(view, file, view.tapped, pairs))
    return sides


def _on(scene: Scene, host: Side, other: Side) -> Scene:
    """A side against this machine, on the same samples."""
    view = replace(scene, reference=host, other=other, refused={})
    view.worst = scene.worst
    return view


def _ways(side: _Fed, name: str, first: Integers, second: Integers) -> _Ways | None:
    """How both round; None where that is not clear, or where both round alike."""
    pair = side.by_name[name]
    tensors = side.tapped.reference.tensors
    try:
        exact = [exact_result(side.file.graph, pair.reference, tensors, call) for call in range(len(first))]
    except HarnessError:
        return None
    calls = [one for one in exact if one is not None]
    step = pair.reference.step
    if len(calls) < len(exact) or step is None:
        return None
    limits = np.iinfo(tensors[name].dtype)
    rounded = [(mode, _rounded(mode, calls, step, limits, first.shape)) for mode in MODES]
    for (one, of_one), (two, of_two) in itertools.permutations(rounded, 2):
        if of_one is None or of_two is None or one.text == two.text:
            continue
        at, differing = of_one != of_two, first != second
        right = (first == of_one) & (second == of_two)
        if at.any() and min(right[at].mean(), at[differing].mean(), right.mean()) >= CLEAR:
            return _Ways(pair.other.layer, one, two, int(differing.sum()))
    return None


def _rounded(
    mode: Mode, calls: Sequence[Exact], step: Quantization, limits: np.iinfo[Any], shape: tuple[int, ...]
) -> Integers | None:
    rounded = [mode.round(one) for one in calls]
    steps = [limited(one, step, limits) for one in rounded if one is not None]
    return np.stack(steps).reshape(shape) if len(steps) == len(rounded) else None
