"""What part of a plan fits a budget."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.core.job import JobKey
from harness.core.plan import Plan

#: Fewer samples than this are not worth a case.
LEAST_SAMPLES = 64


@dataclass(frozen=True, slots=True)
class Choice:
    """What of the data fits: cells of family and severity, and samples of each set."""

    cells: frozenset[tuple[str, int]]
    samples: int


def choose(plan: Plan, seconds: Mapping[JobKey, float], budget_s: float) -> Choice:
    """Leave out corruptions, then samples, until the plan fits; what stays is chosen by hash.

    The same cells and samples are chosen for every target and variant, so that they stay comparable. What a
    suite needs to say anything at all (clean data, latency, reliability) is never left out.
    """
    cells = sorted(
        {(key.case, key.severity) for key in seconds if key.severity},
        key=lambda cell: hashlib.blake2b(f"{cell[0]} {cell[1]}".encode()).digest(),
    )
    spent = sum(cost for key, cost in seconds.items() if not key.severity)
    kept = []
    for cell in cells:
        cost = sum(cost for key, cost in seconds.items() if (key.case, key.severity) == cell)
        if spent + cost <= budget_s:
            kept.append(cell)
            spent += cost
    most = max((case.samples for batch in plan.batches for case in batch.cases), default=0)
    if kept or not cells:
        return Choice(frozenset(kept), most)
    # Not even one cell fits: one cell, and fewer samples of everything that reads them (a prefix of the
    # run's order, which is a hash order, is a fair sample).
    jobs = [job for batch in plan.batches for job in batch.jobs]
    reading = sum(seconds[job.key] for job in jobs if job.case.data and _is_in(job.key, cells[:1]))
    still = sum(seconds[job.key] for job in jobs if not job.case.data)
    share = max(0.0, min(1.0, (budget_s - still) / reading)) if reading else 1.0
    return Choice(frozenset(cells[:1]), max(LEAST_SAMPLES, int(most * share)))


def _is_in(key: JobKey, cells: Iterable[tuple[str, int]]) -> bool:
    return not key.severity or (key.case, key.severity) in cells
