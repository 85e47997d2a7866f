"""Calls that stalled, and whether the machine or the backend kept them.

A call is a stall if it takes longer than ten typical calls, and longer than one by a millisecond. The kernel
counts how long the process waited for a core or lost it to another guest, and whether it waited for a disk.
The stall is the backend's if the call would be one without that time too.
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
#: Fewer unexplained stalls prove nothing, nor do those of fewer than half of the processes. In healthy runs
#: of five processes on two cores, beside one to six busy ones, up to a sixth of the calls stalled; at most
#: one stall of a run was unexplained.
LEAST_STALLS = 3

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
        nothing. 0 where they are few, or occur in less than half of the processes.
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
        limit = limit_ns(times_ns)
        indices = [int(index) for index in np.flatnonzero(times_ns > limit)]
        counters = {int(entry[0]): entry[1:] for entry in entries}
        unexplained = [
            index
            for index in indices
            if index in counters and not _explains(counters[index], times_ns[index] - limit)
        ]
        calls, stalled = calls + times_ns.size, stalled + len(indices)
        bursts += bool(indices) + int((np.diff(indices) > BURST_CALLS).sum())
        longest_ns = max(longest_ns, int(times_ns[indices].max(initial=0)))
        longest_unexplained_ns = max(longest_unexplained_ns, int(times_ns[unexplained].max(initial=0)))
        by_process.append((len(unexplained), times_ns.size))
    others = sorted(by_process)[:-1] if len(by_process) > 1 else by_process
    proof = sum(count for count, _ in others)
    processes = sum(count > 0 for count, _ in by_process)
    is_proved = proof >= LEAST_STALLS and 2 * processes >= len(by_process)
    at_least = clopper_pearson(proof, sum(size for _, size in others), alpha=alpha).low if is_proved else 0.0
    return Stalls(
        clopper_pearson(stalled, calls, alpha=alpha),
        sum(count for count, _ in by_process),
        at_least,
        bursts,
        longest_unexplained_ns or longest_ns,
        processes,
    )


def _explains(counters: Integers, excess_ns: float) -> bool:
    waited_ns, steal_ns, faults = (int(value) for value in counters)
    return faults > 0 or max(waited_ns, 0) + max(steal_ns, 0) >= excess_ns
