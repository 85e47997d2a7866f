"""How long the jobs of a plan take.

Estimates come from what the same jobs took before on this machine, kept in the cache; a job that was never
run is guessed from its suite.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.core.job import Batch, Case, JobKey, JobResult, Status
from harness.core.plan import HOST, Plan
from harness.store.cache import Cache, key_of
from harness.store.run_folder import Facts

#: Seconds of a case that was never run: a constant and a part for each sample.
GUESS_S = {"performance": (3.4, 0.0), "accuracy": (0.02, 1e-4), "reliability": (0.25, 0.0)}
OTHER_GUESS_S = (1.0, 0.0)
#: The same of the bundled model on an emulated Pi 4 (facts: 4 m 20 s in all, two batches at once).
EMULATED_GUESS_S = {"performance": (1.0, 0.0), "accuracy": (0.2, 0.02), "reliability": (5.0, 0.0)}
#: A batch starts a process and loads a runtime.
START_S = 0.6


@dataclass(frozen=True, slots=True)
class Estimates:
    """Seconds each job will take, starts included, and which of them were never measured here."""

    seconds: Mapping[JobKey, float]
    guessed: frozenset[JobKey] = frozenset()


#: What runs one after the other: by target, how many of its batches run at once.
Lane = Mapping[str, int]


def wall_s(seconds: Mapping[JobKey, float], lanes: Iterable[Lane]) -> float:
    """How long jobs take that need so many seconds each: lanes run beside each other."""
    by_target: dict[str, float] = {}
    for key, each in seconds.items():
        by_target[key.target] = by_target.get(key.target, 0.0) + each
    return max((sum(by_target.get(name, 0.0) / n for name, n in lane.items()) for lane in lanes), default=0.0)


def estimate(plan: Plan, cache: Cache, emulated: Collection[str] = ()) -> Estimates:
    """Look up what the jobs took, and guess the others; on targets that are emulated they take longer."""
    seconds: dict[JobKey, float] = {}
    guessed = set()
    for batch in plan.batches:
        known = cache.recall(_key(batch)) or {}
        for index, job in enumerate(batch.jobs):
            took = known.get(_name(job.case))
            if took is not None:
                cost = took["s"] * (job.case.samples / took["samples"] if took["samples"] else 1.0)
            else:
                guesses = EMULATED_GUESS_S if batch.target in emulated else GUESS_S
                constant, each = guesses.get(batch.suite, OTHER_GUESS_S)
                cost = constant + each * job.case.samples
                guessed.add(job.key)
            seconds[job.key] = cost + (START_S if index == 0 else 0.0)
    return Estimates(seconds, frozenset(guessed))


class Remaining:
    """The seconds that are left of a run, corrected by what its jobs have taken so far.

    Guesses of one suite and variant on one target are wrong by the same factor, and so is what was remembered
    of it (the machine is busier than it was), but not by that of the guesses: they learn apart. Under
    emulation float takes several times as long as int8. Before the first job of its kind has ended, a guess
    takes the factor of the other variants there, then that of its suite on the targets that were before.

    Parameters
    ----------
    plan : Plan
    estimates : Estimates
    lanes : sequence of Lane
        What runs beside each other.
    """

    def __init__(self, plan: Plan, estimates: Estimates, lanes: Sequence[Lane]) -> None:
        self._lanes = lanes
        starts = {batch.jobs[0].key for batch in plan.batches if batch.cases}
        self._start_s = {key: START_S if key in starts else 0.0 for key in estimates.seconds}
        self._expected_s = {key: s - self._start_s[key] for key, s in estimates.seconds.items()}
        self._guessed = estimates.guessed
        self._took: dict[tuple[object, ...], tuple[float, float]] = {}

    def end(self, result: JobResult) -> None:
        """Strike out a job that has ended; only one that was measured says how long others take."""
        expected_s = self._expected_s.pop(result.key, 0.0)
        if result.status is not Status.OK or expected_s <= 0:
            return
        for kind in self._kinds(result.key):
            took_s, of_s = self._took.get(kind, (0.0, 0.0))
            self._took[kind] = took_s + result.duration_ns / 1e9, of_s + expected_s

    def seconds(self) -> dict[JobKey, float]:
        """Of each job that has not ended, its start included."""
        return {key: self._start_s[key] + s * self._factor(key) for key, s in self._expected_s.items()}

    def left_s(self) -> float:
        """How long the run still takes."""
        return wall_s(self.seconds(), self._lanes)

    def _factor(self, key: JobKey) -> float:
        took_s, of_s = next((self._took[kind] for kind in self._kinds(key) if kind in self._took), (1.0, 1.0))
        return took_s / of_s

    def _kinds(self, key: JobKey) -> tuple[tuple[object, ...], ...]:
        """What jobs the factor of `key` is shared with: the nearest first."""
        whole = (key.suite, key in self._guessed)
        here = (key.target, key.backend, *whole)
        return (key.variant, *here), here, whole


def remember(facts: Facts, cache: Cache) -> None:
    """Keep what the jobs of a run took."""
    for batch in facts.plan.batches:
        took = dict(cache.recall(_key(batch)) or {})
        for job in batch.jobs:
            result = facts.results.get(job.key)
            if result is not None and result.duration_ns:
                took[_name(job.case)] = {"s": result.duration_ns / 1e9, "samples": job.case.samples}
        cache.note(_key(batch), took)


def _key(batch: Batch) -> str:
    where = "reference" if batch.target == HOST else batch.target
    of = [where, batch.backend, batch.suite, batch.artifact.sha256]
    return key_of({"what": "cost", "of": of})


def _name(case: Case) -> str:
    return f"{case.setting} {case.name} {case.severity}"
