"""What is behind the model on one side changes its outputs: a file is run that returns what it is fed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import HarnessError
from harness.explain.files.edits import FED
from harness.explain.files.model_file import ModelFile
from harness.explain.layers.errors import compare
from harness.explain.operators.description import Results, describe
from harness.explain.scene import OUTPUT, Finding, Scene, State
from harness.explain.scene.findings import percent_left
from harness.explain.scene.scene import PARTLY
from harness.explain.sides.side import Side
from harness.explain.sides.steps import as_codes
from harness.explain.sides.trace import Trace
from harness.stats.accuracy import distance

#: Outputs that differ by less, relative to their size, were rounded: to bfloat16, by 2^-9, or finer.
ROUNDED = 2.0**-8


class Returned:
    """The model's outputs are changed on their way back."""

    name = "outputs returned"

    def test(self, scene: Scene) -> Finding:
        """Feed each side the opposite's outputs through a file without any layer."""
        if scene.files is None:
            return Finding(self.name, State.UNTESTED, scene.why_no_layers())
        if scene.other.columns:
            return Finding(self.name, State.UNTESTED, "the outputs are put in order already")
        refused = []
        for place, side, opposite in ((1, scene.other, scene.first), (0, scene.reference, scene.second)):
            try:
                changed = self._tested(scene, side, scene.files[place], opposite)
            except HarnessError as why:
                refused.append(f"{side.label}: {why.what}")
                continue
            if changed is not None:
                return changed
        if refused:
            return Finding(self.name, State.UNTESTED, "; ".join(refused))
        return Finding(self.name, State.REFUTED, "both sides return what a file without layers is fed")

    def _tested(self, scene: Scene, side: Side, file: ModelFile, opposite: Trace) -> Finding | None:
        """The finding where a side changes the outputs of the opposite one; None where they come back."""
        is_other = side is scene.other
        plain = scene.second if is_other else scene.first
        fed = {}
        for name, other in zip(plain.outputs, opposite.outputs, strict=True):
            like, real = plain.tensors[name], opposite.real(other)
            if real.shape == like.shape and like.dtype.kind in "fiu":
                fed[name] = as_codes(real, plain.steps.get(name), like.dtype)
        if not fed:
            return None
        changed = scene.runner.with_file(side, file.echoing(fed), file.name)
        back = scene.runner.tensors(changed, {name + FED: array for name, array in fed.items()})
        for name, array in fed.items():
            given, seen = array.astype(np.float64), back.tensors[name].astype(np.float64)
            if given.shape == seen.shape:
                seen = np.where(np.isfinite(given), seen, given)  # `NonFinite` names what replaces NaN
                if compare(given, seen).relative <= ROUNDED:
                    continue
            text = (f"{name}: " if len(fed) > 1 else "") + _described(given, seen)
            back = replace(plain, tensors={**plain.tensors, **back.tensors})
            share = scene.share(*scene.in_place_of(scene.reference if is_other else scene.other, back))
            evidence = (
                f"the outputs of the opposite side, fed through a file without layers: {text}; then "
                f"{percent_left(share)} of the difference is left"
            )
            if share < 1 - PARTLY:  # it changes what it is fed, too
                return Finding(self.name, State.REFUTED, evidence, max(0.0, share))
            return Finding(
                self.name, State.CONFIRMED, evidence, max(0.0, share),
                f"{side.label} changes what the model returns: {text}", OUTPUT,
                side="" if is_other else side.label,
            )  # fmt: skip
        return None


def _described(given: NDArray[np.float64], seen: NDArray[np.float64]) -> str:
    if given.shape != seen.shape:
        return f"they have the shape {list(seen.shape[1:])}, and not {list(given.shape[1:])}"
    gaps = np.asarray(distance(given, seen))
    # What is described is the larger part of the difference: a rounding beside it is not.
    grain = 0.05 * float(gaps[np.isfinite(gaps)].max(initial=0.0))
    rows = (gaps > grain).reshape(len(given), -1).any(axis=1)
    description = describe(Results(given[rows], seen[rows], given.ndim - 1, grain))
    text = (
        f"they differ by {compare(given, seen).relative:.0%} of their size"
        if description is None
        else description.text
    )
    return text if rows.all() else f"{text}, in {rows.sum()} of {rows.size} samples"
