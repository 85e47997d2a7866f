"""The pipeline of one side changes the input on its way to the model: the file is made to return it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core import preprocess
from harness.core.errors import HarnessError
from harness.explain.files import ModelFile
from harness.explain.hypotheses.answers import as_is, mistakes
from harness.explain.layers import error
from harness.explain.scene import Finding, Remedy, Scene, State
from harness.explain.sides import Side

#: An input that differs by less, relative to its size, was rounded: to bfloat16 by 2^-9, to 8 bits by 0.01.
ROUNDED = 0.02
#: Samples in which the mistake is looked for.
SCREENED = 16

Canonical = dict[str, NDArray[Any]]


class Received:
    """One side's model receives another input than it was given."""

    name = "input received"

    def test(self, scene: Scene) -> Finding:
        """Let each file return its inputs, and feed the opposite side with what came back."""
        if scene.files is None:
            return Finding(self.name, State.UNTESTED, "; ".join(scene.refused.values()))
        refused = []
        for place, side, opposite in ((1, scene.other, scene.reference), (0, scene.reference, scene.other)):
            try:
                received = _received(scene, side, scene.files[place])
            except HarnessError as why:
                refused.append(f"{side.label}: {why.what}")
                continue
            if received.gap > ROUNDED:
                return self._confirmed(scene, received, opposite)
        if refused:
            return Finding(self.name, State.UNTESTED, "; ".join(refused))
        return Finding(self.name, State.REFUTED, "both models receive the input that they are given")

    def _confirmed(self, scene: Scene, received: _Input, opposite: Side) -> Finding:
        changed = replace(opposite, raw=received.canonical, preprocess=as_is(opposite))
        trace = scene.runner.samples(changed, scene.rows)
        first, second = (trace, scene.second) if received.side is scene.other else (scene.first, trace)
        share = scene.share(first, second)
        label, text = received.side.label, received.described(scene.rows[:SCREENED])
        evidence = (
            f"the model on {label} receives an input that differs from the given one by {received.gap:.0%} "
            f"of its size; so fed, both sides agree but for {max(0.0, 1 - share):.1%} of the difference"
        )
        # That the model gets something else is seen, and not derived from the outputs: it is a cause, however
        # much of the difference others have.
        return Finding(
            self.name, State.CONFIRMED, evidence, max(0.0, share),
            f"{label} gets its input {text}", "the input",
            Remedy("prepare the input as validation.toml says", "[input.NAME]", label, was_run=False),
            scene.replaced(opposite, changed), side=label if received.side is scene.reference else "",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Input:
    """What a side's model received.

    Parameters
    ----------
    side : Side
    canonical : mapping of input name to ndarray, shape (n, …)
        The samples of the scene are filled in, those for looking and those for measuring the effect.
    gap : float
        Root mean square of the difference to what it was given, over that of the given; the largest input's.
    """

    side: Side
    canonical: Canonical
    gap: float

    def described(self, rows: Sequence[int]) -> str:
        """The usual mistake that makes this input; else how far it is from the given one."""
        nearest, text = ROUNDED, f"changed: it differs by {self.gap:.0%} of its size"
        for mistake, fed in mistakes(self.side, rows):
            gap = max(_gap(fed[name], array[list(rows)]) for name, array in self.canonical.items())
            if gap < nearest:
                nearest, text = gap, mistake
        return text


def _gap(given: NDArray[Any], received: NDArray[Any]) -> float:
    if given.shape != received.shape:
        return float("inf")
    return error(given.astype(np.float64), received.astype(np.float64)).relative


def _received(scene: Scene, side: Side, file: ModelFile) -> _Input:
    rows = [*scene.rows, *scene.held_out]
    names = [name for name, step in side.preprocess.items() if step.value is None]
    plain = scene.second if side is scene.other else scene.first
    given = [name for name in plain.tensors if name not in plain.outputs]
    inputs = [name for name, step in zip(given, side.preprocess.values(), strict=True) if step.value is None]
    content, returned = file.returning(inputs)
    trace = scene.runner.samples(scene.runner.with_file(side, content, file.name), rows)
    canonical, gaps = {}, []
    for name, input_name in zip(names, inputs, strict=True):
        right = preprocess.apply(side.raw[name][rows], side.preprocess[name])
        real = _as_canonical(trace.real(returned[input_name]), side, name, right.shape)
        gaps.append(_gap(right, real))
        canonical[name] = np.zeros((max(rows) + 1, *right.shape[1:]), right.dtype)
        canonical[name][rows] = real
    return _Input(side, canonical, max(gaps))


def _as_canonical(
    calls: NDArray[np.float64], side: Side, name: str, shape: Sequence[int]
) -> NDArray[np.float64]:
    """Calls' tensors of one sample each, shape (n, …), in the layout of the canonical model."""
    axes: Mapping[str, tuple[int, ...]] = side.artifact.input_permutation
    if name in axes:
        calls = np.stack([call.transpose(np.argsort(axes[name])) for call in calls])
    return calls.reshape(tuple(shape)) if calls.size == np.prod(shape) else calls
