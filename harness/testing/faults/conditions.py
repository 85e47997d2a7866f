"""Faults that show under rare conditions alone: threads, unusual values, surroundings, a busy machine."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.core.preprocess import Feeds, Outputs
from harness.core.profile import Profile
from harness.testing.faults.arrays import changed
from harness.testing.faults.calls import shifted
from harness.testing.faults.fault import Call, Compute, Fault, Kind, Plant


class RaceOnABuffer(Plant):
    """Copies each input into memory that all sessions share, and reads it from there later."""

    def __init__(self, size: float) -> None:
        super().__init__(size)
        self._shared: Feeds = {}
        self._threads: set[int] = set()

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run on what lies in the buffer; from the second thread on, after others may have written there."""
        self._threads.add(threading.get_ident())
        self._shared = {name: np.array(x) for name, x in feeds.items()}
        if len(self._threads) > 1:
            time.sleep(1e-4)
        return compute(self._shared)


def has_denormals(feeds: Feeds) -> bool:
    """Whether an input has a number that is not zero, and smaller than the smallest normal one."""
    return any(
        bool(((x != 0) & (np.abs(x) < np.finfo(x.dtype).tiny)).any())
        for x in feeds.values()
        if x.dtype.kind == "f"
    )


class DenormalsByChance(Plant):
    """Adds to the answer to denormals what is another number at each call."""

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run."""
        outputs = compute(feeds)
        if not has_denormals(feeds):
            return outputs
        return changed(call, outputs, lambda y: y + np.asarray(call.calls + 1, y.dtype))


class SpoiledByDenormals(Plant):
    """Answers otherwise from the first denormal on."""

    def __init__(self, size: float) -> None:
        super().__init__(size)
        self._spoiled: set[int] = set()

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run."""
        if has_denormals(feeds):
            self._spoiled.add(call.number)
        outputs = compute(feeds)
        return changed(call, outputs, shifted) if call.number in self._spoiled else outputs


class DependsOnTimeZone(Plant):
    """Answers otherwise where the clock is a fraction of an hour from Greenwich."""

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run."""
        outputs = compute(feeds)
        return changed(call, outputs, shifted) if time.timezone % 3600 else outputs


class WrongOnOneCore(Plant):
    """Answers otherwise where the process may use one core alone."""

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run."""
        outputs = compute(feeds)
        is_alone = len(os.sched_getaffinity(0)) == 1 and os.nice(0) > 0
        return changed(call, outputs, shifted) if is_alone else outputs


class WithoutMemory(Plant):
    """Answers with zeros where it cannot allocate."""

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run, with a buffer of a size that a limit on memory refuses."""
        outputs = compute(feeds)
        try:
            np.empty(int(self.size), np.uint8)
        except MemoryError:
            return changed(call, outputs, np.zeros_like)
        return outputs


class WrongWhenSlow(Plant):
    """Answers otherwise once so many tasks run on each core."""

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run."""
        outputs = compute(feeds)
        running = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0])
        is_busy = running > self.size * (os.cpu_count() or 1)
        return changed(call, outputs, shifted) if is_busy else outputs


_FAULTS = (
    Fault(
        "race-on-a-buffer", Kind.CALL, "all sessions copy their inputs into one buffer", RaceOnABuffer,
        ("at once",), "run several sessions, or threads, at once: --profile standard",
    ),
    Fault(
        "denormals-answered-by-chance", Kind.CALL, "denormal inputs get another answer at each call",
        DenormalsByChance, ("unusual values",), "run unusual values: --profile standard",
    ),
    Fault(
        "spoiled-by-denormals", Kind.CALL, "the answers change for good after a denormal input",
        SpoiledByDenormals, ("unusual values",), "run unusual values: --profile standard",
    ),
    Fault(
        "depends-on-time-zone", Kind.CALL, "the answers depend on the time zone", DependsOnTimeZone,
        ("surroundings",), "run in other surroundings: --profile standard",
    ),
    Fault(
        "wrong-on-one-core", Kind.CALL, "the answers are wrong on one core", WrongOnOneCore,
        ("surroundings",), "run in other surroundings: --profile standard",
    ),
    Fault(
        "wrong-without-memory", Kind.CALL, "zeros are answered where {size} bytes cannot be allocated",
        WithoutMemory, ("surroundings",), "run with little memory: --profile standard", 2.0**31, "byte",
    ),
    Fault(
        "wrong-when-slow", Kind.CALL, "the answers are wrong with more than {size} running tasks a core",
        WrongWhenSlow, ("busy machine",), "run beside load: --profile standard", 1.4,
    ),
)  # fmt: skip
#: What only a deeper profile looks for.
FAULTS = tuple(replace(fault, profile=Profile.STANDARD) for fault in _FAULTS)
