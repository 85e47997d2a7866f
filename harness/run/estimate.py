"""How long the jobs of a plan take.

Estimates come from what the same jobs took before on this machine, stored in the cache. A job that never ran
takes what its suite says that it typically does. Both are corrected while jobs end.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from harness.core.artifact import Artifact
from harness.core.job import Batch, Case, JobKey, JobResult, Status
from harness.core.plan import HOST, Plan
from harness.store.cache import Cache, key_of
from harness.store.run_folder import Facts

#: Seconds of a case that never ran, and whose suite does not say how long it takes.
OTHER_GUESS_S = 1.0
#: Starting the worker of a batch: a process and a runtime.
START_S = 0.6
EMULATED_START_S = 6.0
#: The estimate of the whole duration changes by at most this factor when a job ends.
LARGEST_STEP = 1.5
#: Weight of the wider kind of jobs against measured jobs of the nearer kind: variants differ by a factor of
#: three, and one job from the next of its kind by a few tenths.
PRIOR_JOBS = 0.1


@dataclass(frozen=True, slots=True)
class Estimates:
    """Seconds that each job will take.

    Parameters
    ----------
    seconds : mapping of JobKey to float
        Without the start of the worker.
    starts_s : mapping of JobKey to float
        The start of the worker, of the first job of each batch.
    guessed : frozenset of JobKey
        Jobs that never ran on this machine.
    fixed : frozenset of JobKey
        Jobs that take the time that their suite says, however slow the machine is.
    """

    seconds: Mapping[JobKey, float]
    starts_s: Mapping[JobKey, float]
    guessed: frozenset[JobKey] = frozenset()
    fixed: frozenset[JobKey] = frozenset()

    def with_starts(self) -> dict[JobKey, float]:
        """Seconds of each job, with the start of its worker."""
        return {key: s + self.starts_s.get(key, 0.0) for key, s in self.seconds.items()}


#: What runs one after the other: targets, and how many batches of each run at once.
Lane = Mapping[str, int]
#: Processors that this process may use: so many targets of a lane run what is not timed at once.
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def wall_s(
    seconds: Mapping[JobKey, float], lanes: Sequence[Lane], untimed: Collection[JobKey] = frozenset()
) -> float:
    """How long jobs take of which each needs so many seconds, when all lanes run in parallel.

    A target that runs several batches at once takes as long as the longest of them at least. Targets of one
    lane run one after the other, but for their `untimed` jobs, which share the cores of this machine.
    """
    batches_s: dict[tuple[str, bool], dict[tuple[str, ...], float]] = {}
    at_once = {name: n for lane in lanes if len(lane) > 1 for name, n in lane.items()}
    for key, job_s in seconds.items():
        is_shared = key in untimed and at_once.get(key.target) == 1
        batches = batches_s.setdefault((key.target, is_shared), {})
        batch = (key.backend, key.variant, key.suite)
        batches[batch] = batches.get(batch, 0.0) + job_s

    def target_s(name: str, at_once: int, *, shared: bool) -> float:
        batches = batches_s.get((name, shared), {}).values()
        return max(sum(batches) / at_once, max(batches, default=0.0))

    def lane_s(lane: Lane) -> float:
        shared_s = [target_s(name, 1, shared=True) for name in lane]
        together_s = max(sum(shared_s) / CORES, max(shared_s, default=0.0))
        return together_s + sum(target_s(name, n, shared=False) for name, n in lane.items())

    return max(map(lane_s, lanes), default=0.0)


def untimed(plan: Plan) -> frozenset[JobKey]:
    """Return the jobs of a plan of which nothing is timed."""
    return frozenset(job.key for batch in plan.batches for job in batch.jobs if not job.case.timed)


def estimate(plan: Plan, cache: Cache, emulated: Collection[str] = ()) -> Estimates:
    """Look up what the jobs took before, and guess the others.

    Parameters
    ----------
    plan : Plan
    cache : Cache
    emulated : collection of str
        Targets that are emulated, where everything takes longer.
    """
    seconds: dict[JobKey, float] = {}
    starts_s: dict[JobKey, float] = {}
    guessed = set()
    calls_s = _calls_s(plan, cache)
    for batch in plan.batches:
        is_emulated = batch.target in emulated
        previous = cache.recall(_key(batch)) or {}
        for index, job in enumerate(batch.jobs):
            took = previous.get(_name(job.case))
            if job.case.in_parts:  # its suite says for how long
                cost_s = job.case.typical_s
            elif took is not None:
                cost_s = took["s"] * (job.case.samples / took["samples"] if took["samples"] else 1.0)
            else:
                cost_s = job.case.typical_s or OTHER_GUESS_S
                if not is_emulated and not job.case.timed:
                    calls = job.case.samples * (2 if job.case.beside else 1)
                    cost_s = max(cost_s, calls * calls_s[batch.backend, batch.artifact.sha256])
                guessed.add(job.key)
            seconds[job.key] = cost_s
            if index == 0:
                starts_s[job.key] = EMULATED_START_S if is_emulated else START_S
    fixed = frozenset(job.key for batch in plan.batches for job in batch.jobs if job.case.in_parts)
    return Estimates(seconds, starts_s, frozenset(guessed), fixed)


def note_call(cache: Cache, artifact: Artifact, backend: str, call_s: float) -> None:
    """Remember what a call with one sample takes on this machine."""
    cache.note(_call_key(artifact, backend), {"s": call_s})


def _call_key(artifact: Artifact, backend: str) -> str:
    return key_of({"what": "call", "of": artifact.sha256, "backend": backend})


def _calls_s(plan: Plan, cache: Cache) -> dict[tuple[str, str], float]:
    """Seconds of a call by backend and file; of a file that never ran, the longest of another one."""
    records = {
        (batch.backend, batch.artifact.sha256): cache.recall(_call_key(batch.artifact, batch.backend))
        for batch in plan.batches
    }
    measured = {where: float(record["s"]) for where, record in records.items() if record is not None}
    longest = max(measured.values(), default=0.0)
    of_backend = {
        name: max((s for (other, _), s in measured.items() if other == name), default=longest)
        for name, _ in records
    }
    return {where: measured.get(where, of_backend[where[0]]) for where in records}


class Remaining:
    """The jobs that are left of a run, and how long they take.

    The estimates of one suite, variant and target are wrong by a common factor: the model is larger than the
    bundled one, the machine is busier than it was. The factor of a job is learned from the jobs that ended,
    of three kinds: the same suite on any target of the same sort (emulated or not), on the same target, and
    of the same variant. Each kind starts from the factor of the wider one, which counts as ``PRIOR_JOBS``
    measured jobs (a geometric mean). However wrong the first estimates were, the estimate of the whole
    duration moves by ``LARGEST_STEP`` at most from one job to the next.

    Parameters
    ----------
    plan : Plan
    estimates : Estimates
    lanes : sequence of Lane
    emulated : collection of str
    limit_s : float, optional
        The run is stopped after this time: no estimate exceeds it.
    clock : callable
        Seconds.
    """

    def __init__(
        self,
        plan: Plan,
        estimates: Estimates,
        lanes: Sequence[Lane],
        *,
        emulated: Collection[str] = (),
        limit_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lanes, self._emulated, self._clock = lanes, frozenset(emulated), clock
        self._limit_s, self.began_s = limit_s, clock()
        self._measured: dict[tuple[object, ...], tuple[float, float, int]] = {}  # took_s, expected_s, jobs
        self.replace(plan, estimates, is_first=True)

    def replace(self, plan: Plan, estimates: Estimates, *, is_first: bool = False) -> None:
        """Take another plan for the jobs that are left; what was learned stays.

        The estimate of the whole duration follows with the jobs that end, unless it is the first one shown.
        """
        keys = {job.key for batch in plan.batches for job in batch.jobs}
        self._untimed = untimed(plan)
        self._expected_s = {key: s for key, s in estimates.seconds.items() if key in keys}
        self._left = estimates
        if is_first:
            self._total_s = self._whole_s()

    def end(self, result: JobResult) -> None:
        """Remove a job that ended; one that was measured corrects the estimates of the others."""
        expected_s = self._expected_s.pop(result.key, 0.0)
        if result.status is Status.OK and result.key not in self._left.fixed:
            self.learn(self._left, result.key, expected_s, result.duration_ns / 1e9)
        low_s, high_s = self._total_s / LARGEST_STEP, self._total_s * LARGEST_STEP
        self._total_s = min(max(self._whole_s(), low_s), high_s)

    def learn(self, estimates: Estimates, key: JobKey, expected_s: float, took_s: float) -> None:
        """Correct the estimates of the jobs that are like one that was measured."""
        if expected_s <= 0 or took_s <= 0:
            return
        for kind in self._kinds(key, estimates):
            took, expected, jobs = self._measured.get(kind, (0.0, 0.0, 0))
            self._measured[kind] = took + took_s, expected + expected_s, jobs + 1

    def seconds(self) -> dict[JobKey, float]:
        """Of each job that has not ended, the start of its worker included."""
        return {key: s for key, s in self.corrected(self._left).items() if key in self._expected_s}

    def corrected(self, estimates: Estimates) -> dict[JobKey, float]:
        """Seconds of each job of other estimates, with the learned factors and the starts of the workers."""
        return {
            key: s * self._factor(key, estimates) + estimates.starts_s.get(key, 0.0)
            for key, s in estimates.seconds.items()
        }

    def left_s(self) -> float:
        """How long the run still takes."""
        if not self._expected_s:
            return 0.0
        elapsed_s = self._elapsed_s()
        left_s = max(0.0, self._total_s - elapsed_s)
        return left_s if self._limit_s is None else min(left_s, max(0.0, self._limit_s - elapsed_s))

    def _factor(self, key: JobKey, estimates: Estimates) -> float:
        """By how much a job takes longer than estimated, from the jobs that ended."""
        if key in estimates.fixed:
            return 1.0
        log_factor = 0.0
        for kind in self._kinds(key, estimates):
            took_s, expected_s, jobs = self._measured.get(kind, (1.0, 1.0, 0))
            log_factor = (PRIOR_JOBS * log_factor + jobs * math.log(took_s / expected_s)) / (
                PRIOR_JOBS + jobs
            )
        return math.exp(log_factor)

    def _kinds(self, key: JobKey, estimates: Estimates) -> tuple[tuple[object, ...], ...]:
        """The kinds of jobs that share a factor with `key`, the widest first."""
        suite = (key.suite, key in estimates.guessed)
        sort = (*suite, key.target in self._emulated)
        target = (*sort, key.target, key.backend)
        return sort, target, (*target, key.variant)

    def _whole_s(self) -> float:
        return self._elapsed_s() + wall_s(self.seconds(), self._lanes, self._untimed)

    def _elapsed_s(self) -> float:
        return self._clock() - self.began_s


def remember(facts: Facts, cache: Cache) -> None:
    """Store what the jobs of a run took."""
    for batch in facts.plan.batches:
        took = dict(cache.recall(_key(batch)) or {})
        for job in batch.jobs:
            result = facts.results.get(job.key)
            if result is not None and result.duration_ns:
                took[_name(job.case)] = {"s": result.duration_ns / 1e9, "samples": job.case.samples}
        cache.note(_key(batch), took)


def _key(batch: Batch) -> str:
    where = "reference" if batch.target == HOST else batch.target
    return key_of({"what": "cost", "of": [where, batch.backend, batch.suite, batch.artifact.sha256]})


def _name(case: Case) -> str:
    return f"{case.setting} {case.name} {case.severity}"
