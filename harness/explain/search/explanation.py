"""What became of the search for causes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from harness.explain.layers.table import Layer
from harness.explain.scene import Finding, Scene, State
from harness.explain.scene.scene import EXPLAINED

#: Causes that leave more of the difference than this do not decide.
MOST_UNEXPLAINED = 0.5


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
    budget_s : float
        The time that there was.
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
    budget_s: float = 0.0
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
