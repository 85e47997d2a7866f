"""Profiles of two versions of a runtime: which kernels they run, and which became slower."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import trim_mean

from harness.stats import side_by_side
from harness.stats.intervals import Interval

#: Share of the longest and of the shortest times that are left out: a call that was preempted takes a
#: thousand times as long as a kernel.
TRIMMED = 0.1
#: An operator is named if it adds at least this share of what a call takes longer.
LEAST_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Profile:
    """The kernels of one process.

    Parameters
    ----------
    calls : int
        Of the model.
    nodes : tuple of (name, operator)
    times_ns : tuple of ndarray, shape (times the kernel ran,), int64
        One a node.
    """

    calls: int
    nodes: tuple[tuple[str, str], ...]
    times_ns: tuple[NDArray[np.int64], ...]

    @classmethod
    def read(cls, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> Profile:
        """Read the samples of a case ``profile``."""
        nodes = tuple((name, operator) for name, operator in values["kernels"])
        return cls(values["calls"], nodes, tuple(arrays[f"kernel{i}_ns"] for i in range(len(nodes))))

    def census(self) -> Counter[str]:
        """Nodes by operator."""
        return Counter(operator for _, operator in self.nodes)

    def runs(self) -> dict[str, float]:
        """How often kernels of an operator run in one call of the model."""
        counts: dict[str, float] = {}
        for (_, operator), times in zip(self.nodes, self.times_ns, strict=True):
            counts[operator] = counts.get(operator, 0.0) + len(times) / self.calls
        return counts

    def by_operator_ns(self) -> dict[str, float]:
        """Time of all kernels of an operator in one call of the model.

        Of each kernel the mean without the extreme tenths, and not the median, because a runtime's clock
        may tick in whole microseconds.
        """
        totals_ns: dict[str, float] = {}
        for (_, operator), times in zip(self.nodes, self.times_ns, strict=True):
            kernel_ns = float(trim_mean(times, TRIMMED)) * len(times) / self.calls
            totals_ns[operator] = totals_ns.get(operator, 0.0) + kernel_ns
        return totals_ns


@dataclass(frozen=True, slots=True)
class Slower:
    """An operator that became slower.

    Parameters
    ----------
    operator : str
    nodes : int
        Of it, in the new version.
    added_ns : float
        A call of the model.
    ratio : Interval, optional
        New / old over processes; None where the old version has no such kernel.
    """

    operator: str
    nodes: int
    added_ns: float
    ratio: Interval | None


def slower(old: Sequence[Profile], new: Sequence[Profile], added_ns: float) -> list[Slower]:
    """Operators that certainly take longer than before, the one that adds most first.

    A profile costs time itself, for each kernel alike, and not the same in two versions: all kernels of a
    small model then look slower. So what the kernels add beyond what a call adds without a profile is taken
    off, from each time that a kernel runs the same.

    Parameters
    ----------
    old, new : sequence of Profile
        One a process, at least two a side; the process is the unit of analysis.
    added_ns : float
        What a call takes longer where nothing is profiled.

    Returns
    -------
    list of Slower
        Those whose ratio lies above 1 with its interval (one-sided 5 %, no correction for their number), and
        those that the old version did not have; of both, those that add a tenth of `added_ns` or more: where
        a call became slower outside its kernels, a kernel that takes two percent longer is not the cause.
    """
    census, runs = new[0].census(), new[0].runs()
    before, after = _matrix(old), _matrix(new)
    total = sum(float(times.mean()) for times in after.values())
    excess_ns = total - sum(float(times.mean()) for times in before.values()) - added_ns
    overhead_ns = max(0.0, excess_ns) / sum(runs.values())
    slower = []
    for operator, profiled in after.items():
        base, times = before.get(operator), profiled - overhead_ns * runs[operator]
        if base is None:
            slower.append(Slower(operator, census[operator], float(times.mean()), None))
        elif (base > 0).all() and (times > 0).all():
            ratio = side_by_side.ratio(base, times)
            if ratio.low > 1:
                added = float(times.mean() - base.mean())
                slower.append(Slower(operator, census[operator], added, ratio))
    named = (item for item in slower if item.added_ns >= LEAST_SHARE * added_ns)
    return sorted(named, key=lambda item: -item.added_ns)


def changed(old: Profile, new: Profile) -> dict[str, tuple[int, int]]:
    """Operators of which the two versions run another number of nodes: how many before, and now."""
    before, after = old.census(), new.census()
    return {
        operator: (before[operator], after[operator])
        for operator in sorted(before | after)
        if before[operator] != after[operator]
    }


def _matrix(profiles: Sequence[Profile]) -> dict[str, NDArray[np.float64]]:
    """Time by operator, one entry a process; 0 where a process did not have it."""
    by_process = [profile.by_operator_ns() for profile in profiles]
    operators = dict.fromkeys(operator for times in by_process for operator in times)
    return {name: np.array([times.get(name, 0.0) for times in by_process]) for name in operators}
