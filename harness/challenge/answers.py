"""What became of a planted fault: caught by which gate or check, or not. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.challenge.limits import Limit, key_of
from harness.core.cause import Cause
from harness.core.exit_code import ExitCode
from harness.core.job import JobKey, Status
from harness.core.measurement import Row
from harness.core.verdict import State, Verdict
from harness.testing.faults import NOT_PLANTED, Fault

#: Who caught a fault that no gate and no check looks at.
ERROR = "error"
#: A machine that was disturbed says nothing about a fault.
DISTURBED = (Cause.OVERLOAD, Cause.THROTTLING, Cause.CPU_STEAL)


class Result(StrEnum):
    """What became of a planted fault."""

    CAUGHT = "caught"
    MISSED = "missed"
    #: It is smaller than the smallest that this set-up shows with 95 % power: no miss.
    BELOW = "too small"
    #: This model, backend or machine does not allow it.
    NOT_PLANTED = "not planted"
    #: Every measurement that could see it was disturbed.
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Catch:
    """Who keeps a release with the fault from passing, and what is said.

    Parameters
    ----------
    kind : str
        ``gate``, ``check`` or ``error``.
    name : str
    sentence : str
    variant : str
    named : bool
        The sentence names the fault.
    """

    kind: str
    name: str
    sentence: str
    variant: str
    named: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """One line of the table.

    Parameters
    ----------
    fault : Fault
    result : Result
    catch : Catch, optional
        Of a fault that was caught.
    would : str
        Of a fault that was missed: what would see it. Of one that was neither caught nor missed: why.
    seconds : float
    cases : tuple of str
        What was tried: ``suite/case``.
    """

    fault: Fault
    result: Result
    catch: Catch | None = None
    would: str = ""
    seconds: float = 0.0
    cases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Healthy:
    """The run without a fault.

    Parameters
    ----------
    blocking : frozenset
        Keys of the limits that block without any fault: they can show none.
    errors : frozenset of JobKey
        Jobs with an ERROR row.
    """

    blocking: frozenset[tuple[str, ...]]
    errors: frozenset[JobKey]

    @classmethod
    def of(cls, verdicts: Iterable[Verdict], rows: Iterable[Row]) -> Healthy:
        """Take what blocks from verdicts and rows."""
        return cls(
            frozenset(key_of(verdict) for verdict in verdicts if verdict.blocks),
            frozenset(row.key for row in rows if row.measurement.status is Status.ERROR),
        )


def catch(
    fault: Fault,
    verdicts: Sequence[Verdict],
    rows: Sequence[Row],
    limits: Mapping[tuple[str, ...], Limit],
    credible: Collection[tuple[str, ...]],
    missing: Collection[JobKey],
    healthy: Healthy,
) -> Catch | None:
    """Find what blocks with the fault and does not without it; what names the fault comes first.

    Parameters
    ----------
    fault : Fault
    verdicts, rows
        Of the jobs that were run with the fault.
    limits : mapping of key to Limit
    credible : collection of keys of Limit
        Those that can show this fault; of all others only a measurement that failed counts.
    missing : collection of JobKey
        Planned jobs that were not run: a gate that is NOT_RUN because of them says nothing.
    healthy : Healthy
    """
    catches = []
    for verdict in sorted(verdicts, key=lambda verdict: verdict.state.rank):
        limit = limits.get(key_of(verdict))
        if limit is None or not verdict.blocks or limit.key in healthy.blocking:
            continue
        if verdict.state is State.NOT_RUN and any(limit.looks_at(key) for key in missing):
            continue
        if verdict.state is not State.NOT_RUN and limit.key not in credible:
            continue
        if verdict.state is State.INVALID and is_disturbed(row for row in rows if limit.gate.looks_at(row)):
            continue
        named = fault.is_named_in(f"{verdict.gate}: {verdict.sentence}")
        catches.append(Catch(verdict.kind, verdict.gate, verdict.sentence, verdict.variant, named))
    for row in rows:
        if row.measurement.status is Status.ERROR and row.key not in healthy.errors:
            reason = row.measurement.reason
            sentence = f"{row.key.variant} on {row.key.target}: {row.key.suite} {row.case}: {_first(reason)}"
            named = fault.is_named_in(reason)
            catches.append(Catch(ERROR, "ERROR row", sentence, row.key.variant, named))
    return min(catches, key=lambda one: not one.named, default=None)


def _first(reason: str) -> str:
    return reason.partition("\n")[0]


def is_disturbed(rows: Iterable[Row]) -> bool:
    """Whether rows are INVALID because of the machine, and of nothing else."""
    causes = [row.measurement.cause for row in rows if row.measurement.status is Status.INVALID]
    return bool(causes) and all(cause in DISTURBED for cause in causes)


def not_planted(rows: Iterable[Row]) -> str:
    """Why a fault cannot be planted, from the reasons of ERROR rows; empty where it was planted."""
    for row in rows:
        start = row.measurement.reason.find(NOT_PLANTED)
        if row.measurement.status is Status.ERROR and start >= 0:
            return _first(row.measurement.reason[start + len(NOT_PLANTED) + 2 :])
    return ""


def would_see(
    fault: Fault, limits: Iterable[Limit], states: Mapping[tuple[str, ...], State], seen: str = ""
) -> str:
    """Say what would see a fault that was missed.

    Parameters
    ----------
    fault : Fault
    limits : iterable of Limit
        That are judged on the target.
    states : mapping of key of a Limit to State
        What they came to with the fault.
    seen : str
        What a comparison with the healthy run shows; empty where it shows nothing.
    """
    declared = {limit.gate.name: limit for limit in limits if fault.name in limit.faults}
    relaxed = [name for name, limit in declared.items() if limit.relaxed]
    if relaxed:
        return f"the check {relaxed[0]}, which [checks.relax] lets pass"
    if seen:
        return f"{fault.advice}: {seen}"
    if declared:
        name, limit = next(iter(declared.items()))
        state = states.get(limit.key, State.NOT_RUN)
        return f"the check {name} looks for it and is {state.value}; {fault.advice}"
    return fault.advice


def score(answers: Iterable[Answer]) -> dict[Result, int]:
    """Count the answers by their result."""
    counts = dict.fromkeys(Result, 0)
    for answer in answers:
        counts[answer.result] += 1
    return counts


def ending(answers: Sequence[Answer]) -> tuple[State, ExitCode]:
    """State and exit code of a challenge: FAIL where a fault was missed, NOT_RUN where none was decided."""
    counts = score(answers)
    if counts[Result.MISSED]:
        state = State.FAIL
    elif counts[Result.UNDECIDED]:
        state = State.INCONCLUSIVE
    else:
        state = State.PASS if counts[Result.CAUGHT] else State.NOT_RUN
    return state, state.exit_code
