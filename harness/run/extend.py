"""Cases that are measured again, because a gate that looks at them is undecided.

Every round measures as much again as all before it, and its samples join those that are there. Look k at them
takes ``alpha / 2^k`` (`harness.stats.side_by_side.level`), so that all looks together err at most as often as
one would.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from harness.core import unexpected
from harness.core.job import LOOKS, Batch, Job, JobKey, JobResult, Status, looks_of, merge
from harness.core.suite import Suite, SupportsRounds
from harness.core.untrusted import is_count
from harness.core.verdict import Gate, State, Verdict


def undecided(
    batches: Iterable[Batch],
    gates: Sequence[Gate],
    verdicts: Iterable[Verdict],
    suites: Mapping[str, Suite],
    results: Mapping[JobKey, JobResult],
) -> list[Batch]:
    """What would be measured again: batches with the cases whose gates are undecided.

    Parameters
    ----------
    results : mapping of JobKey to JobResult
        The results so far; a case that did not end with OK is not measured again.
    """
    gates_by_name = {gate.name: gate for gate in gates if not gate.design}
    open_gates = [
        (verdict, gates_by_name[verdict.gate].on(verdict.target))
        for verdict in verdicts
        if verdict.state is State.INCONCLUSIVE and verdict.gate in gates_by_name
    ]
    extended = []
    for batch in batches:
        suite = suites[batch.suite]
        subject = (batch.target, batch.backend, batch.variant)
        looking = [gate for v, gate in open_gates if (v.target, v.backend, v.variant) == subject]
        if isinstance(suite, SupportsRounds):
            cases = [
                suite.again(job.case, looks_of(results[job.key].samples))
                for job in batch.jobs
                if any(gate.looks_at_job(job.key) for gate in looking)
                and job.key in results
                and results[job.key].status is Status.OK
                and is_count(results[job.key].samples.values.get(LOOKS, 1))  # a device may have sent anything
            ]
            if cases:
                extended.append(replace(batch, cases=tuple(cases)))
    return extended


def joined(before: JobResult, more: JobResult) -> JobResult:
    """Join two results of a case for one more look; a round that failed or does not fit is the result."""
    if more.status is not Status.OK:
        return more
    try:
        samples = merge([before.samples, more.samples])
    except (ValueError, TypeError) as error:
        return unexpected.result(more.key, "the samples of a further round do not fit the others", error)
    values = {**samples.values, LOOKS: looks_of(before.samples) + 1}
    return replace(
        before, samples=replace(samples, values=values), duration_ns=before.duration_ns + more.duration_ns,
        host_ns=before.host_ns + more.host_ns if before.host_ns and more.host_ns else 0,
    )  # fmt: skip


def seconds(batches: Iterable[Batch], results: Mapping[JobKey, JobResult]) -> float:
    """How long the next round takes: as long as all before it."""
    jobs: list[Job] = [job for batch in batches for job in batch.jobs]
    return sum(results[job.key].duration_ns for job in jobs) / 1e9
