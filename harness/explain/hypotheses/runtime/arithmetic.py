"""One side's arithmetic errs: fewer bits, small numbers flushed to zero, NaN or infinity replaced.

Where no option of a runtime takes that away, the reference is made to err in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper

from harness.core.errors import HarnessError
from harness.explain.emulation import changes
from harness.explain.emulation.changes import Change
from harness.explain.emulation.insertion import Emulation, Place
from harness.explain.emulation.likeness import Likeness
from harness.explain.files.model_file import OnnxFile
from harness.explain.hypotheses.runtime import options
from harness.explain.hypotheses.runtime.emulated import Case, Emulated, run, where
from harness.explain.operators import referee
from harness.explain.operators.alone import cut_out
from harness.explain.scene import Finding, Scene, State

Real = NDArray[np.float64]
#: A layer of float32 that is fed with the same numbers differs by less: 2^-24 for each of some additions.
EQUAL = 2.0**-16
#: More is not the rounding of a format.
ROUNDED = 2.0**-3
#: So many results of a layer that computes in a short format are numbers of that format.
ON_GRID = 0.999
#: Rounding changes so many numbers of a layer, and its errors are those of a factor or an offset by no more.
MANY, NOT_NOISE = 0.2, 0.95
#: An emulation that rounds elsewhere than the runtime does gives a difference of at least so much of it.
LIKE_SIZE = 1 / 8
#: Products of some such numbers are no longer normal.
TINY = 2.0**-40
#: Operators whose results can be small where nothing that they read is.
SHRINKING = frozenset({"Exp", "Gelu", "Pow", "Sigmoid", "Softmax", "Softplus", "Swish", "Erf"})


class Precision(Emulated):
    """One side computes in fewer bits."""

    name = "precision"
    outputs = (changes.F16, changes.BF16, changes.BF16_CUT)
    nothing = "no layer computes as f16, bf16 or tf32 would"

    def test(self, scene: Scene) -> Finding:
        """By an option of the runtime; else by emulation."""
        by_option = options.Precision().test(scene)
        if by_option.state is State.CONFIRMED:
            return by_option
        emulated = super().test(scene)
        if by_option.state is State.PARTLY and emulated.state is not State.CONFIRMED:
            return by_option
        return replace(emulated, evidence=f"{by_option.evidence}; {emulated.evidence}")

    def absent(self, case: Case) -> str:
        """Errors that are none of rounding."""
        names = self.suspected(case)
        pair = next((pair for pair in case.tapped.pairs if pair.other.name in names), None)
        if pair is None:
            return "fed with the same numbers, no layer differs by what fewer bits would change"
        # The layers before the first are equal: it was fed with the same numbers within the run, too.
        first, second = case.tapped.first(pair), case.tapped.second(pair)
        if _grid(second) is None and not _is_noise(first, second):
            return f"the error of {pair.other.layer} is not one of rounding"
        return ""

    def emulations(self, case: Case, suspected: set[str]) -> Sequence[Emulation]:
        """Formats that the results of layers are numbers of; operands and constants of the others."""
        grids = {
            _grid(case.tapped.second(pair)) for pair in case.tapped.pairs if pair.other.name in suspected
        }
        results = (Place.RESULTS, Place.OPERANDS_RESULT, Place.ALL, Place.OPERATORS)
        formats = [one for one in grids if one is not None]
        formats += [changes.BF16_CUT] if changes.BF16 in grids else []
        listed = [Emulation(one, place) for one in formats for place in results]
        if None in grids:
            formats = [changes.TF32, changes.BF16, changes.F16, changes.BF16_CUT]
            listed += [Emulation(one, Place.OPERANDS) for one in (*formats, changes.TF32_CUT)]
            others = (Place.WEIGHTS, Place.CONSTANTS, Place.INPUTS)
            listed += [Emulation(one, place) for one in formats[1:] for place in others]
        return listed

    def suspected(self, case: Case) -> set[str]:
        """Where rounding to a short format could be what is between the two."""
        rows = [(row.point.name, row.isolated) for row in case.view.table]
        return {
            name
            for name, error in rows
            if error is not None and (EQUAL < error.relative < ROUNDED or math.isinf(error.largest))
        }

    def says(self, emulation: Emulation) -> str:
        """What is rounded."""
        text = emulation.change.text
        if emulation.place in (Place.WEIGHTS, Place.CONSTANTS):
            return f"has its weights in {text}"
        if emulation.place is Place.INPUTS:
            return f"reads its input in {text}"
        return f"multiplies in {text}" if emulation.place is Place.OPERANDS else f"computes in {text}"

    def otherwise(self, case: Case) -> Finding | None:
        """Confirmed where results are numbers of a format, and rounding to it makes as large a difference."""
        names = self.suspected(case)
        suspected = [pair for pair in case.tapped.pairs if pair.other.name in names]
        grids = {pair.other.name: _grid(case.tapped.second(pair)) for pair in suspected}
        change = max(
            (one for one in grids.values() if one is not None), default=None, key=list(grids.values()).count
        )
        if change is None:
            return None
        emulation = Emulation(change, Place.ALL)
        likenesses = [
            Likeness(pair, emulation, 1.0) for pair in suspected if grids[pair.other.name] is change
        ]
        tried = run(case, likenesses)
        size = case.view.distance(case.view.first, tried.trace)
        if size < LIKE_SIZE * case.view.gap:
            return None
        layer = tried.first.pair.other.layer
        return Finding(
            self.name, State.CONFIRMED,
            f"all results of {len(likenesses)} layers are numbers of {change.text}, first {layer}; rounding "
            f"to it makes a difference of {size:.2g}, and {case.view.gap:.2g} was seen",
            max(0.0, tried.share),
            f"{case.view.other.label} {self.says(emulation)}{where(case, tried)}", layer, side=case.wrong,
        )  # fmt: skip


def _is_noise(first: Real, second: Real) -> bool:
    """Whether most numbers have an error that depends neither on them nor on anything else."""
    errors = second - first
    at = np.isfinite(errors) & ((first != 0) | (second != 0))
    values, errors = first[at], errors[at]
    size = float(np.sqrt(np.mean(np.square(errors)))) if errors.any() else 0.0
    if not size or np.mean(np.abs(errors) > 0.01 * size) < MANY:
        return False
    factor = float(np.mean(errors * values)) / (size * float(np.sqrt(np.mean(np.square(values)))))
    return max(abs(factor), abs(float(np.mean(errors))) / size) < NOT_NOISE


def _grid(real: Real) -> Change | None:
    """The shortest format that results are numbers of."""
    numbers = real[np.isfinite(real) & (real != 0)]
    for change in (changes.BF16, changes.F16):
        if numbers.size and np.mean(change.values(numbers) == numbers) >= ON_GRID:
            return change
    return None


class Denormals(Emulated):
    """One side takes zero for numbers that are too small to be normal."""

    name = "small numbers"
    outputs = (changes.FLUSHED,)
    nothing = "no layer takes 0 for numbers below 2^-126"
    are_others_right = False

    def unlikely(self, scene: Scene) -> str:
        """Inputs, constants and operators that could give such numbers."""
        file = scene.files[0] if scene.files else None
        if not isinstance(file, OnnxFile) or any(node.op_type in SHRINKING for node in file.model.graph.node):
            return ""
        constants = [numpy_helper.to_array(one) for one in file.graph.initializers.values()]
        traces = scene.first.tensors, scene.second.tensors
        if any(map(_has_tiny, [*constants, *(one[name] for one in traces for name in one)])):
            return ""
        return "no input and no constant is small, and no operator makes small numbers"

    def absent(self, case: Case) -> str:
        """Numbers that could be flushed."""
        return "" if self.suspected(case) else "no constant and no value is smaller than 2^-126"

    def emulations(self, case: Case, suspected: set[str]) -> Sequence[Emulation]:
        """In what a layer reads, in its result, or in both."""
        places = Place.ALL, Place.INPUTS, Place.CONSTANTS, Place.RESULTS
        return [Emulation(changes.FLUSHED, place) for place in places]

    def suspected(self, case: Case) -> set[str]:
        """Layers that read or give such numbers, whose errors are too small to be seen."""
        graph, reference = case.file.graph, case.tapped.reference.tensors
        small = {name for name in reference if _has_denormal(reference[name])}
        small |= {
            name for name, one in graph.initializers.items() if _has_denormal(numpy_helper.to_array(one))
        }
        reading = {graph.layer_of(node) for node in graph.model.graph.node if small & set(node.input)}
        return {
            pair.other.name
            for pair in case.tapped.pairs
            if pair.reference.layer in reading or small & {pair.reference.name, *pair.reference.after}
        }

    def says(self, emulation: Emulation) -> str:
        """What is flushed."""
        return f"takes {emulation.change.text}"


def _has_tiny(array: NDArray[np.generic]) -> bool:
    size = np.abs(array.astype(np.float64)) if array.dtype.kind == "f" else np.ones(1)
    return bool(np.any((size > 0) & (size < TINY)))


def _has_denormal(array: NDArray[np.generic]) -> bool:
    if array.dtype != np.float32:
        return False
    size = np.abs(array.astype(np.float64))
    return bool(np.any((size > 0) & (size < changes.SMALLEST_NORMAL)))


class NonFinite(Emulated):
    """One side has NaN or infinity where the other has a number."""

    name = "NaN and infinity"
    outputs = (changes.NAN_TO_ZERO, changes.LIMITED, changes.NUMBERS, changes.NAN_TO_LARGEST)
    nothing = "no layer replaces NaN or infinity by zero or by the largest number"

    def unlikely(self, scene: Scene) -> str:
        """Inputs and outputs that have them."""
        traces = scene.first.tensors, scene.second.tensors
        tensors = [one[name] for one in traces for name in one]
        if not all(np.isfinite(tensor).all() for tensor in tensors if tensor.dtype.kind == "f"):
            return ""
        return "all inputs and outputs are finite"

    def absent(self, case: Case) -> str:
        """Layers that have them on one side alone."""
        if self.suspected(case):
            return ""
        return "fed with the same numbers, every layer has NaN and infinity at the same places, or none"

    def emulations(self, case: Case, suspected: set[str]) -> Sequence[Emulation]:
        """What takes their place in a result, or in what a layer reads."""
        results = changes.NAN_TO_ZERO, changes.LIMITED, changes.NUMBERS, changes.NAN_TO_LARGEST
        read = changes.NAN_TO_ZERO, changes.NUMBERS, changes.NAN_TO_LOWEST
        listed = [Emulation(one, Place.RESULTS) for one in results]
        return listed + [Emulation(one, Place.INPUTS) for one in read]

    def suspected(self, case: Case) -> set[str]:
        """Where one side has NaN or infinity, and the other a number."""
        rows = [(row.point.name, row.isolated) for row in case.view.table]
        return {name for name, error in rows if error is not None and math.isinf(error.largest)}

    def says(self, emulation: Emulation) -> str:
        """What it gives in their place."""
        return f"gives {emulation.change.text}"

    def otherwise(self, case: Case) -> Finding | None:
        """Confirmed by the first layer itself, which was fed with the same numbers."""
        view = case.view
        names = self.suspected(case)
        row = next(row for row in view.table if row.point.name in names)
        alone = cut_out(view, row)
        if _grid(alone.second) is not None:
            return None  # numbers of a short format, which ends earlier: `Precision`
        evidence = (
            f"fed with the same numbers, {row.point.layer} has {_count(alone.second)} on {view.other.label} "
            f"and {_count(alone.first)} on {view.reference.label}"
        )
        label = view.other.label
        try:
            verdict = referee.judge(view, alone)
            evidence += f"; {verdict.text}"
            label = view.reference.label if verdict.wrong == "reference" else label
        except HarnessError as error:
            evidence += f"; the referee cannot run it: {error.what}"
        return Finding(
            self.name, State.CONFIRMED, evidence, 1.0,
            f"{label} does not compute NaN and infinity as the operator is defined", row.point.layer,
            side=label if label != case.scene.other.label else "",
        )  # fmt: skip


def _count(real: Real) -> str:
    return f"{int(np.isnan(real).sum())} NaN and {int(np.isinf(real).sum())} infinities"
