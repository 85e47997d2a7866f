"""Runs a target with a planted fault until a gate or a check blocks it, and judges what was measured."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from harness.challenge.answers import (
    ERROR,
    Answer,
    Catch,
    Healthy,
    Result,
    catch,
    is_disturbed,
    not_planted,
    would_see,
)
from harness.challenge.effects import is_below, smallest_text
from harness.challenge.jobs import Work
from harness.challenge.limits import key_of
from harness.core import unexpected
from harness.core.executor import Executor
from harness.core.job import Batch, EnvironmentRecord, JobKey, JobResult, Status
from harness.core.measurement import KEY_COLUMNS, Row
from harness.core.metric import Declared, Role
from harness.core.plan import CARD, HOST
from harness.core.suite import Suite
from harness.core.verdict import GATE, State
from harness.device import planted
from harness.gates import relative
from harness.gates.relative import Accepted, Baselines, Refusal
from harness.run import stages, summarise
from harness.stats.intervals import Interval
from harness.store.run_folder import Facts, RunFolder
from harness.testing.faults import Fault, Kind

States = Mapping[tuple[str, ...], State]
"""Key of a limit to what it came to."""
#: The name of the healthy run where it is compared with.
BASELINE = "healthy"


@dataclass(slots=True)
class Measured:
    """What a batch came to."""

    results: dict[JobKey, JobResult] = field(default_factory=dict)
    environments: list[EnvironmentRecord] = field(default_factory=list)
    error: str = ""


def measure(executor: Executor, batch: Batch, fault: Fault) -> Measured:
    """Run a batch with a fault; whatever the executor raises is an error of this batch alone."""
    measured = Measured()
    try:
        with closing(executor.run([planted.asking(batch, fault.name, fault.size)])) as events:
            for event in events:
                if isinstance(event, JobResult):
                    measured.results[event.key] = event
                elif isinstance(event, EnvironmentRecord):
                    measured.environments.append(event)
    except Exception as error:  # noqa: BLE001 - a fault may break the executor, which ends the fault's run only
        measured.error = unexpected.one_line(error)
    return measured


@dataclass(frozen=True, slots=True)
class Bench:
    """What every fault of a challenge is measured and judged with.

    Parameters
    ----------
    executor : Executor
    work : Work
    folder : RunFolder
        Of the healthy run.
    facts : Facts
        Of the healthy run.
    rows : tuple of Row
        Of the healthy run.
    healthy : Healthy
    suites : mapping of name to Suite
    smallest : mapping of str to float
        The smallest size of a fault that is seen here, by its name.
    """

    executor: Executor
    work: Work
    folder: RunFolder
    facts: Facts
    rows: tuple[Row, ...]
    healthy: Healthy
    suites: Mapping[str, Suite]
    smallest: Mapping[str, float] = field(default_factory=dict)

    def answer(self, fault: Fault, *, quick: bool) -> Answer:
        """Plant a fault, and say what became of it."""
        began_s = time.monotonic()
        results: dict[JobKey, JobResult] = {}
        rows: list[Row] = []
        cases: list[str] = []
        refused: dict[str, str] = {}
        caught: Catch | None = None
        tried: set[str] = set()
        least, of = self.smallest.get(fault.name, math.nan), 1 if quick else None
        is_small = is_below(fault, least)
        states: States = {}
        for batch in self.work.steps(fault, quick=quick):
            if batch.variant in refused:
                continue
            tried.add(batch.variant)
            measured, made = self._measure(batch, fault)
            cases += [f"{batch.suite}/{case.name}" for case in batch.cases]
            if why := not_planted(made):
                refused[batch.variant] = why
                continue
            if measured.error:
                named = fault.is_named_in(measured.error)
                sentence = f"{batch.variant} on {batch.target}: {measured.error}"
                caught = Catch(ERROR, "error of the run", sentence, batch.variant, named)
                break
            caught, states = self._judge(fault, results | measured.results, [*rows, *made])
            if caught is None and fault.kind in (Kind.TIME, Kind.MEMORY) and is_disturbed(made):
                measured, made = self._measure(batch, fault)
                caught, states = self._judge(fault, results | measured.results, [*rows, *made])
            if caught is not None and self._varies(caught):
                # A time that is over its limit by chance is not so twice.
                measured, made = self._measure(batch, fault)
                caught, states = self._judge(fault, results | measured.results, [*rows, *made])
                if caught is not None and not self._is_worse(caught, made):
                    caught = None
            results |= measured.results
            rows += made
            if caught is not None or (is_small and set(self.work.variants[:of]) <= tried):
                break  # the checks that declare a smaller one, which come first, show it by chance alone
        seconds = time.monotonic() - began_s
        if caught is not None:
            return Answer(fault, Result.CAUGHT, caught, "", seconds, tuple(cases))
        if not rows:
            why = next(iter(refused.values()), "no job of this target can see it")
            return Answer(fault, Result.NOT_PLANTED, None, why, seconds, tuple(cases))
        if is_small:
            why = smallest_text(fault, least)
            return Answer(fault, Result.BELOW, None, why, seconds, tuple(cases))
        if fault.kind in (Kind.TIME, Kind.MEMORY) and is_disturbed(rows):
            why = "the machine was disturbed; run again on a quiet one"
            return Answer(fault, Result.UNDECIDED, None, why, seconds, tuple(cases))
        seen = self._seen(rows) if fault.kind in (Kind.TIME, Kind.MEMORY) else ""
        would = would_see(fault, self.work.limits, states, seen)
        return Answer(fault, Result.MISSED, None, would, seconds, tuple(cases))

    def _varies(self, caught: Catch) -> bool:
        """Whether what caught the fault varies from run to run; checks on times judge proved bounds."""
        return caught.kind == GATE and any(
            (limit.kind, limit.gate.name) == (GATE, caught.name) and self.work.is_noisy(limit)
            for limit in self.work.limits
        )

    def _is_worse(self, caught: Catch, rows: Sequence[Row]) -> bool:
        """Whether what a gate on a time looks at is worse than in the healthy run; if not, the machine is."""
        baselines = self.baselines()
        gates = [
            limit.gate
            for limit in self.work.limits
            if (limit.kind, limit.gate.name, limit.variant) == (GATE, caught.name, caught.variant)
        ]
        if caught.kind != GATE or any(gate.of != "value" for gate in gates):
            return True
        looked_at = [row for row in rows if any(gate.looks_at(row) for gate in gates)]
        return any(
            row.measurement.status is not Status.OK or _ratio(row, baselines) is not None for row in looked_at
        )

    def _measure(self, batch: Batch, fault: Fault) -> tuple[Measured, list[Row]]:
        """Measure a batch and make its rows."""
        measured = measure(self.executor, batch, fault)
        return measured, self._rows(batch, measured)

    def _rows(self, batch: Batch, measured: Measured) -> list[Row]:
        """The rows of one batch; the reference's samples are those of the healthy run."""
        references = [replace(b, cases=()) for b in self.facts.plan.batches if b.target == HOST]
        plan = replace(self.facts.plan, batches=(*references, batch), skipped=())
        host = {key: result for key, result in self.facts.results.items() if key.target == HOST}
        there = [record for record in self.facts.environments if record.target == HOST]
        facts = replace(
            self.facts,
            plan=plan,
            results=host | measured.results,
            environments=[*there, *measured.environments],
        )
        # The rows of the cards are those of the healthy run.
        return [row for row in summarise.summarise(facts, self.suites) if row.key.suite != CARD]

    def _judge(
        self, fault: Fault, results: Mapping[JobKey, JobResult], rows: Sequence[Row]
    ) -> tuple[Catch | None, States]:
        """Judge what was measured so far; what no limit is judged by is not missed. The states, too."""
        planned = {job.key for batch in self.work.batches for job in batch.jobs}
        missing = (self.work.decisive & planned) - set(results)
        counted = missing | set(results)
        batches = [
            replace(batch, cases=tuple(job.case for job in batch.jobs if job.key in counted))
            for batch in self.work.batches
        ]
        others = [row for row in self.rows if row.key not in planned]
        facts = replace(
            self.facts, plan=replace(self.facts.plan, batches=tuple(batches)), results=dict(results)
        )
        outcome = stages.look(self.folder, facts, [*others, *rows], baselines=self.baselines())
        limits = {limit.key: limit for limit in self.work.limits}
        credible = {key for key, limit in limits.items() if self.work.is_credible(limit, fault)}
        states = {key_of(verdict): verdict.state for verdict in outcome.verdicts}
        return catch(fault, outcome.verdicts, rows, limits, credible, missing, self.healthy), states

    def baselines(self) -> Baselines:
        """The healthy run in place of every accepted one."""
        records: dict[tuple[object, ...], Mapping[Any, Any]] = {}
        per_sample = {}
        for row in self.rows:
            record = row.to_record()
            key = tuple(record[column] for column in KEY_COLUMNS)
            records[key] = record
            if row.measurement.per_sample is not None:
                per_sample[key] = row.measurement.per_sample
        sets, machines = summarise.set_digests(self.facts.run), summarise.machines(self.facts)
        names = {limit.gate.baseline for limit in self.work.limits if limit.gate.baseline} | {BASELINE}
        accepted = {
            (name, target): Accepted(name, self.folder.run_id, machine, sets, records, per_sample)
            for target, machine in machines.items()
            for name in names
        }
        return Baselines(accepted, sets, machines, {}, self.work.metrics)

    def _seen(self, rows: Sequence[Row]) -> str:
        """The worst of the times and memory that a comparison with the healthy run calls worse."""
        baselines = self.baselines()
        seen: list[tuple[float, str]] = []
        for row in rows:
            text = _worse(row, self.work.metrics, baselines)
            if text is not None:
                seen.append(text)
        return max(seen)[1] if seen else ""


def _worse(row: Row, metrics: Declared, baselines: Baselines) -> tuple[float, str] | None:
    metric = metrics.find(row.key.suite, row.measurement.metric)
    timed = metric is not None and metric.role in (Role.LATENCY, Role.TAIL, Role.MEMORY)
    if not timed or row.measurement.status is not Status.OK:
        return None
    ratio = _ratio(row, baselines)
    if ratio is None:
        return None
    name = row.measurement.metric
    return (
        ratio.value,
        f"{name} is {ratio.value:.2f}x [{ratio.low:.2f}, {ratio.high:.2f}] of the healthy run's",
    )


def _ratio(row: Row, baselines: Baselines) -> Interval | None:
    """The ratio to the healthy run, where it is above 1 by more than two runs differ; else None."""
    change = relative.against(row, BASELINE, "ratio", baselines)
    return None if isinstance(change, Refusal) or not change.interval.low > 1 else change.interval
