"""Jobs that are stored in parts: what is left of an interrupted one, its whole result, its trends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from harness.core import unexpected
from harness.core.cause import Cause
from harness.core.errors import UsageError
from harness.core.job import CRASHES, Case, Event, Job, JobKey, JobResult, Part, Samples, Status, merge
from harness.core.plan import Plan
from harness.core.suite import Suite, SupportsParts
from harness.store.run_folder import Facts


class Parts:
    """The jobs of a plan that are stored in parts.

    Parameters
    ----------
    plan : Plan
    facts : Facts
        What is stored.
    suites : mapping of name to Suite
        At least those of such jobs.
    """

    def __init__(self, plan: Plan, facts: Facts, suites: Mapping[str, Suite]) -> None:
        self._jobs = {job.key: job for batch in plan.batches for job in batch.jobs if job.case.in_parts}
        self._suites = suites
        self._earlier: dict[JobKey, Samples] = {}
        self._current: dict[JobKey, list[Samples]] = {}
        for key in self._jobs:
            if (samples := _stored(facts, key)) is not None:
                self._earlier[key] = samples

    def done(self, results: Mapping[JobKey, JobResult]) -> set[JobKey]:
        """Jobs that need not run: a failed one that is stored in parts goes on."""
        return {
            key
            for key, result in results.items()
            if not (key in self._jobs and result.status is Status.ERROR)
        }

    def left(self, plan: Plan) -> Plan:
        """The plan with what is left of the jobs that began."""
        batches = [
            replace(batch, cases=tuple(self._rest(job) for job in batch.jobs)) for batch in plan.batches
        ]
        return replace(plan, batches=tuple(batches))

    def _rest(self, job: Job) -> Case:
        earlier = self._earlier.get(job.key)
        return job.case if earlier is None else self._suite(job).rest(job.case, earlier)

    def _suite(self, job: Job) -> SupportsParts:
        suite = self._suites[job.suite]
        if not isinstance(suite, SupportsParts):
            raise UsageError(
                f"the case {job.case.name} is stored in parts, and its suite cannot continue it",
                where=f"suite {job.suite}", next_step="give the suite the methods of SupportsParts",
            )  # fmt: skip
        return suite

    def add(self, part: Part) -> None:
        """Take in a part."""
        self._current.setdefault(part.key, []).append(part.samples)

    def lines(self, key: JobKey) -> list[str]:
        """What a job that runs says so far."""
        job = self._jobs[key]
        samples = merge([*self._before(key), *self._current.get(key, ())])
        return list(self._suite(job).progress(job.case, samples))

    def whole(self, result: Event) -> Event:
        """A result with the parts of earlier processes; one that does not fit them is an ERROR."""
        if not isinstance(result, JobResult):
            return result
        self._current.pop(result.key, None)
        try:
            return replace(result, samples=merge([*self._before(result.key), result.samples]))
        except (ValueError, TypeError) as error:
            return unexpected.result(result.key, "the parts of two processes do not fit each other", error)

    def _before(self, key: JobKey) -> list[Samples]:
        return [self._earlier[key]] if key in self._earlier else []


def so_far(facts: Facts, job: Job) -> JobResult | None:
    """The result of a job, with all parts of one that has not ended well; None where nothing is stored.

    What an interrupted job has measured is worth a look, although the job counts as not run.
    """
    result = facts.results.get(job.key)
    samples = _stored(facts, job.key) if job.case.in_parts else None
    if samples is None:
        return result
    return (
        JobResult(job.key, Status.OK, samples=samples) if result is None else replace(result, samples=samples)
    )


def _stored(facts: Facts, key: JobKey) -> Samples | None:
    """The parts of a job that has not ended well, over all of its processes."""
    failed = facts.results.get(key)
    stored = [failed.samples] if failed is not None and failed.status is Status.ERROR else []
    stored += [facts.parts[key]] if key in facts.parts else []
    return _with_crash(merge(stored), failed) if stored else None


def _with_crash(samples: Samples, failed: JobResult | None) -> Samples:
    """Note that a worker died: the job goes on, and what happened stays."""
    if failed is None or failed.cause is not Cause.WORKER_FAILED:
        return samples
    crashes = [*samples.values.get(CRASHES, ()), failed.reason]
    return replace(samples, values={**samples.values, CRASHES: crashes})
