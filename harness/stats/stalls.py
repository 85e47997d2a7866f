"""Calls that stalled, and whether the machine or the backend kept them.

A call is a stall if it takes longer than ten typical calls, and longer than one by a millisecond. It is
explained where the kernel's counters say that the process waited for a core, lost it to another guest or
waited for a disk for at least half of the time that was too long. Only what is left is the backend's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.stats.intervals import Interval, clopper_pearson

#: A stall takes longer than so many typical calls, and longer than one by so much.
FACTOR, LEAST_NS = 10, 1_000_000
#: Stalls with at most so many calls between them are one burst.
BURST_CALLS = 10
#: A share of what was too long that the machine has to explain.
EXPLAINED = 0.5

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Stalls:
    """What the calls of several processes say.

    Attributes
    ----------
    share : Interval
        Of calls that stalled, by Clopper and Pearson; its n counts calls.
    unexplained : int
        Stalls that the kernel's counters do not explain.
    unexplained_at_least : float
        Lower bound of their share, without the process that has most of them: one disturbed process proves
        nothing.
    bursts : int
    longest_ns : int
        Of the unexplained ones, else of all; 0 without stalls.
    processes : int
        With unexplained stalls.
    """

    share: Interval
    unexplained: int
    unexplained_at_least: float
    bursts: int
    longest_ns: int
    processes: int

    @property
    def count(self) -> int:
        """Calls that stalled."""
        return round(self.share.value * self.share.n)


def limit_ns(times_ns: Integers) -> float:
    """The longest time of a call that is no stall, by the median of its process."""
    typical_ns = float(np.median(times_ns))
    return max(FACTOR * typical_ns, typical_ns + LEAST_NS)


def stalls(per_process: Sequence[Integers], slow: Sequence[Integers], *, alpha: float = 0.05) -> Stalls:
    """Count stalls.

    Parameters
    ----------
    per_process : sequence of ndarray, shape (n_i,), int64, ns
        Times in order, one array a process, none empty.
    slow : sequence of ndarray, shape (k_i, 4), int64
        Of each process: the number of a slow call, and what the kernel counted since the reading before it:
        ns of waiting for a core, ns of CPU steal, pages read from a disk; -1 or less where it counts nothing.
        A stall without an entry was not noted, and is not the backend's.
    """
    calls = stalled = bursts = 0
    longest_ns, longest_unexplained_ns = 0, 0
    by_process: list[tuple[int, int]] = []  # unexplained, calls
    for times_ns, entries in zip(per_process, slow, strict=True):
        limit, typical_ns = limit_ns(times_ns), float(np.median(times_ns))
        indices = [int(index) for index in np.flatnonzero(times_ns > limit)]
        counters = {int(entry[0]): entry[1:] for entry in entries}
        unexplained = [
            index
            for index in indices
            if index in counters and not _explains(counters[index], times_ns[index] - typical_ns)
        ]
        calls, stalled = calls + times_ns.size, stalled + len(indices)
        bursts += bool(indices) + int((np.diff(indices) > BURST_CALLS).sum())
        longest_ns = max(longest_ns, int(times_ns[indices].max(initial=0)))
        longest_unexplained_ns = max(longest_unexplained_ns, int(times_ns[unexplained].max(initial=0)))
        by_process.append((len(unexplained), times_ns.size))
    others = sorted(by_process)[:-1] if len(by_process) > 1 else by_process
    at_least = clopper_pearson(
        sum(count for count, _ in others), sum(size for _, size in others), alpha=alpha
    )
    return Stalls(
        clopper_pearson(stalled, calls, alpha=alpha),
        sum(count for count, _ in by_process),
        at_least.low,
        bursts,
        longest_unexplained_ns or longest_ns,
        sum(count > 0 for count, _ in by_process),
    )


def _explains(counters: Integers, excess_ns: float) -> bool:
    waited_ns, steal_ns, faults = (int(value) for value in counters)
    return faults > 0 or max(waited_ns, 0) + max(steal_ns, 0) >= EXPLAINED * excess_ns
