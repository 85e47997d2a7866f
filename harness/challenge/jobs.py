"""Which jobs can see a fault, those first that say so, then the shortest. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.challenge.limits import Limit
from harness.core.job import Batch, Case, Job, JobKey
from harness.core.metric import Declared, Metric, Noise, Role
from harness.core.verdict import GATE, matches
from harness.testing.faults import Fault, Kind

#: A job of a challenge takes at most so long, and so many times what it took without a fault.
DEADLINE_S, DEADLINE_FACTOR = 10.0, 10.0
#: Starting a worker takes about half of it.
SHORT_S = 1.0
#: What a fault of time or memory changes first.
TIMED_ROLES = (Role.LATENCY, Role.TAIL, Role.MEMORY)
_TIMED = (Kind.TIME, Kind.MEMORY)
_RESOURCES = ("ns", "byte", "1/s")


@dataclass(frozen=True, slots=True)
class _Tier:
    """Jobs of some variants that are run before those of the next tier."""

    variants: Sequence[str]
    chooses: Callable[[Job], bool]
    shifted: bool = False

    def has(self, job: Job) -> bool:
        """Whether a job belongs to it."""
        return job.variant in self.variants and bool(job.case.severity) == self.shifted and self.chooses(job)


@dataclass(frozen=True, slots=True)
class Work:
    """The jobs of a target, and what is known of them from the healthy run.

    Parameters
    ----------
    batches : tuple of Batch
    limits : tuple of Limit
    metrics : Declared
    seconds : mapping of JobKey to float
        How long each job took.
    judged : mapping of key of a Limit to frozenset of JobKey
        The jobs whose rows it is judged by.
    """

    batches: tuple[Batch, ...]
    limits: tuple[Limit, ...]
    metrics: Declared
    seconds: Mapping[JobKey, float]
    judged: Mapping[tuple[str, ...], frozenset[JobKey]]

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants; the one with most limits first."""
        names = tuple(dict.fromkeys(batch.variant for batch in self.batches))
        counts = {name: sum(limit.variant == name for limit in self.limits) for name in names}
        return tuple(sorted(names, key=lambda name: -counts[name]))

    @property
    def decisive(self) -> frozenset[JobKey]:
        """The jobs that any limit is judged by."""
        return frozenset().union(*self.judged.values())

    def steps(self, fault: Fault, *, quick: bool) -> list[Batch]:
        """The jobs that can see a fault, in the order in which they are run until one does.

        First the jobs of the checks that declare the fault, then those of all gates and checks, of other
        variants only where other gates judge them; then those whose ERROR would block, and at last shifted
        copies of the data where gates look at nothing else. A quick challenge has one variant and the first
        two of these.
        """
        first, *others = self.variants
        limits = [limit for limit in self.limits if self.is_credible(limit, fault)]
        names = {(limit.kind, limit.gate.name) for limit in limits if limit.variant == first}
        declared = self._jobs(limit for limit in limits if fault.name in limit.faults)
        here = self._jobs(limit for limit in limits if limit.variant == first)
        elsewhere = self._jobs(limit for limit in limits if (limit.kind, limit.gate.name) not in names)

        def is_declared(job: Job) -> bool:
            return job.key in declared

        def is_judged(job: Job) -> bool:
            return self._is_of_kind(job, fault) and (job.key in here or self._is_timed(job, fault))

        tiers = [_Tier((first,), is_declared)]
        if not quick:
            tiers.append(_Tier(others, is_declared))
        tiers.append(_Tier((first,), is_judged))
        if not quick:
            tiers.append(_Tier(others, lambda job: self._is_of_kind(job, fault) and job.key in elsewhere))
            if fault.kind not in (*_TIMED, Kind.NUMERIC, Kind.CLAIM):
                tiers.append(_Tier((first,), lambda _: True))
            if fault.kind is Kind.NUMERIC:
                tiers.append(_Tier((first, *others), lambda job: job.key in self._only_shifted, shifted=True))
        steps: list[Batch] = []
        used: set[JobKey] = set()
        for tier in tiers:
            steps += sorted(
                self._parts(tier, used), key=lambda batch: sum(self._seconds(job) for job in batch.jobs)
            )
        return steps

    def _jobs(self, limits: Iterable[Limit]) -> set[JobKey]:
        return {key for limit in limits for key in self.judged[limit.key]}

    def is_credible(self, limit: Limit, fault: Fault) -> bool:
        """Whether it can show a fault.

        What varies from run to run would be credited with faults that it does not see: of such limits, gates
        show faults of time and memory, and checks those that they declare.
        """
        if fault.name in limit.faults or not self.is_noisy(limit):
            return True
        return fault.kind in _TIMED and limit.kind == GATE

    def is_noisy(self, limit: Limit) -> bool:
        """Whether its metric varies from run to run."""
        metric = self.metrics.find(limit.gate.suite, limit.gate.metric)
        return metric is not None and metric.noise is Noise.RUNS

    @property
    def _only_shifted(self) -> set[JobKey]:
        """The jobs of limits that look at shifted data alone."""
        return {
            key for keys in self.judged.values() if keys and all(key.severity for key in keys) for key in keys
        }

    def _parts(self, tier: _Tier, used: set[JobKey]) -> list[Batch]:
        """The jobs of a tier that no tier before it has; they are added to `used`.

        A long job is a part by itself: a shorter one may see the fault.
        """
        parts: list[Batch] = []
        for batch in self.batches:
            jobs = [job for job in batch.jobs if job.key not in used and tier.has(job)]
            used |= {job.key for job in jobs}
            short = [job for job in jobs if self._seconds(job) <= SHORT_S]
            alone = [[job] for job in jobs if job not in short]
            parts += [
                replace(batch, cases=tuple(self._bounded(job) for job in some))
                for some in (short, *alone)
                if some
            ]
        return parts

    def _bounded(self, job: Job) -> Case:
        longest_s = DEADLINE_S + DEADLINE_FACTOR * self._seconds(job)
        return replace(job.case, deadline_s=min(job.case.deadline_s, longest_s))

    def _seconds(self, job: Job) -> float:
        return self.seconds.get(job.key, 0.0)

    def _is_timed(self, job: Job, fault: Fault) -> bool:
        metrics = self.metrics.suites.get(job.suite, {}).values()
        return fault.kind in _TIMED and any(
            metric.case == job.case.name and metric.role in TIMED_ROLES for metric in metrics
        )

    def _is_of_kind(self, job: Job, fault: Fault) -> bool:
        """Whether the suite measures what such a fault changes."""
        metrics = self.metrics.suites.get(job.suite, {}).values()
        if fault.kind in _TIMED:
            return any(_is_resource(metric) for metric in metrics)
        if fault.kind in (Kind.NUMERIC, Kind.CLAIM):
            return any(not _is_resource(metric) and metric.better is not None for metric in metrics)
        return True


def _is_resource(metric: Metric) -> bool:
    """Whether it is a time, a rate or a size."""
    return metric.noise is Noise.RUNS or any(metric.unit.startswith(unit) for unit in _RESOURCES)


def chosen(faults: Sequence[Fault], names: Sequence[str], *, quick: bool) -> list[Fault]:
    """The faults to plant: the named ones (shell patterns), else all, or the quick ones."""
    if names:
        return [fault for fault in faults if matches(fault.name, names)]
    return [fault for fault in faults if fault.quick or not quick]
