"""The pipeline of one side changes the input on its way to the model: the file is made to return it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core import preprocess
from harness.core.artifact import Quantization
from harness.core.errors import HarnessError
from harness.explain.files.model_file import ModelFile
from harness.explain.hypotheses.pipeline import columns
from harness.explain.hypotheses.pipeline.preprocessing import (
    Case,
    fed_otherwise,
    pairs,
    remedy_of,
    screened,
    single,
)
from harness.explain.inputs.mistakes import Mistake
from harness.explain.layers.errors import compare
from harness.explain.scene import INPUT, Finding, Remedy, Scene, State
from harness.explain.scene.findings import percent_left
from harness.explain.sides.side import Side, as_is

#: An input that differs by less, relative to its size, was rounded: to bfloat16, by 2^-9.
ROUNDED = 2.0**-8
#: A mistake that makes so much of the change is the one that was made.
ALIKE = 0.9
#: For how long it is looked for.
MOST_S = 10.0
Canonical = dict[str, NDArray[Any]]


class Received:
    """One side's model receives another input than it was given."""

    name = "input received"

    def test(self, scene: Scene) -> Finding:
        """Let each file return its inputs, and feed the opposite side with what came back."""
        if scene.files is None:
            return Finding(self.name, State.UNTESTED, scene.why_no_layers())
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
        share = scene.share(*scene.in_place_of(opposite, trace))
        label, case = (
            received.side.label,
            received.mistaken(screened(scene, received.side), min(time.monotonic() + MOST_S, scene.end_s)),
        )
        text = case.text if case is not None else received.otherwise(scene.rows)
        remedy = Remedy("prepare the input as validation.toml says", "", label, was_run=False)
        after = scene.replaced(opposite, changed)
        if case is not None:
            remedy = remedy_of(case, received.side)
        if received.side is scene.other and (fed := fed_otherwise(scene)) is not None:
            after, remedy = scene.replaced(scene.other, fed[0]), fed[1]
        evidence = (
            f"the model on {label} receives an input that differs from the given one by {received.gap:.0%} "
            f"of its size; so fed, both sides agree but for {percent_left(share)} of the difference"
        )
        # That the model gets something else is seen, and not derived from the outputs: it is a cause, however
        # much of the difference others have.
        return Finding(
            self.name, State.CONFIRMED, evidence, max(0.0, share),
            f"{label} gets its input {text}", INPUT, remedy, after,
            side=label if received.side is scene.reference else "",
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
    steps : mapping of input name to Quantization and dtype
        Of inputs that the file takes as integers.
    """

    side: Side
    canonical: Canonical
    gap: float
    steps: Mapping[str, tuple[Quantization, str]]

    def mistaken(self, rows: Sequence[int], end_s: float) -> Case | None:
        """The usual mistake that makes this input, or two at once; None where none does in time."""
        listed = [
            Case(self.side, name, (one,)) for name in self.canonical for one in self._of_table(name, rows)
        ]
        listed += single(self.side, rows)
        cases = sorted(self._compared(listed, rows, end_s), key=lambda case: -case.share)
        if not cases or cases[0].share < ALIKE:
            cases += self._compared(pairs(cases), rows, end_s)
        # Of equal ones the likeliest, and one mistake before two.
        best = max(cases, key=lambda case: (round(case.share, 3), -len(case.made)), default=None)
        return best if best is not None and best.share >= ALIKE else None

    def otherwise(self, rows: Sequence[int]) -> str:
        """What became of the input where it is no usual mistake."""
        for name, received in self.canonical.items():
            given = preprocess.apply(self.side.rows(rows)[name], self.side.preprocess[name])
            if text := _fitted(given.astype(np.float64), received[list(rows)].astype(np.float64)):
                return text
        return f"changed: it differs by {self.gap:.0%} of its size"

    def _of_table(self, name: str, rows: Sequence[int]) -> Iterator[Mistake]:
        given = preprocess.apply(self.side.rows(rows)[name], self.side.preprocess[name])
        received = self.canonical[name][list(rows)]
        yield from columns.of_received(given.astype(np.float64), received.astype(np.float64))

    def _compared(self, cases: Sequence[Case], rows: Sequence[int], end_s: float) -> list[Case]:
        """The same with the part of the change of the input that each explains."""
        right = {
            name: preprocess.apply(array, self.side.preprocess[name])
            for name, array in self.side.rows(rows).items()
        }
        compared = []
        for case in cases:
            if time.monotonic() > end_s:
                break
            inputs = case.inputs(rows)
            if inputs is None:
                continue
            received, step = self.canonical[case.name][list(rows)], self.steps.get(case.name)
            before, left = (
                _gap(
                    received,
                    x if step is None else preprocess.dequantize(preprocess.quantize(x, *step), step[0]),
                )
                for x in (right[case.name], inputs[case.name])
            )
            compared.append(replace(case, share=1 - left / before if before else 0.0))
        return compared


def _gap(given: NDArray[Any], received: NDArray[Any]) -> float:
    if given.shape != received.shape:
        return float("inf")
    return compare(given.astype(np.float64), received.astype(np.float64)).relative


def _received(scene: Scene, side: Side, file: ModelFile) -> _Input:
    rows = [*scene.rows, *scene.held_out]
    names = [name for name, step in side.preprocess.items() if step.value is None]
    plain = scene.second if side is scene.other else scene.first
    given = [name for name in plain.tensors if name not in plain.outputs]
    inputs = [name for name, step in zip(given, side.preprocess.values(), strict=True) if step.value is None]
    content, returned = file.returning(inputs)
    trace = scene.runner.samples(scene.runner.with_file(side, content, file.name), rows)
    canonical, gaps, steps = Canonical(), list[float](), dict[str, tuple[Quantization, str]]()
    for name, input_name in zip(names, inputs, strict=True):
        right = preprocess.apply(side.raw[name][rows], side.preprocess[name])
        real = _as_canonical(trace.real(returned[input_name]), side, name, right.shape)
        canonical[name] = np.zeros((max(rows) + 1, *right.shape[1:]), right.dtype)
        canonical[name][rows] = real
        if (step := trace.steps.get(returned[input_name])) is not None:
            steps[name] = step, trace.tensors[returned[input_name]].dtype.name
            right = preprocess.dequantize(preprocess.quantize(right, *steps[name]), step)
        gaps.append(_gap(right, real))
    return _Input(side, canonical, max(gaps), steps)


def _fitted(given: NDArray[np.float64], received: NDArray[np.float64]) -> str:
    """A factor and an offset, or bounds, that make the received input of the given one; empty if none do."""
    if given.shape != received.shape or not np.ptp(given):
        return ""
    low, high = float(received.min()), float(received.max())
    before = _gap(received, given)
    if _gap(received, np.clip(given, low, high)) <= (1 - ALIKE) * before:
        return f"limited to {low:.4g} … {high:.4g}"
    factor, offset = np.polyfit(given.reshape(-1), received.reshape(-1), 1)
    if _gap(received, factor * given + offset) > (1 - ALIKE) * before:
        return ""
    moved = f" and moved by {offset:.3g}" if abs(offset) > 1e-3 * float(np.std(received)) else ""
    return f"multiplied by {factor:.4g}{moved}"


def _as_canonical(
    calls: NDArray[np.float64], side: Side, name: str, shape: Sequence[int]
) -> NDArray[np.float64]:
    """Calls' tensors of one sample each, shape (n, …), in the layout of the canonical model."""
    axes: Mapping[str, tuple[int, ...]] = side.artifact.input_permutation
    if name in axes:
        calls = np.stack([call.transpose(np.argsort(axes[name])) for call in calls])
    return calls.reshape(tuple(shape)) if calls.size == np.prod(shape) else calls
