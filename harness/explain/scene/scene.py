"""What hypotheses test: the two sides, what they returned, and how far apart another run leaves them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import Artifact
from harness.core.contracts import SupportsVariations, Variation
from harness.core.errors import HarnessError
from harness.device import plugins
from harness.explain.files import model_file
from harness.explain.files.model_file import ModelFile
from harness.explain.layers.alignment import align
from harness.explain.layers.errors import compare, gaps
from harness.explain.layers.pairs import is_by_name, match
from harness.explain.layers.table import Layer, compare_layers, without_inputs
from harness.explain.layers.tapped import Tapped, affordable, tap
from harness.explain.recipes.scores import Scorer
from harness.explain.recipes.variants import Recipes
from harness.explain.scene.findings import Finding, State
from harness.explain.scene.quantities import Places, quantities, relative, weighted
from harness.explain.sides.runner import Runner
from harness.explain.sides.side import Side
from harness.explain.sides.trace import Trace

Real = NDArray[np.float64]
#: A change that leaves at most so much of the difference explains it.
EXPLAINED = 0.1
#: A change that leaves at most so much explains a part of it, if the rest has a cause of its own.
PARTLY = 0.85
#: Layers as outputs may change the outputs by so much of the difference.
UNCHANGED = 0.1
#: A difference of the outputs, relative to their size, that 8 bits usually make: 26 dB.
SMALL = 0.05
#: What rounding makes of the outputs of a float model for which nothing could be derived, relative to their
#: size: some hundred results in a row, each rounded by up to 2^-24.
UNKNOWN_BOUND = 1e-5
#: The layers are compared on so many samples, those that differ most.
WORST = 4


@dataclass
class Scene:
    """The case that is explained.

    Parameters
    ----------
    reference, other : Side
    runner : Runner
    onnx : mapping of variant to ONNX artifact
        From which files of other formats were written.
    host : Side
        The reference's ONNX file on this machine's own ONNX Runtime.
    bounds : mapping of output name to float
        What rounding explains between runtimes; empty where nothing was derived.
    rows : sequence of int
        On which causes are looked for.
    held_out : sequence of int
        Others, on which the effect of a remedy is measured; none where the set has no more.
    recipes : Recipes, optional
        Makes variants again.
    scorer : Scorer, optional
        What answers are worth, where there are labels.
    end_s : float
        On the monotonic clock: what takes long is not begun after it.
    refused : dict
        What could not be done, and why.
    opened : dict
        Files that were read, by the hashes of the file and of what it was written from.
    by_option : dict
        What options of the runtimes came to, by the kind of the variation.
    """

    reference: Side
    other: Side
    runner: Runner
    onnx: dict[str, Artifact]
    host: Side
    bounds: Mapping[str, float]
    rows: Sequence[int]
    held_out: Sequence[int] = ()
    recipes: Recipes | None = None
    scorer: Scorer | None = None
    end_s: float = math.inf
    refused: dict[str, str] = field(default_factory=dict)
    opened: dict[tuple[str, str], ModelFile] = field(default_factory=dict)
    by_option: dict[str, Finding] = field(default_factory=dict, init=False)

    # This machine's own ONNX Runtime

    @cached_property
    def host_side(self) -> Side | None:
        """The reference's ONNX file on this machine; None where it has none."""
        artifact: Artifact | None = self.reference.artifact
        if self.reference.artifact.format != "onnx":
            artifact = self.onnx_of(self.reference)
        if artifact is None:
            return None
        fed = self.reference.preprocess, self.reference.raw
        return replace(self.host, artifact=artifact, preprocess=fed[0], raw=fed[1])

    @cached_property
    def against_host(self) -> Scene:
        """The side that is further from this machine's ONNX Runtime, against a side that runs an ONNX file.

        This scene itself where its reference is right and runs one, or where this machine cannot run it.
        """
        if self.host_side is None:
            return self
        try:
            trace = self.runner.samples(self.host_side, self.rows)
        except HarnessError as error:
            self.refused["this machine"] = error.what
            return self
        is_other = self.distance(trace, self.second) >= self.distance(trace, self.first)
        if is_other and self.reference.artifact.format == "onnx":
            return self
        suspect = self.other if is_other else self.reference
        changed = replace(self, reference=self.host_side, other=suspect, refused={})
        changed.first, changed.second = trace, self.second if is_other else self.first
        return changed

    # What both sides returned

    @cached_property
    def first(self) -> Trace:
        """The reference, sample by sample."""
        return self.runner.samples(self.reference, self.rows)

    @cached_property
    def second(self) -> Trace:
        """The other side."""
        return self.runner.samples(self.other, self.rows)

    def cut(self, count: int) -> None:
        """Go on with the first samples alone, and with three times as many held out."""
        self.first, self.second = (
            replace(trace, tensors={name: tensor[:count] for name, tensor in trace.tensors.items()})
            for trace in (self.first, self.second)
        )
        self.rows, self.held_out = self.rows[:count], self.held_out[: 3 * count]
        for name in ("quantities", "gap", "worst", "is_within_rounding"):
            vars(self).pop(name, None)

    def answers(self, trace: Trace) -> list[Real]:
        """Real outputs, one array (samples, elements) an output, in the order of the file."""
        return [trace.answer(name).reshape(len(self.rows), -1) for name in trace.outputs]

    @cached_property
    def quantities(self) -> list[Places]:
        """Places of the numbers that have one scale, among those of a sample; see `quantities`."""
        return quantities([self.first.answer(name) for name in self.first.outputs])

    @cached_property
    def gap(self) -> float:
        """Root mean square of the difference, over that of the reference; of several quantities, the mean."""
        return self.distance(self.first, self.second)

    def distance(self, first: Trace, second: Trace) -> float:
        """The same between two traces of one length; infinite where their shapes differ."""
        one, two = self.answers(first), self.answers(second)
        if [y.shape for y in one] != [y.shape for y in two]:
            return math.inf
        return relative(np.concatenate(one, axis=1), np.concatenate(two, axis=1), self.quantities)

    def squares(self, first: Trace | None = None) -> Real:
        """Sum of the squared differences of each sample, shape (rows,); to another trace if one is given."""
        traces = self.first, first or self.first, self.second
        like, one, two = (np.concatenate(self.answers(trace), axis=1) for trace in traces)
        squares: Real = np.square(weighted(like, one, two, self.quantities)).sum(axis=1)
        return squares

    @cached_property
    def is_within_rounding(self) -> bool:
        """Whether no output differs by more than rounding explains."""
        if self.reference.artifact.precision != self.other.artifact.precision:
            return self.gap == 0
        if not self.bounds:
            return self.gap <= (0.0 if self.reference.artifact.precision else UNKNOWN_BOUND)
        for name, one, two in zip(
            self.first.outputs, self.answers(self.first), self.answers(self.second), strict=False
        ):
            if one.shape != two.shape or not compare(one, two).largest <= self.bounds.get(name, 0.0):
                return False
        return True

    @cached_property
    def worst(self) -> list[int]:
        """The samples that differ most; fewer where their layers are large."""
        count = WORST
        if self.files is not None:
            count = affordable(self.files, (self.first, self.second), WORST)
        both = zip(self.answers(self.first), self.answers(self.second), strict=True)
        mean_gaps = sum(np.mean(gaps(one, two), axis=1) for one, two in both)
        if len(self.quantities) > 1:
            mean_gaps = self.squares()
        return [self.rows[place] for place in np.argsort(-np.asarray(mean_gaps), kind="stable")[:count]]

    # Another run

    def share(self, first: Trace, second: Trace) -> float:
        """The part of the difference that a change took away, at most 1; negative where it grew."""
        left = self.distance(first, second)
        return 1.0 - left / self.gap if math.isfinite(left) and self.gap else 0.0

    def in_place_of(self, side: Side, trace: Trace) -> tuple[Trace, Trace]:
        """What both sides returned, with a trace in the place of one side's."""
        return (self.first, trace) if side is self.other else (trace, self.second)

    def share_of_part(self, side: Side, trace: Trace, rows: slice) -> float:
        """The part that goes where some rows of a trace, the first samples, are in the place of a side's."""
        count, is_other = rows.stop - rows.start, side is self.other
        stored = [y[:count] for y in self.answers(self.first if is_other else self.second)]
        others = [y[:count] for y in self.answers(self.second if is_other else self.first)]
        if len(trace.outputs) != len(stored):
            return 0.0
        new = [trace.answer(name)[rows].reshape(count, -1) for name in trace.outputs]
        if [y.shape for y in new] != [y.shape for y in stored]:
            return 0.0
        joined = np.concatenate(stored, axis=1)
        before, left = (
            float(np.linalg.norm(weighted(joined, joined, np.concatenate(some, axis=1), self.quantities)))
            for some in (others, new)
        )
        return 1.0 - left / before if before else 0.0

    def judged(self, share: float, *, is_exact: bool, is_fact: bool = False) -> State:
        """What a change says that took away a share of the difference.

        Of a difference that rounding explains all has to be gone. What differs in fact (a file is not the one
        it should be) is a cause, whatever part it has: others are looked for in what it leaves.
        """
        if self.is_within_rounding:
            return State.CONFIRMED if is_exact or is_fact else State.REFUTED
        if share >= (1 - PARTLY if is_fact else 1 - EXPLAINED):
            return State.CONFIRMED
        return State.PARTLY if share >= 1 - PARTLY else State.REFUTED

    def variations(self, side: Side, kind: str) -> tuple[Variation, ...]:
        """Other options of a side's backend of one kind."""
        backend = plugins.choose(plugins.BACKENDS, side.backend)()
        if not isinstance(backend, SupportsVariations):
            return ()
        return tuple(one for one in backend.variations(side.options) if one.kind == kind)

    def replaced(self, side: Side, changed: Side) -> tuple[Side, Side]:
        """Both sides, with one of them changed."""
        return (self.reference, changed) if side is self.other else (changed, self.other)

    @cached_property
    def is_fed_otherwise(self) -> bool:
        """Whether the sides are given different inputs, as where a mistake of one is made on the other."""
        one, two = self.reference, self.other
        return one.preprocess != two.preprocess or any(
            not np.array_equal(one.raw[name][self.worst], two.raw[name][self.worst]) for name in one.raw
        )

    # Layers

    def onnx_of(self, side: Side) -> Artifact | None:
        """The ONNX file that a side's file was written from, or has to be equal to."""
        if side.variant in self.onnx:
            return self.onnx[side.variant]
        opposite = self.reference if side is self.other else self.other
        is_alike = opposite.artifact.precision == side.artifact.precision
        return opposite.artifact if opposite.artifact.format == "onnx" and is_alike else None

    @cached_property
    def files(self) -> tuple[ModelFile, ModelFile] | None:
        """Both files as points; None where one has no readable layers."""
        both = []
        for side in (self.reference, self.other):
            source = self.onnx_of(side)
            key = side.artifact.sha256, "" if source is None else source.sha256
            try:
                file = self.opened.get(key) or model_file.read(side.artifact, source)
            except HarnessError as error:
                self.refused["layers"] = error.what
                return None
            if file is None:
                self.refused["layers"] = f"the layers of a file of {side.artifact.format} cannot be read"
                return None
            self.opened[key] = file
            both.append(file)
        return both[0], both[1]

    @cached_property
    def tapped(self) -> Tapped | None:
        """The values of both sides at each layer, on the worst samples."""
        if self.files is None:
            return None
        try:
            pairs = match(self.files[0].points, self.files[1].points)
            if not is_by_name(pairs, self.files):
                pairs = align(self.runner, self.reference, self.other, self.files, self.worst)
            tapped = tap(self.runner, self.reference, self.other, self.files, self.worst, pairs)
        except HarnessError as error:
            self.refused["layers"] = error.what
            return None
        if tapped.proved.relative > UNCHANGED * self.gap:
            self.refused["layers"] = (
                f"{self.other.label} gives other numbers with its layers as outputs, because it fuses them "
                f"otherwise: {tapped.proved.relative:.2g} of their size"
            )
        return tapped

    def why_no_layers(self, otherwise: str = "no layer can be compared") -> str:
        """What could not be done; another reason where all could."""
        return "; ".join(self.refused.values()) or otherwise

    @property
    def has_table(self) -> bool:
        """Whether the layers were compared already."""
        return "table" in vars(self)

    @cached_property
    def table(self) -> list[Layer]:
        """The errors of each layer; empty where they cannot be had."""
        if self.tapped is None or self.files is None:
            return []
        try:
            rows = compare_layers(self.runner, self.tapped, self.other, self.files[1])
            return without_inputs(rows) if self.is_fed_otherwise else rows
        except HarnessError as error:
            self.refused["isolated layers"] = error.what
            return compare_layers(self.runner, self.tapped, self.other, self.files[1], isolate=False)

    @property
    def first_layer(self) -> str:
        """The first layer whose result differs with the reference's inputs; else the first that differs."""
        isolated = [row for row in self.table if row.isolated is not None and row.isolated.largest > 0]
        differing = isolated or [row for row in self.table if row.accumulated.largest > 0]
        return differing[0].point.layer if differing else ""
