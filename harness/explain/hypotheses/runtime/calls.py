"""Causes that lie in how the model is called: threads, samples at once, the calls before, memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import HarnessError
from harness.device.trace import ADDRESS, ALIGNMENT_BYTE, FRESH, HELD, REUSED, STRIDED
from harness.explain.layers.errors import gaps
from harness.explain.scene import Finding, Remedy, Scene, State
from harness.explain.scene.findings import percent_left
from harness.explain.scene.scene import EXPLAINED
from harness.explain.sides.runner import Trial
from harness.explain.sides.side import Side
from harness.explain.sides.trace import Trace

Real = NDArray[np.float64]
#: Samples that are fed at once to see whether their number matters.
AT_ONCE = (2, 7, 16)
#: Numbers of threads that are tried, at most.
MOST_THREADS = 16
#: One sample in so many is called in other manners, and two at least: an emulated target has few.
ONE_IN, FEWEST = 8, 2
#: How they are called, and what it means where that gives other numbers.
TEXTS = {
    HELD: "returns views of memory that its next call overwrites",
    REUSED: "does not read an input again that lies in the memory of the one before",
    STRIDED: "reads an input that is not contiguous as if it were",
}
ALIGNED, OFFSETS_BYTE = f"{ADDRESS} 0", (4, 8, 16, 32)
#: A difference from the same calls, relative to the size of an output, that no order of additions makes.
OTHER = 1e-3


class Threads:
    """The numbers depend on the number of threads."""

    name = "threads"

    def test(self, scene: Scene) -> Finding:
        """Run the other side with one thread, or with two; then look for the number at which it begins."""
        threads = 1 if scene.other.options.threads != 1 else 2
        changed = replace(scene.other, options=replace(scene.other.options, threads=threads))
        try:
            trace = scene.runner.samples(changed, scene.rows)
        except HarnessError as error:
            return Finding(self.name, State.UNTESTED, error.what)
        share = scene.share(scene.first, trace)
        exact = scene.distance(scene.first, trace) == 0
        state = scene.judged(share, is_exact=exact)
        evidence = f"{scene.other.label} with threads = {threads}: {percent_left(share)} is left"
        if state is State.REFUTED:
            return Finding(self.name, state, evidence, max(0.0, share))
        asked = scene.other.options.threads or 0
        cause = f"{scene.other.label} is wrong with {asked or 'as many threads as the runtime chooses'}"
        cause += " threads" if asked else ""
        if threads == 1 and (first := _first_wrong(scene, asked)):
            evidence += f"; the difference begins at {first}"
            cause += f", and from {first} on" if first != asked else ""
            threads = first - 1
            changed = replace(scene.other, options=replace(scene.other.options, threads=threads))
        return Finding(
            self.name, state, evidence, share, cause, scene.first_layer,
            Remedy(f"threads = {threads}", f"[deploy] threads = {threads}", scene.other.label),
            scene.replaced(scene.other, changed),
        )  # fmt: skip


def _first_wrong(scene: Scene, asked: int) -> int:
    """The smallest number of threads above 1 with the difference; 0 where none has it."""
    numbers = range(2, min(asked or MOST_THREADS, MOST_THREADS) + 1)
    options = [replace(scene.other.options, threads=number) for number in numbers]
    for number, trace in zip(numbers, scene.runner.options(scene.other, scene.rows, options), strict=True):
        if isinstance(trace, Trace) and scene.distance(scene.first, trace) > EXPLAINED * scene.gap:
            return number
    return 0


class Batches:
    """The numbers of a sample depend on how many are fed at once."""

    name = "samples at once"

    def test(self, scene: Scene) -> Finding:
        """Run the other side with several samples at once, and compare it with itself."""
        alone = scene.answers(scene.second)
        tried = []
        for size in AT_ONCE:
            count = len(scene.rows) // size * size
            if not count:
                continue
            try:
                trace = scene.runner.samples(scene.other, scene.rows[:count], at_once=size)
            except HarnessError as error:
                return Finding(self.name, State.UNTESTED, f"{size} samples at once: {error.what}")
            together = [trace.answer(name).reshape(count, -1) for name in trace.outputs]
            if any(y.size != x[:count].size for x, y in zip(alone, together, strict=True)):
                return Finding(self.name, State.UNTESTED, "the file takes one sample a call")
            tried.append(size)
            if _differing([y[:count] for y in alone], together):
                if not scene.is_within_rounding:
                    return Finding(
                        self.name, State.REFUTED,
                        f"{size} at once give other numbers; the difference is one of single samples",
                    )  # fmt: skip
                return Finding(
                    self.name, State.CONFIRMED,
                    f"with {size} samples at once {scene.other.label} gives other numbers", 1.0,
                    f"{scene.other.label} computes samples otherwise when {size} are fed at once",
                    "",
                    Remedy("one sample a call", "feed one sample a call", scene.other.label, was_run=False),
                )  # fmt: skip
        return Finding(
            self.name, State.REFUTED, f"{', '.join(map(str, tried))} at once give the numbers of one"
        )


def _differing(first: list[Real], second: list[Real]) -> int:
    """Number of samples of which an output differs by more than the order of additions explains."""
    differing = np.zeros(len(first[0]), bool)
    for one, two in zip(first, second, strict=True):
        finite = one[np.isfinite(one)]
        size = float(np.sqrt(np.mean(np.square(finite)))) if finite.any() else 1.0
        differing |= (gaps(one, two) > OTHER * size).any(axis=1)
    return int(differing.sum())


class Order:
    """The numbers of a sample depend on the calls before, or on chance."""

    name = "calls before"

    def test(self, scene: Scene) -> Finding:
        """Run the side that is suspected again, and in reverse order, and compare it with itself."""
        finding = self._of(scene, scene.other, scene.answers(scene.second))
        if finding is None and scene.gap and scene.against_host.other is scene.reference:
            finding = self._of(scene, scene.reference, scene.answers(scene.first))
            finding = None if finding is None else replace(finding, side=scene.reference.label)
        if finding is not None:
            return finding
        return Finding(self.name, State.REFUTED, "once more, and in reverse order: the same numbers")

    def _of(self, scene: Scene, side: Side, answers: list[Real]) -> Finding | None:
        again = _differing(answers, scene.answers(scene.runner.samples(side, scene.rows)))
        if again:
            return Finding(
                self.name, State.CONFIRMED, f"the same calls once more: {again} of {len(scene.rows)} differ",
                1.0, f"{side.label} is not deterministic",
            )  # fmt: skip
        reverse = scene.answers(scene.runner.samples(side, list(scene.rows)[::-1]))
        reversed_ = _differing(answers, [y[::-1] for y in reverse])
        if not reversed_:
            return None
        evidence = f"once more: the same numbers; in reverse order: {reversed_} of {len(scene.rows)} differ"
        finding = Finding(
            self.name, State.CONFIRMED, evidence, 1.0,
            f"{side.label} depends on the calls before: its state is not reset",
        )  # fmt: skip
        rows = _some(scene)
        (fresh,) = scene.runner.many(side, [Trial(side.rows(rows), side.options, manner=FRESH)])
        if not isinstance(fresh, Trace) or side is not scene.other:
            return finding
        share = scene.share_of_part(side, fresh, slice(0, len(rows)))
        evidence += f"; each in a session of its own: {percent_left(share)} of the difference is left"
        remedy = Remedy("a session of its own for each sample", "reset the state before each", side.label)
        is_right = share >= 1 - EXPLAINED
        return replace(finding, evidence=evidence, remedy=remedy if is_right else None)


class Buffers:
    """The numbers depend on where inputs lie in memory, or an output is overwritten by the next call."""

    name = "buffers"

    def test(self, scene: Scene) -> Finding:
        """Call the other side with inputs and outputs in other memory, and compare it with itself."""
        side, rows = scene.other, _some(scene)
        manners = [ALIGNED, *TEXTS, *(f"{ADDRESS} {offset}" for offset in OFFSETS_BYTE), ALIGNED]
        data = side.rows(rows)
        traces = scene.runner.many(side, [Trial(data, side.options, manner=one) for one in manners])
        aligned, again = traces[0], traces[-1]
        if not isinstance(aligned, Trace) or not isinstance(again, Trace):
            return Finding(self.name, State.UNTESTED, "; ".join(_refusals(traces)))
        right = _reals(aligned, len(rows))
        if _differing(right, _reals(again, len(rows))):
            return Finding(self.name, State.UNTESTED, "the same calls do not give the same numbers")
        wrong = {
            manner: count
            for manner, trace in zip(manners, traces, strict=True)
            if isinstance(trace, Trace) and (count := _differing(right, _reals(trace, len(rows))))
        }
        if not wrong:
            refused = "".join(f"; {why}" for why in _refusals(traces))
            return Finding(
                self.name, State.REFUTED, f"in other memory, and read later: the same numbers{refused}"
            )
        evidence = ", ".join(f"{manner}: {count} of {len(rows)} differ" for manner, count in wrong.items())
        share = 1.0
        if not scene.is_within_rounding:
            share = scene.share_of_part(side, aligned, slice(0, len(rows)))
            evidence += f"; at multiples of {ALIGNMENT_BYTE}, {percent_left(share)} is left"
            if scene.judged(share, is_exact=False) is State.REFUTED:
                return Finding(self.name, State.REFUTED, evidence, max(0.0, share))
        text = next((text for manner, text in TEXTS.items() if manner in wrong), "")
        if not text:
            needed_byte = 2 * max(offset for offset in OFFSETS_BYTE if f"{ADDRESS} {offset}" in wrong)
            text = f"is wrong where an input does not lie at a multiple of {needed_byte} bytes"
        return Finding(self.name, State.CONFIRMED, evidence, share, f"{side.label} {text}")


def _refusals(traces: Sequence[Trace | HarnessError]) -> list[str]:
    return list(dict.fromkeys(one.what for one in traces if isinstance(one, HarnessError)))


def _some(scene: Scene) -> Sequence[int]:
    return scene.rows[: max(FEWEST, len(scene.rows) // ONE_IN)]


def _reals(trace: Trace, count: int) -> list[Real]:
    return [trace.answer(name).reshape(count, -1) for name in trace.outputs]
