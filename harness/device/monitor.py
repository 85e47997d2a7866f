"""The state of the machine between the jobs of a batch, and how the jobs were scheduled."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from harness.core.job import Options
from harness.core.target import DEVICE_ID
from harness.device import environment, gpu

#: The state of the machine is read between jobs, at most so often, and never during one: a thread that reads
#: it would take a core, and Python's lock, from the timed code.
STATE_EVERY_S = 1.0


def since(before: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how the threads of this process were scheduled since then."""
    now = environment.scheduling()
    if "na" in before or "na" in now:
        return before if "na" in before else now
    return {name: max(0, now[name] - before[name]) for name in now}


def add(first: Mapping[str, Any], *others: Mapping[str, Any]) -> dict[str, Any]:
    """Add the scheduling of several processes or jobs; if one has none, neither has the sum."""
    for part in (first, *others):
        if "na" in part:
            return dict(part)
    return {name: first[name] + sum(other[name] for other in others) for name in first}


class Monitor:
    """Reads the state of the machine, and of the GPU that a batch computes on, between jobs."""

    def __init__(self, options: Options) -> None:
        self._gpu = gpu.find(options.provider, options.extra.get(DEVICE_ID, "0"))
        self._last_s = time.monotonic()
        self._jobs: list[list[Any]] = []
        self._parts: list[Mapping[str, Any]] = []

    def ended(self, header: Mapping[str, Any]) -> bool:
        """Add a job; returns whether the state is due."""
        self._jobs.append(header["key"])
        self._parts.append(header["scheduling"])
        return time.monotonic() - self._last_s >= STATE_EVERY_S

    def static_facts(self) -> dict[str, Any]:
        """What does not change."""
        return environment.static_facts() | (self._gpu.static_facts() if self._gpu else {})

    def facts(self) -> dict[str, Any]:
        """The state now, and how the jobs since the last call were scheduled."""
        facts = environment.state_facts() | (self._gpu.state_facts() if self._gpu else {})
        if self._jobs:
            facts |= {"jobs": self._jobs, "scheduling": add(*self._parts)}
        self._last_s, self._jobs, self._parts = time.monotonic(), [], []
        return facts
