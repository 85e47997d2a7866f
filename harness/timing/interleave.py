"""Two versions interleaved in fresh processes, until the ratio is decided or the time is spent.

A round is the palindrome base, new, control, control, new, base (the three begin by turns), so that whatever
rises or falls in time, heat or a neighbour, meets all three alike. The control is the base once more: what
differs there is the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.contracts import Executor
from harness.core.errors import WorkerError
from harness.core.job import Batch, EnvironmentRecord, JobResult, Status
from harness.core.metric import SINGLE_STREAM, TIMED
from harness.core.verdict import State
from harness.stats import side_by_side
from harness.stats.disturbance import disturbance, overload
from harness.stats.latency import min_queries, percentile
from harness.stats.side_by_side import FEWEST, Look

ARMS = ("base", "new", "control")
#: Each process is timed for so long; five are, in a run.
SECONDS = 0.2

Values = NDArray[np.float64]
Times = Mapping[str, list[NDArray[np.int64]]]


@dataclass(frozen=True, slots=True)
class Demand:
    """What is to be decided.

    Parameters
    ----------
    metric : str
        One of ``harness.core.metric.TIMED``.
    limit : float
        Largest allowed ratio new / base, above 1.
    within_s : float
        No further rounds after so long.
    """

    metric: str = "latency_p50"
    limit: float = 1.05
    within_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Arm:
    """One side: where it runs and what."""

    label: str
    executor: Executor
    batch: Batch

    def once(self, index: int) -> Batch:
        """The batch of one fresh process, which measures in itself."""
        (case,) = (case for case in self.batch.cases if case.name == SINGLE_STREAM)
        params = {
            **case.params, "index": index, "processes": 1, "seconds": SECONDS,
            "requests": -(-min_queries(0.99) // FEWEST),
        }  # fmt: skip
        return replace(self.batch, cases=(replace(case, params=params),))


@dataclass(slots=True)
class Interleaved:
    """What was measured, and each look at it.

    Parameters
    ----------
    times_ns : mapping of arm to list of ndarray, shape (calls,), int64
        One array a process, in order of time.
    memory_byte : mapping of arm to list of int
        Peak resident memory of the same processes.
    looks : list of Look
    disturbed : list of str
        Why processes were set aside and begun again: throttling, stolen time, no core. The machine says so,
        not the times, so that no side loses its slow ones.
    """

    demand: Demand
    arms: tuple[Arm, Arm]
    times_ns: dict[str, list[NDArray[np.int64]]] = field(default_factory=lambda: {arm: [] for arm in ARMS})
    memory_byte: dict[str, list[int]] = field(default_factory=lambda: {arm: [] for arm in ARMS})
    looks: list[Look] = field(default_factory=list)
    disturbed: list[str] = field(default_factory=list)
    effective: dict[str, Mapping[str, str]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def hopeless(self) -> bool:
        """More processes were disturbed than not: what is left cannot be called undisturbed."""
        return len(self.disturbed) > max(FEWEST, sum(map(len, self.times_ns.values())))

    @property
    def state(self) -> State:
        """The last look's answer; INVALID where the machine was disturbed too often."""
        return State.INVALID if self.hopeless else self.looks[-1].state


def figures(times_ns: Times, arm: str, metric: str) -> Values:
    """One percentile a process, in ns."""
    return np.array([percentile(times, TIMED[metric]) for times in times_ns[arm]], np.float64)


def look(times_ns: Times, demand: Demand, number: int) -> Look:
    """Look number `number`, counted from 1, at what was measured so far."""
    parts = [figures(times_ns, arm, demand.metric) for arm in ("base", "control", "new")]
    return side_by_side.judge(*parts, limit=demand.limit, look=number)


def interleave(demand: Demand, arms: tuple[Arm, Arm], told: Callable[[str], None]) -> Interleaved:
    """Measure both sides until the metric is decided, or the time is spent.

    Raises
    ------
    WorkerError
        A process ended in an error.
    """
    found = Interleaved(demand, arms)
    began, rounds = time.monotonic(), 0
    while True:
        goal = FEWEST * 2 ** len(found.looks)
        while len(found.times_ns["base"]) < goal and not found.hopeless:
            turn = rounds % len(ARMS)
            order = ARMS[turn:] + ARMS[:turn]
            for arm in (*order, *reversed(order)):
                while not found.hopeless and not _once(found, arm):
                    pass
            rounds += 1
        found.seconds = time.monotonic() - began
        if found.hopeless:
            return found
        found.looks.append(look(found.times_ns, demand, len(found.looks) + 1))
        # Twice as many processes take as long again as all so far.
        spent = 2 * found.seconds > demand.within_s
        if found.state is not State.INCONCLUSIVE or spent:
            return found
        told(f"{goal} processes a side, undecided: {found.looks[-1].why}; {goal} more")


def _once(found: Interleaved, name: str) -> bool:
    """Measure in one fresh process; whether its times count."""
    arm = found.arms[name == "new"]
    before: Mapping[str, Any] = {}
    reasons: list[str] = []
    arrays: Mapping[str, NDArray[Any]] = {}
    for event in arm.executor.run([arm.once(len(found.times_ns[name]))]):
        if isinstance(event, EnvironmentRecord):
            if event.phase == "before":
                before = event.facts
            elif event.phase == "after" and (why := disturbance(before, event.facts)):
                reasons.append(why)
            if why := overload(event.facts):
                reasons.append(why)
        elif isinstance(event, JobResult):
            if event.status is not Status.OK:
                raise WorkerError(f"{arm.label} cannot be timed: {event.reason}", where=str(event.key))
            arrays, found.effective[name] = event.samples.arrays, event.effective
    if "latency_ns" not in arrays:
        raise WorkerError(f"{arm.label} said nothing of its times", where=arm.batch.target)
    if reasons:
        found.disturbed.append(f"{arm.label}: {'; '.join(reasons)}")
    else:
        found.times_ns[name].append(arrays["latency_ns"])
        found.memory_byte[name].append(int(arrays["memory_peak_byte"].max()))
    return not reasons
