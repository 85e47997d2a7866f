"""What a gate demands, which rows it looks at, what the answer can be, and how answers are joined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from harness.core.exit_code import ExitCode
from harness.core.job import JobKey
from harness.core.measurement import SHIFTS, WHOLE_CASE, Row


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

    @property
    def rank(self) -> int:
        """0 for the worst state; the order of ``State`` in every list, table and summary."""
        return _WORST_FIRST.index(self)

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of a command that ends in this state."""
        return _EXIT_CODES[self]


_WORST_FIRST = (
    State.FAIL, State.INVALID, State.NOT_RUN, State.INCONCLUSIVE, State.NOT_APPLICABLE, State.PASS,
)  # fmt: skip
_EXIT_CODES = {
    State.PASS: ExitCode.PASSED,
    State.FAIL: ExitCode.FAILED,
    State.INVALID: ExitCode.NOT_MEASURED,
    State.NOT_RUN: ExitCode.NOT_MEASURED,
    State.NOT_APPLICABLE: ExitCode.NOT_MEASURED,
    State.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
}


def worst(states: Iterable[State]) -> State | None:
    """The worst of several answers; None of none."""
    return min(states, key=lambda state: state.rank, default=None)


def summary(states: Iterable[State]) -> State | None:
    """The state of a target or variant: the worst of what applies to it; None where no gate judges it."""
    states = tuple(states)
    applying = [state for state in states if state is not State.NOT_APPLICABLE]
    return worst(applying if applying else states)


#: Columns of the table that decide whether a gate looks at a row.
_LOOKED_AT = ("target", "setting", "variant", "suite", "case", "severity", "metric", "reference")


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
        Fields with another value on targets that match one of the patterns; the first match counts.
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

    def judges(self, target: str, variant: str) -> bool:
        """Whether the gate is judged for that variant on that target."""
        return matches(target, self.targets) and matches(variant, self.variants)

    def looks_at(self, row: Row) -> bool:
        """Whether the gate is judged by that row."""
        key, measurement = row.key, row.measurement
        return self._looks_at(
            key.target, key.setting, key.variant, key.suite,
            row.case, row.severity, measurement.metric, measurement.reference,
        )  # fmt: skip

    def looks_at_record(self, record: Mapping[Any, Any]) -> bool:
        """Whether the gate is judged by that row of the table, given by its columns."""
        return self._looks_at(*(record[column] for column in _LOOKED_AT))

    def looks_at_job(self, key: JobKey) -> bool:
        """Whether the gate is judged by rows of that job: by its case, or one named after it.

        A job ``offline`` makes rows of the cases ``offline_b8``, a job ``clean`` some of ``clean/3``.
        """
        return (
            self.judges(key.target, key.variant)
            and (key.suite, key.setting) == (self.suite, self.setting)
            and (
                matches(key.case, self.cases)
                or self._names_part_of(key.case)
                or (key.severity > 0 and SHIFTS in self.cases)
            )
            and (not self.severities or key.severity in self.severities)
        )

    def _names_part_of(self, case: str) -> bool:
        return any(pattern.startswith((f"{case}_", f"{case}/")) for pattern in self.cases)

    def _looks_at(
        self, target: str, setting: str, variant: str, suite: str,
        case: str, severity: int, metric: str, reference: str,
    ) -> bool:  # fmt: skip
        # A row that stands for a whole case stands for every metric of it, one that stands for a whole suite
        # also for every case.
        whole_case = metric == WHOLE_CASE
        whole_suite = whole_case and case == WHOLE_CASE
        return (
            self.suite == suite
            and (whole_case or fnmatchcase(metric, self.metric))
            and self.judges(target, variant)
            and (
                whole_suite
                or (
                    self.setting == setting
                    and (not self.severities or severity in self.severities)
                    and (matches(case, self.cases) or (whole_case and self._names_part_of(case)))
                )
            )
            and (whole_case or fnmatchcase(reference, self.reference))
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


#: Kinds of verdicts.
GATE, CHECK = "gate", "check"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A gate's answer for one target, backend and variant.

    ``value``, ``ci_low``, ``ci_high``, ``limit`` are in ``unit``; NaN where there is nothing to say.
    ``kind`` is ``gate`` for a limit of the user's, ``check`` for a built-in one, whose name ``gate`` has.
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
    kind: str = GATE

    @property
    def blocks(self) -> bool:
        """Whether this answer keeps a release from passing."""
        return blocks(self.state, self.severity, self.on_inconclusive, self.waived)

    @property
    def counts(self) -> bool:
        """Whether it says something of the variant; an undecided check that does not block says nothing."""
        return self.kind == GATE or self.state is not State.INCONCLUSIVE or self.blocks


def blocks(state: State, severity: str, on_inconclusive: str, waived: str) -> bool:
    """Whether a gate's answer keeps a release from passing.

    Parameters
    ----------
    state : State
    severity, on_inconclusive : str
        ``block`` or ``warn``.
    waived : str
        Who accepted the answer, why and until when; empty where nobody did.
    """
    if waived or severity != "block" or state in (State.PASS, State.NOT_APPLICABLE):
        return False
    return state is not State.INCONCLUSIVE or on_inconclusive == "block"


def overall(verdicts: Iterable[Verdict], *, unmeasured: bool) -> tuple[State, ExitCode]:
    """Join the answers into one state and the exit code.

    Parameters
    ----------
    verdicts : iterable of Verdict
    unmeasured : bool
        There is an ERROR row that no gate looks at, or a job that was not measured.
    """
    verdicts = tuple(verdicts)
    states = {verdict.state for verdict in verdicts if verdict.blocks}
    if unmeasured:
        states.add(State.NOT_RUN)
    if not states:
        # A target for which every gate is NOT_APPLICABLE has not passed; nor has a run without a gate. Checks
        # say that the device computes what it should, not that the variant is good enough.
        by_target: dict[str, set[State]] = {}
        for verdict in (verdict for verdict in verdicts if verdict.kind == GATE):
            by_target.setdefault(verdict.target, set()).add(verdict.state)
        applied = by_target and all(of_target != {State.NOT_APPLICABLE} for of_target in by_target.values())
        states.add(State.PASS if applied else State.NOT_RUN)
    state = worst(states)
    assert state is not None
    return state, state.exit_code
