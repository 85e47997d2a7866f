"""Two sides timed in fresh processes, interleaved, until their ratio is decided or the time is used up.

A round is the palindrome base, new, control, control, new, base (the three take turns to be first), so that a
drift over time (heat, other programs) affects all three alike. The control is the base once more: a
difference between base and control is an effect of the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import WorkerError
from harness.core.executor import Executor
from harness.core.job import Batch, EnvironmentRecord, JobResult, Status
from harness.core.metric import Timed
from harness.core.verdict import State
from harness.stats import side_by_side
from harness.stats.disturbance import disturbance, overload
from harness.stats.latency import min_queries, percentile
from harness.stats.side_by_side import FEWEST, Look

#: The three series of processes.
SERIES = ("base", "new", "control")
#: How long one process is timed; in a run it is five times as long.
SECONDS = 0.2

Values = NDArray[np.float64]
Times = Mapping[str, list[NDArray[np.int64]]]


@dataclass(frozen=True, slots=True)
class Criterion:
    """What is to be decided.

    Parameters
    ----------
    metric : Timed
    limit : float
        Largest allowed ratio new / base, above 1.
    within_s : float
        No further rounds after this time.
    """

    metric: Timed
    limit: float = 1.05
    within_s: float = 120.0


@dataclass(frozen=True, slots=True)
class TimedSide:
    """One side: its name, where it runs, and what."""

    label: str
    executor: Executor
    batch: Batch

    def process_batch(self, case_name: str, index: int) -> Batch:
        """The batch of process number `index`: its worker measures by itself and starts no other process."""
        (case,) = (case for case in self.batch.cases if case.name == case_name)
        params = {
            **case.params, "index": index, "processes": 1, "seconds": SECONDS,
            "requests": -(-min_queries(0.99) // FEWEST),
        }  # fmt: skip
        return replace(self.batch, cases=(replace(case, params=params),))


@dataclass(slots=True)
class InterleavedTiming:
    """The measured times of both sides, and every look at them.

    Parameters
    ----------
    criterion : Criterion
    sides : tuple of TimedSide
        Base, new.
    times_ns : mapping of series to list of ndarray, shape (calls,), int64
        One array per process, in order of time.
    memory_byte : mapping of series to list of int
        Peak resident memory of the same processes.
    looks : list of Look
    disturbances : list of str
        Why processes were discarded and repeated: throttling, CPU steal, overload. The machine reports it,
        not the times, so that no side loses its slow processes.
    effective : mapping of series to mapping
        Provider, precision and threads in use.
    seconds : float
        How long all of it took.
    """

    criterion: Criterion
    sides: tuple[TimedSide, TimedSide]
    times_ns: dict[str, list[NDArray[np.int64]]] = field(
        default_factory=lambda: {series: [] for series in SERIES}
    )
    memory_byte: dict[str, list[int]] = field(default_factory=lambda: {series: [] for series in SERIES})
    looks: list[Look] = field(default_factory=list)
    disturbances: list[str] = field(default_factory=list)
    effective: dict[str, Mapping[str, str]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def mostly_disturbed(self) -> bool:
        """More processes were disturbed than not, so that the others cannot be called undisturbed."""
        return len(self.disturbances) > max(FEWEST, sum(map(len, self.times_ns.values())))

    @property
    def state(self) -> State:
        """State of the last look; INVALID where the machine was mostly disturbed."""
        return State.INVALID if self.mostly_disturbed else self.looks[-1].state


def percentiles(times_ns: Times, series: str, share: float) -> Values:
    """The percentile `share`, in (0, 1), of each process: shape (processes,), ns."""
    return np.array([percentile(times, share) for times in times_ns[series]], np.float64)


def look(times_ns: Times, criterion: Criterion, number: int) -> Look:
    """Judge the times so far; `number` counts the looks from 1."""
    parts = [
        percentiles(times_ns, series, criterion.metric.percentile) for series in ("base", "control", "new")
    ]
    return side_by_side.judge(*parts, limit=criterion.limit, look=number)


def interleave(
    criterion: Criterion, sides: tuple[TimedSide, TimedSide], notify: Callable[[str], None]
) -> InterleavedTiming:
    """Measure both sides until the criterion is decided or its time is used up.

    Parameters
    ----------
    criterion : Criterion
    sides : tuple of TimedSide
        Base, new.
    notify : callable
        Receives a line of progress after each look that decides nothing.

    Raises
    ------
    WorkerError
        A process ended in an error.
    """
    timing = InterleavedTiming(criterion, sides)
    began_s, round_number = time.monotonic(), 0
    while True:
        goal = FEWEST * 2 ** len(timing.looks)
        while len(timing.times_ns["base"]) < goal and not timing.mostly_disturbed:
            first = round_number % len(SERIES)
            order = SERIES[first:] + SERIES[:first]
            for series in (*order, *reversed(order)):
                while not timing.mostly_disturbed and not _time_process(timing, series):
                    pass
            round_number += 1
        timing.seconds = time.monotonic() - began_s
        if timing.mostly_disturbed:
            return timing
        timing.looks.append(look(timing.times_ns, criterion, len(timing.looks) + 1))
        # The next look needs as many processes again, which take as long as all so far.
        used_up = 2 * timing.seconds > criterion.within_s
        if timing.state is not State.INCONCLUSIVE or used_up:
            return timing
        notify(f"undecided after {goal} processes a side: {timing.looks[-1].why}; measuring {goal} more")


def _time_process(timing: InterleavedTiming, series: str) -> bool:
    """Time one fresh process; False if it was disturbed and has to be repeated."""
    side = timing.sides[series == "new"]
    before: Mapping[str, Any] = {}
    reasons: list[str] = []
    arrays: Mapping[str, NDArray[Any]] = {}
    for event in side.executor.run(
        [side.process_batch(timing.criterion.metric.case, len(timing.times_ns[series]))]
    ):
        if isinstance(event, EnvironmentRecord):
            if event.phase == "before":
                before = event.facts
            elif event.phase == "after":
                reasons += [reason.text for reason in disturbance(before, event.facts)]
            if (overloaded := overload(event.facts)) is not None:
                reasons.append(overloaded.text)
        elif isinstance(event, JobResult):
            if event.status is not Status.OK:
                raise WorkerError(f"{side.label} cannot be timed: {event.reason}", where=str(event.key))
            arrays, timing.effective[series] = event.samples.arrays, event.effective
    if "latency_ns" not in arrays:
        raise WorkerError(f"{side.label} cannot be timed: it returned no times", where=side.batch.target)
    if reasons:
        timing.disturbances.append(f"{side.label}: {'; '.join(reasons)}")
    else:
        timing.times_ns[series].append(arrays["latency_ns"])
        timing.memory_byte[series].append(int(arrays["memory_peak_byte"].max()))
    return not reasons
