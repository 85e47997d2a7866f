"""How long a plan takes, and what part of it fits a budget.

Estimates come from what the same jobs took before on this machine, kept in the cache; a job that was never
run is guessed from its suite.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace

from harness.cache import Cache, key_of
from harness.core.job import Batch, Case, JobKey
from harness.plan import HOST, Plan
from harness.report.store import Facts

#: Seconds of a case that was never run: a constant and a part for each sample.
GUESS_S = {"performance": (5.0, 0.0), "accuracy": (0.1, 5e-4), "reliability": (0.8, 0.0)}
OTHER_GUESS_S = (1.0, 0.0)
#: A batch starts a process and loads a runtime.
START_S = 0.7
#: Fewer samples than this are not worth a case.
LEAST_SAMPLES = 64


def estimate(plan: Plan, cache: Cache) -> dict[JobKey, float]:
    """Seconds each job will take, starts included."""
    seconds: dict[JobKey, float] = {}
    for batch in plan.batches:
        known = cache.recall(_key(batch)) or {}
        for index, job in enumerate(batch.jobs):
            took = known.get(_name(job.case))
            if took is not None:
                cost = took["s"] * (job.case.samples / took["samples"] if took["samples"] else 1.0)
            else:
                constant, each = GUESS_S.get(batch.suite, OTHER_GUESS_S)
                cost = constant + each * job.case.samples
            seconds[job.key] = cost + (START_S if index == 0 else 0.0)
    return seconds


def remember(facts: Facts, cache: Cache) -> None:
    """Keep what the jobs of a run took."""
    for batch in facts.plan.batches:
        took = dict(cache.recall(_key(batch)) or {})
        for job in batch.jobs:
            result = facts.results.get(job.key)
            if result is not None and result.duration_ns:
                took[_name(job.case)] = {"s": result.duration_ns / 1e9, "samples": job.case.samples}
        cache.note(_key(batch), took)


def fit(plan: Plan, seconds: Mapping[JobKey, float], budget_s: float) -> Plan:
    """Leave out corruptions, then samples, until the plan fits; what stays is chosen by hash.

    The same cells and samples are chosen for every target and variant, so that they stay comparable. What a
    suite needs to say anything at all (clean data, latency, reliability) is never left out.
    """
    if sum(seconds.values()) <= budget_s:
        return plan
    cells = sorted(
        {(case.name, case.severity) for batch in plan.batches for case in batch.cases if case.severity},
        key=lambda cell: hashlib.blake2b(f"{cell[0]} {cell[1]}".encode()).digest(),
    )
    fixed = sum(cost for key, cost in seconds.items() if not key.severity)
    per_cell = {
        cell: sum(cost for key, cost in seconds.items() if (key.case, key.severity) == cell) for cell in cells
    }
    kept, spent = set(), fixed
    for cell in cells:
        if spent + per_cell[cell] <= budget_s:
            kept.add(cell)
            spent += per_cell[cell]
    share_of_samples = 1.0
    if not kept and cells:
        # Not even one cell: fewer samples of everything that reads samples, then one cell.
        kept = {cells[0]}
        reading = sum(_cost(plan, seconds, lambda case: bool(case.data) and _stays(case, kept)))
        still = sum(_cost(plan, seconds, lambda case: not case.data))
        share_of_samples = max(0.0, min(1.0, (budget_s - still) / reading)) if reading else 1.0
    batches = []
    for batch in plan.batches:
        cases = tuple(_cut(case, share_of_samples) for case in batch.cases if _stays(case, kept))
        if cases:
            batches.append(replace(batch, cases=cases))
    before = sum(case.samples for batch in plan.batches for case in batch.cases)
    after = sum(case.samples for batch in batches for case in batch.cases)
    return Plan(tuple(batches), plan.skipped, after / before if before else 1.0)


def _stays(case: Case, kept: Iterable[tuple[str, int]]) -> bool:
    return not case.severity or (case.name, case.severity) in set(kept)


def _cut(case: Case, share: float) -> Case:
    """The first samples of the run's order, which is a hash order: any prefix is a fair sample."""
    if not case.data or share >= 1 or case.samples <= LEAST_SAMPLES or "keep" not in case.params:
        return case
    return replace(case, samples=max(LEAST_SAMPLES, int(case.samples * share)))


def _cost(plan: Plan, seconds: Mapping[JobKey, float], choose: object) -> Iterable[float]:
    assert callable(choose)
    return [seconds[job.key] for batch in plan.batches for job in batch.jobs if choose(job.case)]


def _key(batch: Batch) -> str:
    where = "reference" if batch.target == HOST else batch.target
    of = [where, batch.backend, batch.suite, batch.artifact.sha256]
    return key_of({"what": "cost", "of": of})


def _name(case: Case) -> str:
    return f"{case.setting} {case.name} {case.severity}"
