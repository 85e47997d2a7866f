"""What part of a plan fits a budget, and when the budget ends."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.core.job import JobKey
from harness.core.plan import Plan
from harness.run.estimate import Lane, untimed, wall_s
from harness.run.plan import PlanInputs, make_plan, sizes

#: Fewer samples than this are not worth a case; a trial of a case reads as many.
LEAST_SAMPLES = 64
#: A case of this many samples that never ran is tried with ``LEAST_SAMPLES`` first.
TRIAL_FROM_SAMPLES = 8 * LEAST_SAMPLES
#: Samples are left out only where that saves a tenth of the time.
LEAST_SAVING = 1.1
#: Part of the time that is left which is planned; estimates are wrong both ways.
PLANNED_SHARE = 0.9
#: A job that runs at the end of the budget gets so much more of it to end.
GRACE_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Deadline:
    """The end of a budget.

    Parameters
    ----------
    budget_s : float
        Counted from the beginning of the preparation.
    clock : callable
        Seconds.
    began_s : float
        When the preparation began, on that clock.
    """

    budget_s: float
    clock: Callable[[], float] = time.monotonic
    began_s: float = field(default=-1.0)

    @classmethod
    def start(cls, budget_s: float, clock: Callable[[], float] = time.monotonic) -> Deadline:
        """A budget that begins now."""
        return cls(budget_s, clock, clock())

    def left_s(self) -> float:
        """Seconds that are left; 0 afterwards."""
        return max(0.0, self.began_s + self.budget_s - self.clock())

    @property
    def used_up(self) -> bool:
        """Whether nothing is left."""
        return self.left_s() <= 0

    def kill_s(self) -> float:
        """Seconds until a running job is ended, too."""
        return max(0.0, self.began_s + (1 + GRACE_SHARE) * self.budget_s - self.clock())


@dataclass(frozen=True, slots=True)
class Choice:
    """What of the data fits: cells of family and severity, and samples of each set."""

    cells: frozenset[tuple[str, int]]
    samples: int


def choose(
    plan: Plan,
    seconds: Mapping[JobKey, float],
    lanes: Sequence[Lane],
    left_s: float,
    *,
    done: Collection[JobKey] = (),
) -> Choice:
    """Leave out corruptions, then samples, until the plan fits; what stays is chosen by hash.

    The same cells and samples are chosen for every target and variant, so that they stay comparable, and a
    longer time keeps what a shorter one does. What a suite needs to say anything at all (clean data, latency,
    reliability) and the first cell are never left out.

    Parameters
    ----------
    plan : Plan
        With every cell.
    seconds : mapping of JobKey to float
        With the starts of the workers.
    lanes : sequence of Lane
    left_s : float
    done : collection of JobKey
        Already measured: their samples can no longer be left out.
    """
    cells = sorted(
        {(key.case, key.severity) for key in seconds if key.severity},
        key=lambda cell: hashlib.blake2b(f"{cell[0]} {cell[1]}".encode()).digest(),
    )
    todo = {key: s for key, s in seconds.items() if key not in done}
    beside_each_other = untimed(plan)

    def needed_s(chosen: Collection[tuple[str, int]], scale: Mapping[JobKey, float] | None = None) -> float:
        part = {
            key: s * (scale or {}).get(key, 1.0)
            for key, s in todo.items()
            if not key.severity or (key.case, key.severity) in chosen
        }
        return wall_s(part, lanes, beside_each_other)

    count = 0
    while count < len(cells) and needed_s(cells[: count + 1]) <= left_s:
        count += 1
    samples = {job.key: job.case.samples for batch in plan.batches for job in batch.jobs if job.case.data}
    most = max(samples.values(), default=0)
    if count or (not cells and needed_s(()) <= left_s) or done or most <= LEAST_SAMPLES:
        return Choice(frozenset(cells[: max(count, 1)]), most)

    # Not even one cell fits: one cell, and fewer samples of everything that reads them (a prefix of the
    # run's order, which is a hash order, is a fair sample).
    def needed_with_s(limit: int) -> float:
        return needed_s(cells[:1], {key: min(1.0, limit / n) for key, n in samples.items() if n})

    # Samples that cost next to nothing stay, even where the rest does not fit.
    enough_s = max(left_s, LEAST_SAVING * needed_with_s(LEAST_SAMPLES))
    low, high = LEAST_SAMPLES, most
    while low < high:
        middle = (low + high + 1) // 2
        if needed_with_s(middle) <= enough_s:
            low = middle
        else:
            high = middle - 1
    return Choice(frozenset(cells[:1]), low)


def restrict(inputs: PlanInputs, full: Plan, choice: Choice) -> Plan:
    """The plan of a choice; ``share`` is the part of the samples of the full plan."""
    inputs = replace(inputs, data=inputs.data.restrict(choice.cells, choice.samples))
    plan = make_plan(inputs)
    samples = sizes(inputs, full)["samples"]
    return replace(plan, share=sizes(inputs, plan)["samples"] / samples if samples else 1.0)
