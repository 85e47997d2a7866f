"""The search: one hypothesis after the other, the likeliest first, until one explains the difference."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from harness.core import unexpected
from harness.core.errors import HarnessError
from harness.explain.layers.table import Layer
from harness.explain.scene import Finding, Hypothesis, Scene, State, SupportsLikelihood
from harness.explain.search.effect import measure
from harness.explain.search.explanation import Explanation

Notify = Callable[[str], None]
#: So many causes are looked for at once.
MOST_CAUSES = 3
#: So many runs of both sides should fit the time, on so many samples at least.
RUNS, FEWEST = 30, 8
#: What can be wrong where sample by sample nothing differs.
UNSEEN = ("buffers", "samples at once", "calls before")


def explain(
    scene: Scene, hypotheses: Sequence[Hypothesis], budget_s: float, notify: Notify = lambda text: None
) -> Explanation:
    """Test hypotheses until one explains the difference, or the time is used up.

    What a cause leaves, if it is more than rounding, is explained in turn: several causes can act at once.

    Raises
    ------
    HarnessError
        A side cannot be run.
    """
    end_s = (began_s := time.monotonic()) + budget_s
    explanation, scene.end_s = Explanation(scene, budget_s=budget_s), end_s
    notify(f"running {scene.reference.label} and {scene.other.label} on {len(scene.rows)} samples")
    if scene.gap:
        _shorten(scene, time.monotonic() - began_s, budget_s, notify)
    else:
        hypotheses = [one for one in hypotheses if one.name in UNSEEN]
    left, untested, unexplained = scene, _likely_first(scene, hypotheses), 1.0
    for _ in range(MOST_CAUSES):
        findings = _round(left, untested, end_s, explanation, notify)
        best = max(
            (one for one in findings if one.state in (State.CONFIRMED, State.PARTLY)),
            key=lambda one: (one.state is State.CONFIRMED, one.share), default=None,
        )  # fmt: skip
        explanation.causes += [best] if best is not None else []
        if best is None:
            break
        if best.after is None:
            unexplained *= 1 - min(1.0, best.share)
            break
        left = replace(left, reference=best.after[0], other=best.after[1], refused={})
        left.bounds = _bounds_of(scene, left)
        untested = [
            one for one in hypotheses if one.name not in {done.hypothesis for done in explanation.causes}
        ]
        if left.is_within_rounding or left.gap <= best.may_leave * scene.gap:
            break
    explanation.left_share = unexplained * left.gap / scene.gap if scene.gap else 0.0
    is_due = left is not scene and explanation.confirmed and scene.held_out
    if is_due and time.monotonic() > end_s:
        scene.refused["effect on other samples"] = "not measured: the time is used up"
    elif is_due:
        notify(f"measuring the effect on {len(scene.held_out)} other samples")
        explanation.effect = measure(scene, left)
    explanation.layers = _layers(scene, explanation)
    explanation.seconds = time.monotonic() - began_s
    return explanation


def _shorten(scene: Scene, seconds: float, budget_s: float, notify: Notify) -> None:
    """Go on with fewer samples where a run of both sides takes more than its part of the time."""
    count = max(FEWEST, int(len(scene.rows) * budget_s / (RUNS * max(seconds, 1e-9))))
    if count < len(scene.rows):
        scene.cut(count)
        notify(f"a run takes {seconds:.0f} s: going on with {count} samples")


def _likely_first(scene: Scene, hypotheses: Sequence[Hypothesis]) -> list[Hypothesis]:
    """Before the others those for which the facts of the case speak, such as the flags of a CPU."""
    likely = [one for one in hypotheses if isinstance(one, SupportsLikelihood) and one.is_likely(scene)]
    return [*likely, *(one for one in hypotheses if one not in likely)]


def _layers(scene: Scene, explanation: Explanation) -> list[Layer]:
    """The table, which is not begun after the end of the time; nothing of it can be run later."""
    if not scene.gap or not any(explanation.rounds):
        return []
    if not scene.has_table and time.monotonic() > scene.end_s:
        scene.refused["layers"] = "not compared: the time is used up"
        return []
    return scene.table


def _bounds_of(scene: Scene, left: Scene) -> Mapping[str, float]:
    """Rounding grows with the answers: those of an input 255 times as large are rounded more."""
    before, after = (
        [float(np.sqrt(np.mean(np.square(np.nan_to_num(y))))) for y in one.answers(one.first)]
        for one in (scene, left)
    )
    growth = max((b / a for a, b in zip(before, after, strict=True) if a), default=1.0)
    return {name: bound * max(1.0, growth) for name, bound in scene.bounds.items()}


def _round(
    scene: Scene, hypotheses: Sequence[Hypothesis], end_s: float, explanation: Explanation, notify: Notify
) -> list[Finding]:
    """Test one hypothesis after the other until one is confirmed."""
    findings: list[Finding] = []
    for place, hypothesis in enumerate(hypotheses):
        if time.monotonic() > end_s:
            explanation.left_out += [one.name for one in hypotheses[place:]]
            break
        notify(f"testing: {hypothesis.name}")
        try:
            findings.append(hypothesis.test(scene))
        except HarnessError as error:
            findings.append(Finding(hypothesis.name, State.UNTESTED, error.what))
        except Exception as error:  # noqa: BLE001 - a plug-in's fault must not hide what others see
            findings.append(Finding(hypothesis.name, State.UNTESTED, unexpected.one_line(error)))
        if findings[-1].state is State.CONFIRMED:
            break
        # What is tested by an option first, and by emulation later, is one hypothesis.
        findings = [*(one for one in findings[:-1] if one.hypothesis != hypothesis.name), findings[-1]]
    explanation.rounds.append(findings)
    return findings
