"""Calls a session for a given time, and yields a part every few seconds: calls, answers, latency, sensors.

Opening another session comes before the calls of a slice, so that what a call and what a session leaves
behind are counted apart. The calls of the old session and of a fresh one take turns: where the machine
becomes slower, both do.
"""

from __future__ import annotations

import gc
import time
from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from harness.core import unexpected
from harness.core.contracts import Bench, Clock, Session
from harness.core.job import Case, Samples
from harness.core.preprocess import Feeds
from harness.device.counters import Counters
from harness.device.sensors import Sensors
from suites.reliability.rows import digest, singles

#: Times of the last so many calls of a slice give its quantiles.
RING = 1 << 16
#: An answer is compared after every so many calls: the first of these that takes at most this share of the
#: time. They are primes, so that they meet every input and whatever happens once in a round number of calls.
LOOK_EVERY, MOST_LOOKING = (1, 3, 7, 11, 13, 29, 61), 0.1
#: The scheduler's counters are read so often, so that what they count belongs to a call.
READ_EVERY_NS = 50_000_000
#: A slow call, of which they are stored, takes longer than so many typical ones, and than one by so much.
SLOW_FACTOR, SLOW_NS = 10, 1_000_000
#: Stored by slice: slow calls, calls with a wrong answer; and different messages of errors in all.
MOST_SLOW, MOST_WRONG, MOST_ERRORS = 200, 5, 5
#: Opening another session takes about one part in so many of the time; where a soak is too short for so many
#: sessions that way, up to one part in three.
OPEN_SHARE, SESSIONS, MOST_OPEN_SHARE = 8, 16, 2
#: Blocks of calls of the old and the fresh session that take turns, and how long one takes.
TURNS, BLOCK_NS = 2, 2_000_000
#: Calls before the first that counts.
WARM_UP_CALLS = 20
#: The columns of ``slices``; those of the sensors come after them.
COLUMNS = (
    "process", "began_ns", "elapsed_ns", "uptime_ns", "calls", "errors", "looked", "wrong", "opens", "slow",
    "p10_ns", "p50_ns", "p90_ns", "p99_ns", "max_ns", "old_ns", "fresh_ns", "waited_ns", "steal_ns",
)  # fmt: skip


class Slice(NamedTuple):
    """The calls of one slice."""

    calls: int
    errors: int
    looked: int
    wrong: list[int]
    wrong_count: int
    slow: list[tuple[int, int, int, int, int]]
    slow_count: int


def soak(bench: Bench, case: Case) -> Iterator[Samples]:
    """Yield one part a slice.

    Parameters
    ----------
    case : Case
        ``params`` has ``seconds``, how long; ``slice_s``; ``probes``: whether the old session is compared
        with fresh ones.

    Yields
    ------
    Samples
        ``slices``, float64, shape (1, columns): the value ``columns`` names them. NaN where there is no such
        sensor; the value ``na`` says why. Sensors of the process come twice: before and after the calls.
        ``slow_calls``, int64, shape (k, 7): process, slice, call, its ns, then ns of waiting for a core, ns
        of CPU steal and pages read from a disk since the reading before. ``wrong_calls``, int64, shape (k,
        3): process, slice, call. ``golden``, uint64, shape (1,): of the answer to the first row. The value
        ``errors`` has different messages.
    """
    if case.params["seconds"] <= 0:
        return
    with bench.open() as session:
        feeds = singles(bench, case, bench.feeding(session))
        loop = _Loop(session, feeds, bench.clock)
        with Counters() as counters:
            yield from _slices(bench, case, loop, counters)


def _slices(bench: Bench, case: Case, loop: _Loop, counters: Counters) -> Iterator[Samples]:
    clock, sensors = bench.clock, Sensors()
    process, began_ns = time.time_ns() // 1_000_000, clock()
    end_ns = began_ns + int(case.params["seconds"] * 1e9)
    slice_ns = int(case.params["slice_s"] * 1e9)
    pause_ns, probed_ns, number = 0, began_ns, 0
    gc.collect()
    gc.freeze()  # what the runtime's packages made is not looked at in every slice
    enabled = gc.isenabled()
    gc.disable()
    try:
        while (start_ns := clock()) < end_ns:
            wall_ns = time.time_ns()
            scheduled = counters.scheduling()
            old_ns = fresh_ns = np.nan
            opens, loop.errors_of_open = 0, 0
            if not number or clock() - probed_ns >= pause_ns:
                before_ns = clock()
                old_ns, fresh_ns = loop.fresh(bench, probes=case.params["probes"])
                opens, probed_ns = 1, clock()
                took_ns = probed_ns - before_ns
                least_ns = max(MOST_OPEN_SHARE * took_ns, (end_ns - began_ns) // SESSIONS - took_ns)
                pause_ns = min(OPEN_SHARE * took_ns, least_ns)
            gc.collect()
            first = sensors.of_process()
            done = loop.calls(min(start_ns + slice_ns, end_ns), counters)
            gc.collect()
            values = {**first, **{f"{name}_after": x for name, x in sensors.of_process().items()}}
            values |= sensors.of_machine()
            now_ns = clock()
            waited = counters.scheduling()
            facts = (
                process, wall_ns, now_ns - start_ns, now_ns - began_ns, done.calls,
                done.errors + loop.errors_of_open, done.looked, done.wrong_count,
                opens, done.slow_count, *loop.quantiles(), old_ns, fresh_ns,
                _since(scheduled.waited_ns, waited.waited_ns), _since(scheduled.steal_ns, waited.steal_ns),
            )  # fmt: skip
            yield Samples(
                {
                    "slices": np.array([[*facts, *values.values()]], np.float64),
                    "slow_calls": np.array([(process, number, *slow) for slow in done.slow], np.int64)
                    .reshape(-1, 7),
                    "wrong_calls": np.array([(process, number, call) for call in done.wrong], np.int64)
                    .reshape(-1, 3),
                    "golden": np.array([loop.golden], np.uint64),
                },
                {"columns": [*COLUMNS, *values], "na": dict(sensors.na), "errors": list(loop.errors),
                 "look_every": loop.every},
            )  # fmt: skip
            number += 1
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()


def _since(before: int, after: int) -> float:
    return float(after - before) if min(before, after) >= 0 else np.nan


class _Loop:
    """One session that is called again and again, with each of its inputs in turn."""

    def __init__(self, session: Session, feeds: Sequence[Feeds], clock: Clock) -> None:
        self._session, self._feeds, self._clock = session, feeds, clock
        # Made before the first call: measuring must not use more memory from slice to slice.
        self._times = array("q", bytes(8 * RING))
        self._expected = [digest(session.run(one)) for one in feeds]
        self.golden = int.from_bytes(self._expected[0][:8], "little")
        self.errors: list[str] = []
        self.errors_of_open = 0
        self._called, self._filled = 0, 0
        self._typical_ns = self._block(session, WARM_UP_CALLS)
        looking_ns = self._looking_ns()
        affordable = MOST_LOOKING * self._typical_ns
        self.every = next((n for n in LOOK_EVERY if looking_ns <= affordable * n), LOOK_EVERY[-1])

    def calls(self, end_ns: int, counters: Counters) -> Slice:
        """Call until that time, at least once."""
        run, feeds, clock, times, every = self._session.run, self._feeds, self._clock, self._times, self.every
        slow_ns = max(SLOW_FACTOR * self._typical_ns, self._typical_ns + SLOW_NS)
        n = errors = looked = wrong_count = slow_count = 0
        wrong: list[int] = []
        slow: list[tuple[int, int, int, int, int]] = []
        before, read_ns, now = counters.scheduling(), clock() + READ_EVERY_NS, 0
        while not n or now < end_ns:
            call = self._called
            start = clock()
            try:
                outputs = run(feeds[call % len(feeds)])
            except Exception as error:  # noqa: BLE001 - what a long run raises is what is counted
                outputs, errors = None, errors + 1
                self._note(error)
            now = clock()
            elapsed = now - start
            times[n % RING] = elapsed
            if outputs is not None and call % every == 0:
                looked += 1
                if digest(outputs) != self._expected[call % len(feeds)]:
                    wrong_count += 1
                    if len(wrong) < MOST_WRONG:
                        wrong.append(call)
            outputs = None  # its memory is free for the next call
            self._called, n = call + 1, n + 1
            if elapsed > slow_ns or now >= read_ns:
                counted = counters.scheduling()
                if elapsed > slow_ns:
                    slow_count += 1
                    if len(slow) < MOST_SLOW:
                        waited, steal, faults = (b - a for a, b in zip(before, counted, strict=True))
                        slow.append((call, elapsed, waited, steal, faults))
                before, read_ns = counted, clock() + READ_EVERY_NS
        self._filled = min(n, RING)
        return Slice(n, errors, looked, wrong, wrong_count, slow, slow_count)

    def quantiles(self) -> tuple[float, ...]:
        """10 %, 50 %, 90 %, 99 % and 100 % of the times of the last slice; the median is typical from now."""
        times = np.frombuffer(self._times, np.int64)[: self._filled]
        quantiles = np.quantile(times, (0.1, 0.5, 0.9, 0.99, 1.0))
        self._typical_ns = max(1, int(quantiles[1]))
        return tuple(float(x) for x in quantiles)

    def fresh(self, bench: Bench, *, probes: bool) -> tuple[float, float]:
        """Open another session, compare its answer, and time both in turns; NaN where that cannot be."""
        try:
            with bench.open() as session:
                right = digest(session.run(self._feeds[0])) == self._expected[0]
                if not right:
                    raise ValueError("a fresh session answers otherwise than the first")
                if not probes:
                    return np.nan, np.nan
                calls = max(1, BLOCK_NS // self._typical_ns)
                self._block(session, calls)
                old, fresh = [], []
                for _ in range(TURNS):
                    old.append(self._block(self._session, calls))
                    fresh += [self._block(session, calls), self._block(session, calls)]
                    old.append(self._block(self._session, calls))
                self._called += 2 * TURNS * calls
                return float(min(old)), float(min(fresh))  # other programs only make them longer
        except Exception as error:  # noqa: BLE001 - as an error of a call
            self.errors_of_open += 1
            self._note(error)
            return np.nan, np.nan

    def _block(self, session: Session, calls: int) -> int:
        """Time calls of a session; a tenth of them take no longer."""
        clock, feeds, times = self._clock, self._feeds, []
        for call in range(calls):
            start = clock()
            session.run(feeds[call % len(feeds)])
            times.append(clock() - start)
        return max(1, sorted(times)[calls // 10])

    def _looking_ns(self) -> int:
        outputs = self._session.run(self._feeds[0])
        times = []
        for _ in range(3):
            start = self._clock()
            digest(outputs)
            times.append(self._clock() - start)
        return min(times)

    def _note(self, error: Exception) -> None:
        text = unexpected.one_line(error)
        if text not in self.errors and len(self.errors) < MOST_ERRORS:
            self.errors.append(text)
