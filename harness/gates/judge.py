"""Rows and limits → verdicts. Pure, and the only place where a number becomes a verdict.

A gate is judged for every target, backend and variant that it matches. A limit on an interval asks that
the whole interval lies inside (``alpha`` is 5 %, one-sided); a metric without an interval is compared as it
is. "All must pass" needs no correction for many rows: it is an intersection-union test.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.core.check import Check
from harness.core.job import JobKey, Status
from harness.core.measurement import WHOLE_CASE, Row
from harness.core.verdict import CHECK, GATE, Gate, State, Verdict
from harness.gates import relative
from harness.gates.absent import absent
from harness.gates.number_text import number_text
from harness.gates.relative import Baselines, Refusal
from harness.stats.intervals import Interval, clustered_mean, units_to_decide, wilson
from harness.stats.paired import smallest_decidable_margin
from harness.stats.worst import worst_column

#: The largest loss or change that one sample can show, by unit.
_REACH = {"pt": 100.0, "1": 1.0}


@dataclass(frozen=True, slots=True)
class Subject:
    """What is judged: one variant on one backend of one target.

    ``unavailable`` says why that backend could not run at all; it is empty where it could.
    ``lacks_hardware``: a release demands real hardware, and this is emulated.
    """

    target: str
    backend: str
    variant: str
    max_samples: int | None = None
    unavailable: str = ""
    lacks_hardware: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """All verdicts, and the rows that the gates looked at."""

    verdicts: tuple[Verdict, ...]
    covered: tuple[Row, ...]


def judge(
    rows: Sequence[Row],
    gates: Iterable[Gate],
    subjects: Iterable[Subject],
    missing: Collection[JobKey] = (),
    baselines: Baselines | None = None,
    *,
    checks: Iterable[tuple[Check, Subject]] = (),
    stopped: str = "",
) -> Judgement:
    """Judge every gate for every subject that it applies to, and the checks where they are asked for.

    Parameters
    ----------
    rows : sequence of Row
    gates : iterable of Gate
    subjects : iterable of Subject
    missing : collection of JobKey
        Planned and not measured, because the run was interrupted. A gate that looks at one of them is
        NOT_RUN, unless a measured row alone makes it FAIL.
    baselines : Baselines, optional
        What gates on a ratio or a change compare with.
    checks : iterable of (Check, Subject)
        The built-in checks, and where they are judged.
    stopped : str
        Why the missing jobs were not measured, where that is known.
    """
    subjects, baselines = tuple(subjects), baselines or Baselines()
    asked: list[tuple[Gate, Subject, Check | None]] = [
        (gate, subject, None)
        for gate in gates
        for subject in subjects
        if gate.judges(subject.target, subject.variant)
    ]
    asked += [(check.gate, subject, check) for check, subject in checks]
    verdicts: list[Verdict] = []
    covered: list[Row] = []
    for gate, subject, check in asked:
        here = gate.on(subject.target)
        looked_at: list[Row] = []
        unmeasured = ""
        if not gate.design:  # what is timed side by side has no row in the table
            looked_at = [row for row in rows if _is_of(row.key, subject) and here.looks_at(row)]
            jobs = sum(_is_of(key, subject) and here.looks_at_job(key) for key in missing)
            unmeasured = _unmeasured(jobs, stopped)
        finding = (_side_by_side if gate.design else _finding)(here, subject, looked_at, baselines)
        if not looked_at and not unmeasured and not gate.design and not subject.unavailable:
            finding = replace(finding, what=absent(here, [row for row in rows if _is_of(row.key, subject)]))
        if unmeasured and not (finding.state is State.FAIL and here.combine != "mean"):
            finding = _Finding(State.NOT_RUN, f"{here.metric} is not all there: {unmeasured}")
        if finding.state is State.NOT_APPLICABLE and here.required:
            finding = replace(finding, state=State.NOT_RUN, what=finding.what + "; the gate is required")
        verdicts.append(
            _verdict(here, subject, finding if check is None else _of_check(check, finding), check)
        )
        covered += looked_at
    return Judgement(tuple(verdicts), tuple(covered))


def _of_check(check: Check, finding: _Finding) -> _Finding:
    """Say what a failed check means, and let a disturbed machine block only where the check says so."""
    if finding.state is State.FAIL:
        return replace(finding, what=f"{check.failure}: {finding.what}")
    if finding.state is State.INVALID and check.gate.on_inconclusive == "warn":
        return replace(finding, state=State.INCONCLUSIVE)
    return finding


def _unmeasured(jobs: int, stopped: str) -> str:
    if not jobs:
        return ""
    text = f"{'1 job was' if jobs == 1 else f'{jobs} jobs were'} not measured"
    return f"{text}: {stopped}" if stopped else text


def _is_of(key: JobKey, subject: Subject) -> bool:
    return (key.target, key.backend, key.variant) == (subject.target, subject.backend, subject.variant)


@dataclass(frozen=True, slots=True)
class _Finding:
    """One answer about one row, or about several combined."""

    state: State
    what: str
    interval: Interval | None = None
    limit: float = math.nan
    unit: str = ""


def _verdict(gate: Gate, subject: Subject, finding: _Finding, check: Check | None) -> Verdict:
    interval = finding.interval or Interval(math.nan, math.nan, math.nan, 0)
    return Verdict(
        gate=gate.name,
        target=subject.target,
        backend=subject.backend,
        variant=subject.variant,
        suite=gate.suite,
        metric=gate.metric,
        state=finding.state,
        severity=gate.severity,
        on_inconclusive=gate.on_inconclusive,
        sentence=f"{subject.variant} on {subject.target}: {finding.what}",
        value=interval.value,
        ci_low=interval.low,
        ci_high=interval.high,
        limit=finding.limit,
        unit=finding.unit,
        n=interval.n,
        kind=GATE if check is None else CHECK,
    )


def _finding(gate: Gate, subject: Subject, rows: Sequence[Row], baselines: Baselines) -> _Finding:
    if subject.unavailable:
        return _Finding(State.NOT_RUN, f"{gate.metric} was not measured: {subject.unavailable}")
    unmeasured = [row for row in rows if row.measurement.status in (Status.ERROR, Status.SKIPPED)]
    measured = [row for row in rows if row not in unmeasured and row.measurement.metric != WHOLE_CASE]
    if unmeasured:
        if gate.combine != "mean" and measured:  # what one case could not give hides nothing of another
            finding = _measured(gate, subject, measured, baselines)
            if finding.state is State.FAIL:
                return finding
        # A metric that a case could not give is no reason to overlook what others gave, nor the reverse.
        errors = [row for row in unmeasured if row.measurement.status is Status.ERROR]
        row = (errors or unmeasured)[0]
        state = State.NOT_RUN if errors else State.NOT_APPLICABLE
        reason = row.measurement.reason.partition("\n")[0]
        if errors or len(unmeasured) == len(rows):
            place = "" if row.case == WHOLE_CASE else f" in {_place(row)}"
            return _Finding(state, f"{gate.metric} was not measured{place}: {reason}")
    if not measured:
        return _Finding(State.NOT_RUN, f"no row has the metric {gate.metric}" + _case_text(gate))
    return _measured(gate, subject, measured, baselines)


def _measured(gate: Gate, subject: Subject, measured: Sequence[Row], baselines: Baselines) -> _Finding:
    """Judge the rows that have a number."""
    invalid = [row for row in measured if row.measurement.status is Status.INVALID]
    if invalid:
        return _invalid(subject, invalid)
    if gate.combine == "mean":
        return _mean(gate, subject, measured, baselines)
    if gate.combine == "worst" and len(measured) > 1 and (finding := _worst(gate, subject, measured)):
        return finding
    findings = [_one(gate, subject, row, baselines) for row in measured]
    worst = max(findings, key=lambda finding: (-finding.state.rank, _pressure(finding)))
    if len(findings) > 1:
        worst = _Finding(
            worst.state,
            f"{worst.what}; the worst of {len(findings)}",
            worst.interval,
            worst.limit,
            worst.unit,
        )
    return worst


def _invalid(subject: Subject, rows: Sequence[Row]) -> _Finding:
    # A fault of the run counts before what emulation can never measure.
    row = next((row for row in rows if not row.measurement.cause.is_of_emulation), rows[0])
    text = f"{row.measurement.metric} in {_place(row)} is invalid: {row.measurement.reason}"
    if row.measurement.cause.is_of_emulation:
        return _inapplicable(subject, text)
    return _Finding(State.INVALID, text)


def _side_by_side(
    gate: Gate, subject: Subject, _rows: Sequence[Row], baselines: Baselines
) -> _Finding:  # fmt: skip
    """What was timed beside the accepted artifact."""
    if subject.unavailable:
        return _Finding(State.NOT_RUN, f"{gate.metric} was not measured: {subject.unavailable}")
    key = (gate.name, subject.target, subject.backend, subject.variant)
    timing = baselines.side_by_side.get(key)
    if timing is None:
        return _Finding(State.NOT_RUN, f"{gate.metric} was not timed side by side")
    if isinstance(timing, Refusal):
        text = f"{gate.metric} was not timed side by side: {timing.text}"
        return (
            _inapplicable(subject, text)
            if timing.state is State.NOT_APPLICABLE
            else _Finding(timing.state, text)
        )
    interval = timing.look.ratio if timing.look is not None else None
    return _Finding(timing.state, timing.sentence(), interval, timing.limit, "x")


def _pressure(finding: _Finding) -> float:
    """How near the interval's bound is to the limit, so that the worst of many can be named."""
    if finding.interval is None or math.isnan(finding.limit):
        return math.inf
    bounds = (finding.interval.low, finding.interval.high)
    return -min((abs(finding.limit - bound) for bound in bounds if not math.isnan(bound)), default=-math.inf)


def _one(gate: Gate, subject: Subject, row: Row, baselines: Baselines) -> _Finding:
    m = row.measurement
    what = f"{m.metric} in {_place(row)}"
    if gate.of != "value":
        change = relative.against(row, gate.baseline, gate.of, baselines)
        if isinstance(change, Refusal):
            return _Finding(change.state, f"{what} cannot be compared: {change.text}")
        unit = "x" if gate.of == "ratio" else m.unit
        what = f"the {gate.of} of {what} against {gate.baseline}"
        return _decide(gate, subject, change.interval, what, unit, paired=change.paired)
    low, high = (m.value, m.value) if math.isnan(m.ci_low) else (m.ci_low, m.ci_high)
    interval = Interval(m.value, low, high, m.n)
    paired = m.unit == "pt" and m.reference != ""
    return _decide(gate, subject, interval, what, m.unit, paired=paired, about=m.reason)


def _mean(gate: Gate, subject: Subject, rows: Sequence[Row], baselines: Baselines) -> _Finding:
    """Mean over rows with an interval that resamples samples, as the rows share them."""
    columns = [row.measurement.per_sample for row in rows]
    unit, what = rows[0].measurement.unit, f"mean {gate.metric} over {len(rows)} cases"
    if gate.of == "change":
        changes = [relative.against(row, gate.baseline, gate.of, baselines) for row in rows]
        refused = next((change for change in changes if isinstance(change, Refusal)), None)
        if refused is not None:
            return _Finding(refused.state, f"{what} cannot be compared: {refused.text}")
        columns = [change.per_sample for change in changes if not isinstance(change, Refusal)]
        what = f"the change of the {what} against {gate.baseline}"
    if any(column is None for column in columns):
        return _Finding(State.NOT_RUN, f"{gate.metric} has no values by sample, so no mean over cases")
    n = min(len(column) for column in columns if column is not None)
    values = np.stack([column[:n] for column in columns if column is not None], axis=1)
    if not np.isfinite(values).all():
        return _Finding(State.NOT_RUN, f"{gate.metric} has samples whose value is not a number")
    paired = gate.of == "change" or (unit == "pt" and rows[0].measurement.reference != "")
    interval = clustered_mean(values, reach=_reach(gate, rows) if paired else None)
    return _decide(gate, subject, interval, what, unit, paired=paired)


def _reach(gate: Gate, rows: Sequence[Row]) -> float | None:
    """Return the largest value that a sample can have in paired rows of one metric; None: it has no bound."""
    m = rows[0].measurement
    reach = _REACH.get(m.unit) if m.reach is None else m.reach
    # The change of a loss is the difference of two losses.
    return 2 * reach if reach is not None and gate.of == "change" and m.reference else reach


def _worst(gate: Gate, subject: Subject, rows: Sequence[Row]) -> _Finding | None:
    """Judge the worst row with an interval for all together; None where its samples are not independent."""
    columns = [row.measurement.per_sample for row in rows if row.measurement.per_sample is not None]
    one_sided = (gate.maximum is None) != (gate.minimum is None)
    alike = [
        m.n == len(column) for m, column in zip((row.measurement for row in rows), columns, strict=False)
    ]
    if gate.of != "value" or not one_sided or len(columns) < len(rows) or not all(alike):
        return None
    m = rows[0].measurement
    paired = m.unit == "pt" and m.reference != ""
    worst = worst_column(
        columns,
        unit=m.unit,
        lower_is_better=gate.maximum is not None,
        reach=_reach(gate, rows) if paired else None,
    )
    what = f"{gate.metric} in {_place(rows[worst.place])}, the worst of {len(rows)} cases together,"
    return _decide(gate, subject, worst.interval, what, m.unit, paired=paired)


def _decide(
    gate: Gate, subject: Subject, interval: Interval, what: str, unit: str, *, paired: bool, about: str = ""
) -> _Finding:
    """Compare an interval with the limits; `about` says which part of the samples the number is of."""
    answers = []
    for limit, named, sign in (
        (gate.maximum, gate.maximum_unit, 1.0), (gate.minimum, gate.minimum_unit, -1.0),
    ):  # fmt: skip
        if limit is None:
            continue
        if named and named != unit:
            wrong = f"{what} is measured in {unit or 'no unit'}, and its limit is given in {named}"
            answers.append(_Finding(State.NOT_RUN, wrong, interval, math.nan, unit))
            continue
        far, near = (interval.high, interval.low) if sign > 0 else (interval.low, interval.high)
        text = f"{what} is {_text(interval, unit)}, limit {number_text(limit, unit)}"
        text += f", {interval.n} samples" if interval.n else ""
        text += " in pairs" * (paired and gate.of != "value")
        text += f"; {about}" if about else ""
        if math.isnan(interval.value):
            answers.append(_Finding(State.NOT_RUN, f"{what} has no value", interval, limit, unit))
        elif sign * far <= sign * limit:
            answers.append(_Finding(State.PASS, text, interval, limit, unit))
        elif sign * near > sign * limit:
            answers.append(_Finding(State.FAIL, text, interval, limit, unit))
        else:
            share = unit == "1" and gate.of == "value" and sign < 0 and interval.n
            best = wilson(interval.n, interval.n).low if share else math.inf
            finding = _undecided(subject, interval, limit, text, unit, paired=paired, best=best)
            if about and finding.state is State.INCONCLUSIVE:  # its bounds may be those of different parts
                finding = replace(finding, what=f"{text}: undecided, more samples would decide it")
            answers.append(finding)
    return min(answers, key=lambda finding: finding.state.rank)


def _undecided(
    subject: Subject, interval: Interval, limit: float, text: str, unit: str, *, paired: bool, best: float
) -> _Finding:
    """INCONCLUSIVE; or NOT_APPLICABLE where the target's few samples could not decide in any case.

    ``best`` is the lower bound of a share when every sample is right.
    """
    if unit == "x":
        text += ": undecided, two runs differ so much by themselves; "
        text += 'measure side by side: design = "side-by-side", or harness compare --side-by-side'
        return _Finding(State.INCONCLUSIVE, text, interval, limit, unit)
    reach = _REACH.get(unit) if paired else None
    few = subject.max_samples is not None and interval.n <= subject.max_samples
    least = smallest_decidable_margin(interval.n) * (reach or math.nan) if interval.n else math.nan
    hopeless = best < limit or (paired and least >= abs(limit))
    if few and hopeless:
        never = f"{text}: so few samples can never decide this limit"
        return _inapplicable(subject, never, interval, limit, unit)
    needed = units_to_decide(interval, limit, reach=reach)
    more = "no number of samples decides it" if needed is None else f"about {needed} would decide it"
    return _Finding(State.INCONCLUSIVE, f"{text}: undecided, {more}", interval, limit, unit)


def _inapplicable(
    subject: Subject, text: str, interval: Interval | None = None, limit: float = math.nan, unit: str = ""
) -> _Finding:
    """What emulation or few samples cannot answer; a release asks for hardware that can."""
    if subject.lacks_hardware:
        return _Finding(State.NOT_RUN, f"{text}; a release demands real hardware", interval, limit, unit)
    return _Finding(State.NOT_APPLICABLE, text, interval, limit, unit)


def _place(row: Row) -> str:
    return f"{row.case} {row.severity}" if row.severity else row.case


def _case_text(gate: Gate) -> str:
    return "" if gate.cases == ("*",) else f" in {', '.join(gate.cases)}"


def _text(interval: Interval, unit: str) -> str:
    if interval.low == interval.high:
        return number_text(interval.value, unit)
    value, low, high = (number_text(number, unit) for number in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]"
