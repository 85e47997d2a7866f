"""What a gate asks, and what the answer can be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any


class State(StrEnum):
    """Answer of a gate. There is no truth value: only ``PASS`` is a pass."""

    PASS = "PASS"  # noqa: S105 - not a password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    INVALID = "INVALID"
    NOT_RUN = "NOT_RUN"
    NOT_APPLICABLE = "NOT_APPLICABLE"

    def __bool__(self) -> bool:
        raise TypeError("a verdict has six states and no truth value; compare it with one of them")


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name fits one of the shell patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@dataclass(frozen=True, slots=True)
class Gate:
    """One demand of a release.

    Parameters
    ----------
    name : str
    suite, metric : str
    variants, cases, targets : tuple of str
        Shell patterns; a row must match one of each.
    severities : tuple of int
        Empty for all.
    setting : str
        ``deploy`` or ``parity``.
    reference : str
        Pattern for the reference of a relative metric.
    maximum, minimum : float, optional
        In the metric's unit of the table; of a ratio, without a unit.
    maximum_unit, minimum_unit : str
        The table's unit that the limit was given in; empty where it was a bare number.
    of : str
        What is limited: the ``value``, or, against a baseline, the ``ratio`` new / base or the ``change``
        new - base.
    baseline : str
        Name under which the accepted run is kept, where ``of`` is not ``value``.
    design : str
        ``side-by-side``: the accepted artifact and this one are timed interleaved; empty: rows are judged.
    combine : str
        ``all`` rows must hold; ``worst`` judges the worst one; ``mean`` the mean over the rows, with an
        interval clustered by sample.
    severity : str
        ``block`` or ``warn``.
    on_inconclusive : str
        ``block`` or ``warn``.
    required : bool
        A gate that cannot apply is then NOT_RUN.
    overrides : tuple of (patterns, fields)
        What is otherwise on targets that fit one of the patterns; the first that fits counts.
    """

    name: str
    suite: str
    metric: str
    variants: tuple[str, ...] = ("*",)
    cases: tuple[str, ...] = ("*",)
    targets: tuple[str, ...] = ("*",)
    severities: tuple[int, ...] = ()
    setting: str = "deploy"
    reference: str = "*"
    maximum: float | None = None
    minimum: float | None = None
    maximum_unit: str = ""
    minimum_unit: str = ""
    of: str = "value"
    baseline: str = ""
    design: str = ""
    combine: str = "all"
    severity: str = "block"
    on_inconclusive: str = "block"
    required: bool = False
    overrides: tuple[tuple[tuple[str, ...], Mapping[str, Any]], ...] = ()

    def speaks_of(self, target: str, variant: str) -> bool:
        """Whether it is to be judged for that variant on that target."""
        return matches(target, self.targets) and matches(variant, self.variants)

    def covers(self, suite: str, setting: str, case: str, severity: int) -> bool:
        """Whether that case is one of those that it asks about."""
        return (
            (self.suite, self.setting) == (suite, setting)
            and matches(case, self.cases)
            and (not self.severities or severity in self.severities)
        )

    def looks_at(self, row: Mapping[Any, Any]) -> bool:
        """Whether it is judged by a row of the table, given by its columns."""
        return (
            self.speaks_of(row["target"], row["variant"])
            and self.covers(row["suite"], row["setting"], row["case"], row["severity"])
            and fnmatchcase(row["metric"], self.metric)
            and fnmatchcase(row["reference"], self.reference)
        )

    def on(self, target: str) -> Gate:
        """The gate as it holds on one target."""
        fields = next((fields for patterns, fields in self.overrides if matches(target, patterns)), {})
        return replace(self, **fields, overrides=())


@dataclass(frozen=True, slots=True)
class Waiver:
    """Somebody's word that a gate need not hold for a while.

    Parameters
    ----------
    gate : str
        Name of the gate.
    targets, variants : tuple of str
        Shell patterns.
    reason, owner : str
    expires : date
        The last day on which it counts.
    """

    gate: str
    targets: tuple[str, ...]
    variants: tuple[str, ...]
    reason: str
    owner: str
    expires: date

    def covers(self, gate: str, target: str, variant: str) -> bool:
        """Whether it speaks of that gate there."""
        return gate == self.gate and matches(target, self.targets) and matches(variant, self.variants)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A gate's answer for one target, backend and variant.

    ``value``, ``ci_low``, ``ci_high``, ``limit`` are in ``unit``; NaN where there is nothing to say.
    ``waived`` says who takes the answer as it is, why and until when; empty where nobody does.
    """

    gate: str
    target: str
    backend: str
    variant: str
    suite: str
    metric: str
    state: State
    severity: str
    on_inconclusive: str
    sentence: str
    value: float
    ci_low: float
    ci_high: float
    limit: float
    unit: str
    n: int
    waived: str = ""

    @property
    def blocks(self) -> bool:
        """Whether this answer keeps a release from passing."""
        if self.waived or self.severity != "block" or self.state in (State.PASS, State.NOT_APPLICABLE):
            return False
        return self.state is not State.INCONCLUSIVE or self.on_inconclusive == "block"


def overall(verdicts: Iterable[Verdict], *, unmeasured: bool) -> tuple[State, int]:
    """Join the answers into one state and the exit code (2, 1, 3, 4 in that order; 2 never gets here).

    Parameters
    ----------
    verdicts : iterable of Verdict
    unmeasured : bool
        There is an ERROR row that no gate covers, or a target of which nothing was measured.
    """
    verdicts = tuple(verdicts)
    blocking = {verdict.state for verdict in verdicts if verdict.blocks}
    if State.FAIL in blocking:
        return State.FAIL, 1
    if State.INVALID in blocking:
        return State.INVALID, 3
    if State.NOT_RUN in blocking or unmeasured:
        return State.NOT_RUN, 3
    if State.INCONCLUSIVE in blocking:
        return State.INCONCLUSIVE, 4
    # A target for which every gate is NOT_APPLICABLE has not passed; nor has a run without a gate.
    by_target: dict[str, set[State]] = {}
    for verdict in verdicts:
        by_target.setdefault(verdict.target, set()).add(verdict.state)
    if not by_target or any(states == {State.NOT_APPLICABLE} for states in by_target.values()):
        return State.NOT_RUN, 3
    return State.PASS, 0
