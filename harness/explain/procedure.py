"""The search: one hypothesis after the other, the likeliest first, until one explains the difference."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.core import unexpected
from harness.core.errors import HarnessError
from harness.explain.layers import Layer
from harness.explain.scene import EXPLAINED, Finding, Hypothesis, Scene, State, SupportsLikelihood

Notify = Callable[[str], None]
#: Causes that leave more of the difference than this do not decide.
MOST_UNEXPLAINED = 0.5
#: So many causes are looked for at once.
MOST_CAUSES = 3
#: So many runs of both sides should fit the time, on so many samples at least.
RUNS, FEWEST = 30, 8
#: What can be wrong where sample by sample nothing differs.
UNSEEN = ("buffers", "samples at once", "calls before")


#: Draws of the bootstrap over samples, and its seed.
DRAWS, SEED = 1000, 20_261_127


@dataclass(frozen=True, slots=True)
class Score:
    """How a mean score changed, in pairs.

    Parameters
    ----------
    name : str
        ``accuracy``, or what the task has.
    before, after : float
    low, high : float
        95 % interval of the change, by resampling samples.
    """

    name: str
    before: float
    after: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Effect:
    """What is left of the difference without the causes, on samples that did not serve to find them.

    Parameters
    ----------
    left, low, high : float
        Share of the root mean square, with a 95 % interval by resampling samples (percentiles).
    samples : int
    score : Score, optional
        Of the other side; None where there are no labels, or it was not changed.
    """

    left: float
    low: float
    high: float
    samples: int
    score: Score | None = None


@dataclass(slots=True)
class Explanation:
    """What became of it.

    Parameters
    ----------
    scene : Scene
    rounds : list of list of Finding
        In the order in which they were tested: of the whole difference, then of what each cause leaves.
    causes : list of Finding
        The largest first.
    left_out : list of str
        Hypotheses for which there was no time.
    left_share : float
        Of the difference, that no cause explains.
    layers : list of Layer
        Of the whole difference; none where there was no time for them.
    effect : Effect, optional
        Of all causes together; None where they cannot be taken away by a run, or there are no more samples.
    seconds : float
    reproducer : Path, optional
        Folder of a part of the file that shows the difference by itself.
    """

    scene: Scene
    rounds: list[list[Finding]] = field(default_factory=list)
    causes: list[Finding] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    left_share: float = 1.0
    layers: list[Layer] = field(default_factory=list)
    effect: Effect | None = None
    seconds: float = 0.0
    reproducer: Path | None = None

    @property
    def confirmed(self) -> list[Finding]:
        """The causes, if they explain the difference."""
        is_whole = self.left_share <= EXPLAINED or any(one.state is State.CONFIRMED for one in self.causes)
        is_whole |= bool(self.rounds) and any(one.state is State.EXPECTED for one in self.rounds[-1])
        return self.causes if is_whole else []

    @property
    def is_expected(self) -> bool:
        """Whether nothing differs but for rounding, or for what 8 bits make."""
        if self.scene.is_within_rounding:
            return True
        return any(finding.state is State.EXPECTED for findings in self.rounds for finding in findings)

    @property
    def is_decided(self) -> bool:
        """Whether nothing needs a cause, or causes were confirmed that explain most of the difference."""
        return self.is_expected or (bool(self.confirmed) and self.left_share <= MOST_UNEXPLAINED)


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
    explanation, scene.end_s = Explanation(scene), end_s
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
        explanation.effect = _effect(scene, left)
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


def _effect(before: Scene, after: Scene) -> Effect | None:
    """Measure both on the held-out samples, in pairs."""
    if not before.held_out:
        return None
    try:
        scenes = [replace(scene, rows=scene.held_out, refused={}) for scene in (before, after)]
        with_cause, without = (one.squares() for one in scenes)
    except HarnessError as error:
        before.refused["effect on other samples"] = error.what
        return None
    draws = np.random.default_rng(SEED).integers(0, len(with_cause), (DRAWS, len(with_cause)))
    shares = [_share(with_cause[rows], without[rows]) for rows in draws]
    low, high = np.quantile(shares, (0.025, 0.975))
    score = _score(scenes[0], scenes[1], draws)
    return Effect(_share(with_cause, without), float(low), float(high), len(with_cause), score)


def _score(before: Scene, after: Scene, draws: NDArray[np.int64]) -> Score | None:
    """What the answers of the other side are worth, before and after."""
    if before.scorer is None or before.other is after.other:
        return None
    one, two = (before.scorer.scores(scene.second, scene.rows) for scene in (before, after))
    if one is None or two is None:
        return None
    low, high = np.quantile((two - one)[draws].mean(axis=1), (0.025, 0.975))
    return Score(before.scorer.name, float(one.mean()), float(two.mean()), float(low), float(high))


def _share(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    total = float(before.sum())
    return math.sqrt(float(after.sum()) / total) if total else 0.0
