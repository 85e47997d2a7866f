"""May a runtime be upgraded: the answer for one target and variant. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from harness.core.exit_code import ExitCode
from harness.core.verdict import State, worst
from harness.stats import paired
from harness.stats.intervals import Interval
from harness.upgrade.targets import NEW, OLD


class Decision(StrEnum):
    """What an upgrade means for one target and variant."""

    SAME = "same"
    WITHIN_MARGIN = "same within margin"
    SLOWER = "slower"
    WORSE = "worse"
    BLOCKED = "blocked"
    NOT_COMPARED = "not compared"
    UNDECIDED = "undecided"


#: What each decision means for the command; the worst state decides how it ends.
STATES = {
    Decision.BLOCKED: State.FAIL,
    Decision.WORSE: State.FAIL,
    Decision.SLOWER: State.FAIL,
    Decision.NOT_COMPARED: State.NOT_RUN,
    Decision.UNDECIDED: State.INCONCLUSIVE,
    Decision.WITHIN_MARGIN: State.PASS,
    Decision.SAME: State.PASS,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a version does not run a model.

    Parameters
    ----------
    stage : str
        ``install``, ``import`` or ``run``.
    reason : str
    """

    stage: str
    reason: str


@dataclass(frozen=True, slots=True)
class Findings:
    """The new version compared with the old one on the same samples.

    Parameters
    ----------
    failures : mapping of side to Failure
    incomparable : str
        Why the outputs cannot be compared, though both sides ran; else empty.
    bit_exact : float
        Share of samples whose outputs are equal to the last bit; NaN where they were not compared.
    repeats : float
        The same of the old version against itself in another process; NaN where that was not measured.
    samples : int
    flips : int, optional
        Samples whose class is another; None where the model gives none.
    loss_pt : Interval, optional
        Accuracy lost, in points. Without labels, the share of answers that changed, which bounds it; of a
        regression, the increase of the absolute error, in percent.
    harmful, beneficial : int, optional
        Of the flips, with labels.
    latency : State, optional
        Of the comparison side by side; None where the clock says nothing.
    latency_why : str
        Of INCONCLUSIVE and INVALID.
    """

    failures: Mapping[str, Failure] = field(default_factory=dict)
    incomparable: str = ""
    bit_exact: float = math.nan
    repeats: float = math.nan
    samples: int = 0
    flips: int | None = None
    loss_pt: Interval | None = None
    harmful: int | None = None
    beneficial: int | None = None
    latency: State | None = None
    latency_why: str = ""


def decide(findings: Findings, margin_pt: float) -> tuple[Decision, str]:
    """Decide, and give the reason where it is not obvious.

    Parameters
    ----------
    findings : Findings
    margin_pt : float
        Largest loss that is allowed, above 0. The whole interval has to lie within it; outputs that are equal
        to the last bit lose nothing.
    """
    if refused := _refused(findings):
        return refused
    equal = findings.bit_exact == 1.0
    lost = State.PASS if equal else _lost(findings.loss_pt, margin_pt)
    if lost is State.FAIL:
        assert findings.loss_pt is not None
        return Decision.WORSE, f"{_loss_text(findings.loss_pt)} pt lost, {margin_pt:g} pt are allowed"
    if findings.latency is State.FAIL:
        return Decision.SLOWER, ""
    if findings.latency is State.INVALID:
        return Decision.NOT_COMPARED, findings.latency_why
    undecided = []
    if lost is State.INCONCLUSIVE:
        undecided.append(_more_samples(findings, margin_pt))
    if findings.latency is State.INCONCLUSIVE:
        undecided.append(findings.latency_why)
    if undecided:
        return Decision.UNDECIDED, "; ".join(undecided)
    return (Decision.SAME if equal else Decision.WITHIN_MARGIN), ""


def _refused(findings: Findings) -> tuple[Decision, str] | None:
    """The decision where there is nothing to compare."""
    if failure := findings.failures.get(NEW):
        return Decision.BLOCKED, failure.reason
    if failure := findings.failures.get(OLD):
        return Decision.NOT_COMPARED, f"the old version does not run: {failure.reason}"
    return (Decision.NOT_COMPARED, findings.incomparable) if findings.incomparable else None


def overall(decisions: Iterable[Decision]) -> tuple[State, ExitCode]:
    """The command's state and exit code; NOT_RUN where nothing was compared."""
    state = worst(STATES[decision] for decision in decisions)
    if state is None:
        state = State.NOT_RUN
    return state, state.exit_code


def _lost(loss_pt: Interval | None, margin_pt: float) -> State:
    if loss_pt is None:
        return State.INCONCLUSIVE
    if loss_pt.low > margin_pt:
        return State.FAIL
    return State.PASS if loss_pt.high <= margin_pt else State.INCONCLUSIVE


def _more_samples(findings: Findings, margin_pt: float) -> str:
    """What is missing to decide on the loss."""
    if findings.loss_pt is None:
        return "the outputs differ, and no metric shows how much that matters"
    text = f"{_loss_text(findings.loss_pt)} pt lost, {margin_pt:g} pt are allowed"
    if findings.flips is None:
        return text
    # Without labels every flip may be a harmful one.
    harmful = findings.flips if findings.harmful is None else findings.harmful
    needed = paired.samples_to_decide(findings.beneficial or 0, harmful, findings.samples, margin_pt / 100)
    more = "" if needed is None else f", about {needed} would decide"
    return f"{text}: {findings.samples} samples do not decide{more}"


def _loss_text(loss_pt: Interval) -> str:
    return f"{loss_pt.value:.2f} [{loss_pt.low:.2f}, {loss_pt.high:.2f}]"
