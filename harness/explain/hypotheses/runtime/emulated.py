"""A hypothesis that is tested by emulation: the reference is made to err likewise, in the layers that do."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.explain.emulation.changes import Change
from harness.explain.emulation.insertion import Emulation, Place, insert
from harness.explain.emulation.likeness import Likeness, alike, plain_host
from harness.explain.files.graph import PRODUCTS
from harness.explain.files.model_file import OnnxFile
from harness.explain.layers.errors import gaps
from harness.explain.layers.tapped import Tapped
from harness.explain.scene import Finding, Scene, State
from harness.explain.scene.findings import percent_left
from harness.explain.scene.scene import EXPLAINED
from harness.explain.sides.side import Side
from harness.explain.sides.trace import Trace

#: Numbers that only products have; constants are mostly theirs.
OF_PRODUCTS = {Place.OPERANDS, Place.WEIGHTS, Place.CONSTANTS}
#: Where every layer that differs is like the emulation, what is left is how the emulation itself rounds.
CLEAR = 0.5


@dataclass(frozen=True)
class Case:
    """The suspected side against one that runs an ONNX file, and that file.

    Parameters
    ----------
    scene : Scene
    view : Scene
        The same, or the suspected side against this machine.
    file : OnnxFile
    tapped : Tapped
    """

    scene: Scene
    view: Scene
    file: OnnxFile
    tapped: Tapped

    @property
    def wrong(self) -> str:
        """Label of the suspected side, for `Finding.side`."""
        return "" if self.view.other is self.scene.other else self.view.other.label

    def after(self, side: Side) -> tuple[Side, Side]:
        """Both sides with the emulation in place of the one that is right."""
        return (self.scene.reference, side) if self.wrong else (side, self.scene.other)


@dataclass(frozen=True)
class Tried:
    """The reference that errs in some layers.

    Parameters
    ----------
    likenesses : list of Likeness
        One a layer, in their order.
    side : Side
    trace : Trace
    share : float
        Of the difference that is gone.
    typical : float
        The same of the middle sample: a number near the middle of two others is rounded to either.
    """

    likenesses: list[Likeness]
    side: Side
    trace: Trace
    share: float
    typical: float

    @property
    def first(self) -> Likeness:
        """The first layer."""
        return self.likenesses[0]


class Emulated(ABC):
    """Confirmed where the reference that errs likewise gives the other's numbers.

    Attributes
    ----------
    outputs : tuple of Change
        What is tried on the outputs alone.
    nothing : str
        Evidence where no layer errs so.
    are_others_right : bool
        Layers that are not suspected could err so, and do not; else nothing in them could.
    """

    name = ""
    outputs: tuple[Change, ...] = ()
    nothing = ""
    are_others_right = True

    def test(self, scene: Scene) -> Finding:
        """Change the outputs; then each layer by itself; then the whole file, in the layers that err so."""
        if scene.reference.artifact.precision or scene.other.artifact.precision:
            return Finding(self.name, State.UNTESTED, "not two float files")
        if scene.is_within_rounding:
            return Finding(self.name, State.REFUTED, "the difference is one of rounding")
        if why := self.unlikely(scene):
            return Finding(self.name, State.REFUTED, why)
        view = scene.against_host
        file = view.files[0] if view.files else None
        if (finding := self._of_outputs(scene, view)) is not None:
            return finding
        if view.tapped is None or not isinstance(file, OnnxFile):
            why = view.why_no_layers(f"there is no ONNX file of {scene.reference.variant}")
            return Finding(self.name, State.UNTESTED, why)
        return self._of_layers(Case(scene, view, file, view.tapped))

    def _of_layers(self, case: Case) -> Finding:
        view = case.view
        if why := self.absent(case):
            return Finding(self.name, State.REFUTED, why)
        names = self.suspected(case)
        emulations = self.emulations(case, names)
        listed = alike(view, case.file, case.tapped, emulations, lambda pair: pair.other.name in names)
        likenesses = _most_layers(case, listed)
        if not likenesses:
            return self.otherwise(case) or Finding(self.name, State.REFUTED, self.nothing)
        tried, used = run(case, likenesses), {one.emulation for one in likenesses}
        for others in (_of_inputs(case, likenesses), _with_unclear(case, names, likenesses)):
            if tried.share < 1 - EXPLAINED and others:
                tried = max(tried, run(case, others), key=lambda one: one.share)
        could = {one.pair.other.name for one in listed if one.emulation in used}
        every = names if self.are_others_right else {row.point.name for row in view.table}
        not_changed = every - could
        label, layer = view.other.label, tried.first.pair.other.layer
        evidence = (
            f"{len(tried.likenesses)} of {len(view.table)} layers err so when they are fed with the same "
            f"numbers, first {layer}; with that error in the reference {percent_left(tried.share)} is "
            f"left, {percent_left(tried.typical)} in the middle sample"
        )
        state = view.judged(max(tried.share, tried.typical), is_exact=False)
        if 2 * len(likenesses) > len(names & could):
            state = State.CONFIRMED  # it is seen in the layers, however much of the difference others have
        if state is State.REFUTED:
            return self.otherwise(case) or Finding(self.name, state, evidence, max(0.0, tried.share))
        return Finding(
            self.name, state, evidence, tried.share,
            f"{label} {self.says(tried.first.emulation)}{where(case, tried, not_changed)}", layer,
            after=case.after(tried.side), side=case.wrong,
            may_leave=1 - CLEAR if names & could <= {one.pair.other.name for one in likenesses} else 0.0,
        )  # fmt: skip

    def _of_outputs(self, scene: Scene, view: Scene) -> Finding | None:
        """Confirmed where the outputs alone are changed."""
        one, two = (np.concatenate(view.answers(trace), axis=1) for trace in (view.first, view.second))
        if one.shape != two.shape:
            return None
        before = float(np.linalg.norm(gaps(one, two)))
        for change in self.outputs:
            left = float(np.linalg.norm(gaps(change.values(one), two)))
            if left <= EXPLAINED * before:
                label = view.other.label
                return Finding(
                    self.name, State.CONFIRMED,
                    f"the outputs of {view.reference.label}, changed so, leave {left / before:.1%}",
                    1 - left / before,
                    f"{label} {self.says(Emulation(change, Place.RESULTS))}, in its outputs alone",
                    view.files[1].points[-1].layer if view.files else "",
                    side="" if view.other is scene.other else label,
                )  # fmt: skip
        return None

    def unlikely(self, scene: Scene) -> str:
        """Why nothing can err so, seen without the layers; empty where something may."""
        return ""

    @abstractmethod
    def absent(self, case: Case) -> str:
        """Why no layer can err so; empty where one can."""

    @abstractmethod
    def emulations(self, case: Case, suspected: set[str]) -> Sequence[Emulation]:
        """What is tried on the suspected points of the other side."""

    @abstractmethod
    def suspected(self, case: Case) -> set[str]:
        """Points of the other side that are compared with the emulations."""

    @abstractmethod
    def says(self, emulation: Emulation) -> str:
        """The error as a verb with its object."""

    def otherwise(self, case: Case) -> Finding | None:
        """Other evidence, where no emulation gives the other's numbers."""
        return None


def _most_layers(case: Case, listed: Sequence[Likeness]) -> list[Likeness]:
    """Likenesses to the change that most layers are like, and of the others to what they are like."""
    by_change: defaultdict[str, dict[str, Likeness]] = defaultdict(dict)
    for one in (one for one in listed if one.is_like):
        best = by_change[one.emulation.change.name]
        layer = one.pair.reference.layer
        if layer not in best or one.nearer > best[layer].nearer:
            best[layer] = one
    # The last has most layers; of changes that fit alike, it is the first that was tried.
    ranked = sorted(
        enumerate(by_change.values()),
        key=lambda one: (len(one[1]), sum(like.nearer for like in one[1].values()), -one[0]),
    )
    of_layers = {layer: like for _, best in ranked for layer, like in best.items()}
    return _in_order(case, of_layers.values())


def _in_order(case: Case, likenesses: Iterable[Likeness]) -> list[Likeness]:
    order = {pair.other.name: place for place, pair in enumerate(case.tapped.pairs)}
    return sorted(likenesses, key=lambda one: order[one.pair.other.name])


def _of_inputs(case: Case, likenesses: list[Likeness]) -> list[Likeness]:
    """Those of layers that read an input of the file, where others read values that err when they are fed."""
    inputs = set(case.file.graph.inputs)
    read = [one for one in likenesses if inputs & set(one.pair.reference.after)]
    is_read = any(one.emulation.place in (Place.INPUTS, Place.ALL) for one in read)
    return read if is_read and len(read) < len(likenesses) else []


def _with_unclear(case: Case, names: Collection[str], likenesses: list[Likeness]) -> list[Likeness]:
    """With those that err in another way, too, and those that could not be fed with the same numbers."""
    not_fed = {row.point.name for row in case.view.table if row.isolated is None}
    layers_ = {one.pair.reference.layer for one in likenesses}
    unclear = [
        Likeness(pair, likenesses[-1].emulation, 0.0)
        for pair in case.tapped.pairs
        if pair.other.name in {*names, *not_fed} and pair.reference.layer not in layers_
    ]
    return _in_order(case, [*likenesses, *unclear]) if unclear else []


def run(case: Case, likenesses: list[Likeness]) -> Tried:
    """Run the reference's file on this machine with the error in these layers."""
    chosen = {one.pair.reference.layer: one.emulation for one in likenesses}
    runner, host = case.view.runner, plain_host(case.view)
    model = insert(case.file.graph, chosen)
    side = runner.with_file(host, model.SerializeToString(), case.file.name)
    side = replace(side, emulates=host.artifact.sha256)
    trace = runner.samples(side, case.scene.rows)
    before, left = (float(np.median(case.view.squares(one))) for one in (None, trace))
    share = case.view.share(trace, case.view.second)
    return Tried(likenesses, side, trace, share, 1 - math.sqrt(left / before) if before else share)


def where(case: Case, tried: Tried, not_changed: Collection[str] = ()) -> str:
    """In which of the layers that could err so; empty where in all.

    Parameters
    ----------
    not_changed : collection of str
        Points in which the error would change no number.
    """
    is_of_products = {one.emulation.place for one in tried.likenesses} <= OF_PRODUCTS
    could = [
        row.point.layer
        for row in case.view.table
        if row.point.name not in not_changed and (not is_of_products or row.point.operator in PRODUCTS)
    ]
    err = {one.pair.other.layer for one in tried.likenesses}
    right = [place for place, layer in enumerate(could) if layer not in err]
    first = tried.first.pair.other.layer
    if not right:
        return ""
    if len(err) == 1:
        return f" in {first} alone"
    if max(right) < could.index(first):
        return f" from {first} on"
    return f" in {len(err)} of {len(could)} layers"
