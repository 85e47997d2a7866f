"""Measure the jobs of a run and write their results to the journal; within a budget, as many as fit.

Within a budget the jobs run in two passes. The first pass runs the jobs without corruption, which every suite
needs, the shortest suites and targets first. Their real durations decide which cells (corruption and
severity) the second pass runs. Large cases that never ran on this machine are tried with few samples before
the first pass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import compress
from typing import Protocol

from harness.core.executor import Executor
from harness.core.job import Batch, Event, Job, JobKey, JobResult, Part, Started, Status
from harness.core.plan import HOST, Plan
from harness.core.suite import Suite
from harness.executors.parallel import Runs, Together, run_parallel
from harness.run import budget
from harness.run.budget import Choice, Deadline
from harness.run.estimate import CORES, Estimates, Lane, Remaining, estimate, wall_s
from harness.run.observer import Observer
from harness.run.parts import Parts
from harness.run.plan import PlanInputs, make_plan
from harness.run.prepare import Prepared
from harness.run.selection import load_suites
from harness.store.journal import Journal, named
from harness.store.run_folder import RunFolder

Lanes = list[list[tuple[Runs, list[Batch]]]]


class Execute(Protocol):
    """Runs lanes in parallel, up to a time limit (``harness.executors.parallel.run_parallel``)."""

    def __call__(
        self, lanes: Lanes, limit_s: Callable[[], float] | None = None
    ) -> Generator[Event, None, None]:
        """Yield the events of all lanes as they arrive."""
        ...


@dataclass(frozen=True, slots=True)
class Measurement:
    """Measures the jobs of a run.

    Parameters
    ----------
    folder : RunFolder
    prepared : Prepared
    journal : Journal
        Open.
    observer : Observer
    execute : callable
        Runs the lanes.
    """

    folder: RunFolder
    prepared: Prepared
    journal: Journal
    observer: Observer
    execute: Execute = run_parallel

    def measure(self, plan: Plan) -> Plan:
        """Run every job of the plan that has no result.

        Returns
        -------
        Plan
            The final plan. Within a budget it is fitted to the real durations, and ``stopped`` says why the
            rest was not measured. If it differs from `plan`, it is stored in the folder.
        """
        deadline, inputs = self.prepared.deadline, self.prepared.inputs
        if deadline is not None and inputs is not None:
            measured = self._measure_within(deadline, plan, inputs)
        else:
            facts = self.folder.facts()
            parts = Parts(plan, facts, self._suites(plan))
            todo = parts.left(without(plan, parts.done(facts.results)))
            remaining = Remaining(
                todo, self._estimate(todo), self.prepared.lanes, emulated=self.prepared.run["emulated"]
            )
            self.observer.begin(remaining)
            self._run(todo, parts=parts)
            measured = replace(plan, stopped="")
        if measured != plan:
            self.folder.replace_plan(measured)
        return measured

    def lanes(self, plan: Plan, seconds: Mapping[JobKey, float] | None = None) -> Lanes:
        """Return the work of each lane, target by target in the plan's order.

        On this machine the batches that time nothing come first, those of several targets at once.
        If the `seconds` of each job are given, the reference comes first, then the suites of all targets, the
        shortest first, so that an interrupted run has measured as much as possible.
        """
        work: dict[tuple[str, str], list[Batch]] = {}
        for batch in plan.batches:
            work.setdefault((batch.target, batch.suite if seconds is not None else ""), []).append(batch)
        groups = list(work)
        if seconds is not None:
            groups.sort(
                key=lambda group: (group[0] != HOST, _wall_s(work[group], seconds, self.prepared.lanes))
            )
        return [
            self._lane(lane, {group: work[group] for group in groups if group[0] in lane})
            for lane in self.prepared.lanes
        ]

    def _lane(
        self, lane: Lane, work: Mapping[tuple[str, str], list[Batch]]
    ) -> list[tuple[Runs, list[Batch]]]:
        """The work of one lane: first, on all cores, the batches of several targets that time nothing."""
        executors = self.prepared.executors
        shared: dict[str, list[Batch]] = {}
        rest: list[tuple[Runs, list[Batch]]] = []
        for (target, _), batches in work.items():
            can_share = len(lane) > 1 and lane[target] == 1
            is_shared = [can_share and _times_nothing(batch) for batch in batches]
            shared.setdefault(target, []).extend(compress(batches, is_shared))
            timed = [batch for batch, first in zip(batches, is_shared, strict=True) if not first]
            rest += [(executors[target], timed)] if timed else []
        parts: list[list[tuple[Executor, list[Batch]]]] = [[] for _ in range(CORES)]
        # The reference first: an interrupted run has compared as much as possible.
        order = sorted(filter(shared.get, shared), key=lambda name: (name != HOST, -_samples(shared[name])))
        for target in order:
            least = min(parts, key=lambda part: sum(_samples(batches) for _, batches in part))
            least.append((executors[target], shared[target]))
        parts = [part for part in parts if part]
        if len(parts) > 1:
            return [
                (Together(parts), [batch for part in parts for _, batches in part for batch in batches]),
                *rest,
            ]
        return [*(parts[0] if parts else []), *rest]

    def _measure_within(self, deadline: Deadline, plan: Plan, inputs: PlanInputs) -> Plan:
        full = make_plan(inputs)
        remaining = Remaining(
            plan, self._estimate(plan), self.prepared.lanes, emulated=self.prepared.run["emulated"],
            limit_s=deadline.left_s(), clock=deadline.clock,
        )  # fmt: skip
        if self._try_large_cases(inputs, full, remaining):
            plan = budget.restrict(inputs, full, self._choose(full, remaining, deadline))
            remaining.replace(plan, self._estimate(plan), is_first=True)
        self.observer.begin(remaining)
        first = _part(plan, lambda job: not job.key.severity)
        done = self._run(first, remaining.seconds())
        if not deadline.used_up:
            plan = self._choose_cells(inputs, full, plan, remaining, deadline, done)
            todo = without(plan, done)
            remaining.replace(todo, self._estimate(todo))
            done |= self._run(todo)
        left = sum(len(batch.cases) for batch in without(plan, done).batches)
        if left:
            stopped = f"the budget of {deadline.budget_s:g} s was used up"
            self.observer.note(f"{stopped}: {left} jobs are not measured")
            return replace(plan, stopped=stopped)
        return plan

    def _try_large_cases(self, inputs: PlanInputs, full: Plan, remaining: Remaining) -> bool:
        """Try large cases that never ran, with few samples; return whether there were any.

        The results are not stored; their durations correct the estimates.
        """
        estimates = self._estimate(full)
        samples = {job.key: job.case.samples for batch in full.batches for job in batch.jobs}
        large = {key for key in estimates.guessed if samples[key] >= budget.TRIAL_FROM_SAMPLES}
        small = make_plan(replace(inputs, data=inputs.data.restrict((), budget.LEAST_SAMPLES)))
        trial = _first_jobs(_part(small, lambda job: bool(job.case.data) and job.key in large))
        if not trial.batches:
            return False
        self.observer.stage(f"trying {len(trial.batches)} large cases with {budget.LEAST_SAMPLES} samples")
        for event in self._events(trial):
            if isinstance(event, JobResult) and event.status is Status.OK:
                part = budget.LEAST_SAMPLES / samples[event.key]
                expected_s = estimates.seconds[event.key] * part
                remaining.learn(estimates, event.key, expected_s, event.duration_ns / 1e9)
        return True

    def _choose(
        self, plan: Plan, remaining: Remaining, deadline: Deadline, done: Collection[JobKey] = ()
    ) -> Choice:
        seconds = remaining.corrected(self._estimate(plan))
        left_s = budget.PLANNED_SHARE * deadline.left_s()
        return budget.choose(plan, seconds, self.prepared.lanes, left_s, done=done)

    def _choose_cells(
        self, inputs: PlanInputs, full: Plan, plan: Plan, remaining: Remaining, deadline: Deadline,
        done: Collection[JobKey],
    ) -> Plan:  # fmt: skip
        """Choose the cells that fit the time left; the number of samples stays that of the first pass."""
        cells = frozenset((job.key.case, job.key.severity) for job in _jobs(full) if job.key.severity)
        samples = max((job.case.samples for job in _jobs(plan) if job.case.data), default=0)
        every = budget.restrict(inputs, full, Choice(cells, samples))
        choice = self._choose(every, remaining, deadline, done)
        if len(choice.cells) < len(cells):
            self.observer.note(f"the budget has time for {len(choice.cells)} of {len(cells)} shifts")
        return budget.restrict(inputs, full, choice)

    def _suites(self, plan: Plan) -> Mapping[str, Suite]:
        names = [job.suite for job in _jobs(plan) if job.case.in_parts]
        return load_suites(tuple(dict.fromkeys(names))) if names else {}

    def _run(
        self, plan: Plan, seconds: Mapping[JobKey, float] | None = None, parts: Parts | None = None
    ) -> set[JobKey]:
        """Run the jobs of a plan, store their results and return the keys of the jobs that ended."""
        parts = parts or Parts(plan, self.folder.facts(), self._suites(plan))
        done: set[JobKey] = set()
        due = {job.key for job in _jobs(plan)}
        for event in map(parts.whole, self._events(plan, seconds)):
            if isinstance(event, JobResult) and event.key not in due - done:
                self.observer.note(f"a result of {named(event.key)} was not stored: no such job was running")
                continue
            if isinstance(event, JobResult):
                done.add(event.key)
            if not isinstance(event, Started):
                self.journal.append(event)
            self.observer.event(event)
            if isinstance(event, Part):
                parts.add(event)
                self.observer.trends(event.key, partial(parts.lines, event.key))
        return done

    def _events(self, plan: Plan, seconds: Mapping[JobKey, float] | None = None) -> Iterator[Event]:
        """Run a plan until it ends, or until the budget is used up."""
        deadline = self.prepared.deadline
        limit_s = None if deadline is None else deadline.kill_s
        with closing(self.execute(self.lanes(plan, seconds), limit_s)) as events:
            for event in events:
                yield event
                if deadline is not None and deadline.used_up:
                    return

    def _estimate(self, plan: Plan) -> Estimates:
        return estimate(plan, self.prepared.cache, self.prepared.run["emulated"])


def without(plan: Plan, done: Collection[JobKey]) -> Plan:
    """Return the plan without the jobs that are done."""
    return _part(plan, lambda job: job.key not in done)


def _part(plan: Plan, belongs: Callable[[Job], bool]) -> Plan:
    batches = [
        replace(batch, cases=tuple(job.case for job in batch.jobs if belongs(job))) for batch in plan.batches
    ]
    return replace(plan, batches=tuple(batch for batch in batches if batch.cases))


def _first_jobs(plan: Plan) -> Plan:
    return replace(plan, batches=tuple(replace(batch, cases=batch.cases[:1]) for batch in plan.batches))


def _times_nothing(batch: Batch) -> bool:
    return not any(case.timed for case in batch.cases)


def _samples(batches: Sequence[Batch]) -> int:
    return sum(case.samples for batch in batches for case in batch.cases)


def _wall_s(batches: Sequence[Batch], seconds: Mapping[JobKey, float], lanes: Sequence[Lane]) -> float:
    return wall_s({job.key: seconds[job.key] for batch in batches for job in batch.jobs}, lanes)


def _jobs(plan: Plan) -> Iterator[Job]:
    return (job for batch in plan.batches for job in batch.jobs)
