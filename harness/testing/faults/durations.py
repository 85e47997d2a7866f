"""Faults of time: calls, loads and clocks that are slower than those of the real session."""

from __future__ import annotations

import time
from collections.abc import Callable

from harness.core.artifact import Artifact
from harness.core.contracts import Backend, Session
from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from harness.testing.faults.fault import Call, Compute, Fault, Kind, Plant

ADVICE = "a limit on the latency relative to an accepted run"
SLOWER = ("slower", "latency", "time")


class _Timed(Plant):
    """Waits actively after a call, on the clock as it was before any fault."""

    def __init__(self, size: float) -> None:
        super().__init__(size)
        self._clock: Callable[[], int] = time.perf_counter_ns

    def wait_ns(self, call: Call, elapsed_ns: int) -> float:
        """How long to wait after a call that took so long."""
        return 0.0

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run, and wait."""
        clock = self._clock
        start = clock()
        outputs = compute(feeds)
        now = clock()
        end = now + self.wait_ns(call, now - start)
        while clock() < end:
            pass
        return outputs


class Slower(_Timed):
    """Each call takes longer by a share of its time."""

    def wait_ns(self, call: Call, elapsed_ns: int) -> float:
        """A share of the call."""
        return self.size * elapsed_ns


class SlowerBatches(Slower):
    """Each call with more than one row takes longer by a share of its time."""

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run; wait after a batch."""
        rows = max((len(x) for x in feeds.values() if x.ndim), default=1)
        return super().run(call, compute, feeds) if rows > 1 else compute(feeds)


class Stalls(_Timed):
    """One call in so many stalls."""

    #: How long a stall takes, in calls; and the shortest.
    CALLS, LEAST_NS = 20, 2_000_000

    def __init__(self, size: float) -> None:
        super().__init__(size)
        self._calls = 0

    def wait_ns(self, call: Call, elapsed_ns: int) -> float:
        """Nothing, or the stall."""
        self._calls += 1
        return max(self.LEAST_NS, self.CALLS * elapsed_ns) if self._calls % int(self.size) == 0 else 0.0


class Grows(_Timed):
    """Each thousand calls of a session add a share of the first calls' time."""

    def wait_ns(self, call: Call, elapsed_ns: int) -> float:
        """A share that grows."""
        return self.size * call.calls / 1000 * elapsed_ns


class SlowFirst(Plant):
    """The first call of a session waits: a machine that is busy with something else explains no such wait."""

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run, and wait once."""
        outputs = compute(feeds)
        if call.calls == 0:
            time.sleep(self.size)
        return outputs


class SlowLoad(Plant):
    """A session takes longer to open."""

    def open(self, backend: Backend, artifact: Artifact, options: Options) -> Session:
        """Open, and wait."""
        session = backend.open(artifact, options)
        time.sleep(self.size)
        return session


class SlowClock(Plant):
    """The clock of the process runs slow: everything seems faster."""

    def start(self, artifact: Artifact) -> None:
        """Replace the clock."""
        super().start(artifact)
        real, share = time.perf_counter_ns, self.size
        began = real()

        def slow_ns() -> int:
            return began + int((real() - began) * share)

        # For this process, which ends with its batch.
        time.perf_counter_ns = slow_ns
        time.perf_counter = lambda: slow_ns() / 1e9


class SlowClocks(SlowClock):
    """All clocks of the process run slow: they agree with each other."""

    def start(self, artifact: Artifact) -> None:
        """Replace them."""
        super().start(artifact)
        real_gettime_ns, share = time.clock_gettime_ns, self.size
        began: dict[int, int] = {}

        def slow_gettime_ns(which: int) -> int:
            now = real_gettime_ns(which)
            start = began.setdefault(which, now)
            return start + int((now - start) * share)

        time.clock_gettime_ns = slow_gettime_ns
        time.time_ns = lambda: slow_gettime_ns(time.CLOCK_REALTIME)
        time.monotonic_ns = lambda: slow_gettime_ns(time.CLOCK_MONOTONIC)


FAULTS = (
    Fault(
        "slower-10", Kind.TIME, "each call takes longer by a share of {size}", Slower, SLOWER, ADVICE, 0.1,
        "share",
    ),
    Fault(
        "slower-30", Kind.TIME, "each call takes longer by a share of {size}", Slower, SLOWER, ADVICE, 0.3,
        "share", quick=True,
    ),
    Fault(
        "slower-batches", Kind.TIME, "each call with more than one row takes longer by a share of {size}",
        SlowerBatches, SLOWER, ADVICE, 1.0, "share",
    ),
    Fault(
        "stall", Kind.TIME, "one call in {size} stalls for at least 2 ms", Stalls,
        ("stall", "p99", "max", "slowest", "burst"),
        "a limit on the highest percentile that the calls allow", 500, "calls", quick=True,
    ),
    Fault(
        "slower-with-uptime", Kind.TIME,
        "each 1,000 calls of a session add a share of {size} to the time of a call", Grows,
        ("grow", "uptime", "trend", "slower"), "a limit on the growth of the latency within a process",
        0.05, "share",
    ),
    Fault(
        "slow-first-call", Kind.TIME, "the first call of a session takes {size} s longer", SlowFirst,
        ("first",), "a limit on the time of the first call", 0.2, "s",
    ),
    Fault(
        "slow-load", Kind.TIME, "opening a session takes {size} s longer", SlowLoad, ("load", "open"),
        "a limit on the time to load the model", 0.3, "s",
    ),
    Fault(
        "slow-clock", Kind.TIME, "the clock of the process runs at a share of {size}", SlowClock,
        ("clock",), "a check of the times against a second clock", 0.8, "share", quick=True,
    ),
    Fault(
        "slow-clocks", Kind.TIME, "all clocks of the device run at a share of {size}", SlowClocks,
        ("clock",), "a check of the times against the host's clock", 0.8, "share",
    ),
)  # fmt: skip
