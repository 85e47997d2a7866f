"""The timed loop: times every call, and looks at its answer, the clocks and the memory between two calls."""

from __future__ import annotations

import gc
import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.core.contracts import Clock
from harness.core.job import Case, Samples
from harness.core.preprocess import Outputs
from harness.device.counters import Counters, read_clocks

Call = Callable[[], object]
#: The first calls of a loop are slow (caches, thread pools, lazy kernels) however short the warm-up is.
WARM_UP_CALLS = 3
#: Keeps the raw samples of a trivial model small; the early-stopping rule needs 662.
MAX_CALLS = 100_000
#: Outputs that are compared after every call: half of the smallest first-level cache. Of larger ones, fewer
#: are compared, in proportion, so that the timed calls keep their caches.
CHEAP_BYTE = 16 * 1024
#: So much of a call's time may be spent on comparing its answer: more takes caches from the next call. Where
#: it is more, fewer answers are compared, and a call that is not timed follows each.
MOST_LOOKING, MOST_EVERY = 0.02, 64
#: A slow call, of which the scheduler's counters are stored, takes longer than so many typical ones, and
#: longer than one by so much. The host calls twice as much a stall.
SLOW_FACTOR, SLOW_NS = 5, 500_000
#: How often in a loop counters and memory are read.
READINGS = 32
#: Reading them, and comparing large outputs, is followed by a call that is not timed: the caches are then as
#: before. Not where a call takes so long that its time does not depend on it.
LONG_CALL_NS = 1_000_000
#: Stored by loop: different answers, and calls for each; slow calls.
MOST_ANSWERS, MOST_WRONG, MOST_SLOW = 8, 100, 2_000


class SupportsLooks(Protocol):
    """Compares answers."""

    def look(self, call: int, outputs: Outputs) -> bool:
        """Compare the answer of a call; returns whether it is right."""
        ...


@dataclass(slots=True)
class _Answer:
    count: int = 0
    calls: list[int] = field(default_factory=list)


class Answers:
    """Compares the bits of answers with those of the first one, which counts as one that was looked at.

    Parameters
    ----------
    first : mapping of str to ndarray
    """

    __slots__ = ("_beyond", "_bytes", "_first", "_others", "largest_difference", "looked", "size_byte")

    def __init__(self, first: Outputs) -> None:
        # Text and objects have no bits of their own in an array.
        numbers = {name: np.asarray(x) for name, x in first.items() if np.asarray(x).dtype.kind not in "OSUT"}
        self._first = {name: x.copy() for name, x in numbers.items()}
        self._bytes = [(name, x.tobytes()) for name, x in numbers.items()]
        self._others: dict[bytes, _Answer] = {}
        self._beyond = _Answer()
        self.size_byte = sum(len(data) for _, data in self._bytes)
        self.looked = 1
        self.largest_difference = 0.0

    def look(self, call: int, outputs: Outputs) -> bool:
        """Compare the answer of a call; returns whether it is the first one."""
        self.looked += 1
        try:
            for name, data in self._bytes:
                if outputs[name].tobytes() != data:
                    break
            else:
                return True
        except KeyError:
            pass  # an output is gone: another answer
        self._note(call, outputs)
        return False

    def every(self, outputs: Any, clock: Clock, typical_ns: int) -> int:  # noqa: ANN401 - what a call returned
        """Return how many calls there are for each one whose answer can be compared without slowing the next.

        Parameters
        ----------
        outputs : mapping of str to ndarray
            To measure how long it takes to compare them.
        clock : callable
        typical_ns : int
            Of a call.
        """
        took_ns = []
        for _ in range(WARM_UP_CALLS):
            start = clock()
            all(outputs[name].tobytes() == data for name, data in self._bytes)
            took_ns.append(clock() - start)
        by_time = math.ceil(min(took_ns) / (MOST_LOOKING * typical_ns))
        return max(1, min(MOST_EVERY, by_time), -(-self.size_byte // CHEAP_BYTE))

    def _note(self, call: int, outputs: Outputs) -> None:
        key = b"".join(outputs[name].tobytes() if name in outputs else b"?" for name, _ in self._bytes)
        answer = self._others.get(key)
        if answer is None:
            self.largest_difference = max(self.largest_difference, self._difference(outputs))
            is_room = len(self._others) < MOST_ANSWERS
            answer = self._others.setdefault(key, _Answer()) if is_room else self._beyond
        answer.count += 1
        if len(answer.calls) < MOST_WRONG:
            answer.calls.append(call)

    def _difference(self, outputs: Outputs) -> float:
        """Largest difference from the first answer; infinite where they cannot be subtracted."""
        largest = 0.0
        for name, first in self._first.items():
            other = outputs.get(name)
            if other is None or other.shape != first.shape or other.dtype != first.dtype:
                return math.inf
            if first.dtype.kind not in "biufc":
                return math.inf
            kind = np.complex128 if first.dtype.kind == "c" else np.float64
            with np.errstate(invalid="ignore", over="ignore"):
                difference = np.abs(other.astype(kind) - first.astype(kind))
            difference[np.asarray((other == first) | (np.isnan(other) & np.isnan(first)))] = 0.0
            difference[np.isnan(difference)] = math.inf
            largest = max(largest, float(difference.max(initial=0.0)))
        return largest

    def wrong(self) -> tuple[int, list[int]]:
        """Return how many answers are not the first one, and calls that gave such an answer.

        A first answer that no other call gave is wrong, and of the call -1; the commonest is right then.
        """
        others = [*self._others.values(), self._beyond]
        equal = self.looked - sum(answer.count for answer in others)
        commonest = max(self._others.values(), key=lambda answer: answer.count, default=_Answer())
        if equal > 1 or commonest.count <= 1:
            wrong, calls = self.looked - equal, []
        else:  # the first answer was the wrong one
            wrong, calls = self.looked - commonest.count, [-1]
            others.remove(commonest)
        return wrong, sorted(calls + [call for answer in others for call in answer.calls])[:MOST_WRONG]


def answers_of(result: object, fetch: Callable[[], Outputs] | None = None) -> Answers | None:
    """Begin with the answer of a call; None where a call returns no outputs, or none of numbers."""
    outputs = result if fetch is None else fetch()
    answers = Answers(dict(outputs)) if isinstance(outputs, Mapping) else None
    return answers if answers is not None and answers.size_byte else None


@dataclass(frozen=True, slots=True)
class Place:
    """Which loop of a case: the number of the process, and the batch size."""

    process: int = 0
    size: int = 1


class Watch:
    """What is done between two timed calls. It is short: what runs here takes caches from the next call.

    Parameters
    ----------
    call : callable, optional
        The timed call, to fill the caches again; None where times do not count.
    n : int
        Timed calls.
    typical_ns : int
        Of a call.
    counters : Counters
    answers : SupportsLooks, optional
        Compares the answers; None where they cannot be read.
    fetch : callable, optional
        Gives the outputs of the last call; None where the call returns them.
    every : int
        Answers of every so many calls are compared.
    """

    __slots__ = (
        "_again", "_answers", "_before", "_calls", "_counters", "_every", "_fetch", "_next_look",
        "_next_reading", "_slow_ns", "_step", "handles", "memory", "slow",
    )  # fmt: skip

    def __init__(
        self,
        call: Call | None,
        n: int,
        typical_ns: int,
        counters: Counters,
        answers: SupportsLooks | None,
        fetch: Callable[[], Outputs] | None = None,
        every: int = 1,
    ) -> None:
        self._answers, self._fetch, self._counters = answers, fetch, counters
        self._again = call if typical_ns < LONG_CALL_NS else None
        self._slow_ns = max(SLOW_FACTOR * typical_ns, typical_ns + SLOW_NS)
        self._every = every
        self._calls, self._next_look = 0, 0 if answers is not None else n
        self._step = max(1, n // READINGS)
        self._next_reading = self._step - 1
        self._before = counters.scheduling()
        self.slow: list[tuple[int, int, int, int]] = []
        self.memory: list[tuple[int, int]] = []
        self.handles: list[tuple[int, int, int]] = []
        self._read_memory(0)

    def __call__(self, result: Any, elapsed_ns: int) -> None:  # noqa: ANN401 - whatever a call returns
        """Look at a call, which gave `result`."""
        call = self._calls
        self._calls = call + 1
        if call == self._next_look:
            self._next_look = call + self._every
            self._answers.look(call, result if self._fetch is None else self._fetch())  # type: ignore[union-attr]
            if self._every > 1 and self._again is not None:
                self._again()
        if elapsed_ns > self._slow_ns or call >= self._next_reading:
            self._read_counters(call, elapsed_ns)

    def _read_counters(self, call: int, elapsed_ns: int) -> None:
        now = self._counters.scheduling()
        if elapsed_ns > self._slow_ns and len(self.slow) < MOST_SLOW:
            # What happened since the last reading is counted as if it had happened in this call.
            waited_ns, steal_ns, faults = (
                after - before for after, before in zip(now, self._before, strict=True)
            )
            self.slow.append((call, waited_ns, steal_ns, faults))
        self._before = now
        if call >= self._next_reading:
            self._next_reading += self._step
            self._read_memory(call + 1)
        if self._again is not None:
            self._again()

    def _read_memory(self, calls: int) -> None:
        memory_byte = self._counters.memory_byte()
        if memory_byte is not None:
            self.memory.append((calls, memory_byte))
        self.handles.append((calls, *self._counters.handles()))


def time_calls(
    call: Call, clock: Clock, n: int, watch: Callable[[Any, int], object]
) -> tuple[NDArray[np.int64], list[int]]:
    """Time `n` calls one by one; `watch` gets the result and the time of each after it.

    Returns
    -------
    ndarray, shape (n,), int64, ns
        In order of time.
    list of int
        What passed in all, in ns, on `clock`, the raw monotonic clock and the wall clock; -1 where there is
        none.
    """
    times_ns = array("q", bytes(8 * n))  # numpy takes three times as long to store one number
    enabled = gc.isenabled()
    gc.disable()
    try:
        before = read_clocks(clock)
        for i in range(n):
            start = clock()
            result = call()
            elapsed_ns = clock() - start
            times_ns[i] = elapsed_ns
            watch(result, elapsed_ns)
            result = None  # its memory is free for the next call, as where a caller uses one answer at a time
        after = read_clocks(clock)
    finally:
        if enabled:
            gc.enable()
    clocks = [end - start if min(start, end) >= 0 else -1 for start, end in zip(before, after, strict=True)]
    return np.frombuffer(times_ns, np.int64), clocks


def warm_up(call: Call, clock: Clock, seconds: float) -> int:
    """Call for so long, and at least ``WARM_UP_CALLS`` times.

    Returns
    -------
    int
        Median time of the later half of the calls, in ns, at least 1.
    """
    times_ns: list[int] = []
    end = clock() + int(seconds * 1e9)
    while len(times_ns) < WARM_UP_CALLS or clock() < end:
        start = clock()
        call()
        times_ns.append(clock() - start)
    later = sorted(times_ns[len(times_ns) // 2 :])
    return max(1, later[len(later) // 2])


def timed_loop(
    call: Call,
    clock: Clock,
    case: Case,
    least: int,
    *,
    place: Place | None = None,
    fetch: Callable[[], Outputs] | None = None,
    every: int = 1,
) -> tuple[NDArray[np.int64], Samples]:
    """Warm up, decide the number of calls from it, and time them.

    Returns
    -------
    ndarray, shape (n,), int64, ns
    Samples
        What `facts` makes of everything that was looked at besides.
    """
    params, place = case.params, place or Place()
    # A collection would fall into some call. It comes before the warm-up, because it empties the caches.
    gc.collect()
    answers = answers_of(call(), fetch)
    typical_ns = warm_up(call, clock, params["warm_up_seconds"])
    wanted = max(least, math.ceil(params["seconds"] * 1e9 / typical_ns))
    affordable = max(1, int(params["max_seconds"] * 1e9 / typical_ns))
    # Fixed before the first timed call: a loop that looks at its own times stops at a lucky one.
    n = min(wanted, affordable, MAX_CALLS)
    with Counters() as counters:
        if answers is not None:
            every = max(every, answers.every(call(), clock, typical_ns) if fetch is None else 1)
        watch = Watch(call, n, typical_ns, counters, answers, fetch, every)
        times_ns, clocks = time_calls(call, clock, n, watch)
    return times_ns, facts(place, [answers] if answers is not None else [], clocks, watch)


def facts(place: Place, answers: Sequence[Answers], clocks: Sequence[int], watch: Watch) -> Samples:
    """Arrays that can be joined over loops and processes; the first two columns are process and batch size.

    Returns
    -------
    Samples
        int64: ``answers`` (looked at, wrong), ``wrong_calls`` (call), ``clocks`` (elapsed ns of the clock of
        the calls, the raw monotonic one and the wall clock; -1 where there is none), ``slow_calls`` (call,
        ns of waiting for a core, ns of CPU steal, pages read from a disk), ``memory`` (calls before it,
        byte), ``handles`` (calls before it, open files, threads; -1 where the kernel does not tell); float64:
        ``wrong_difference`` (loops,). Without `answers`: ``answers_na``, the reason.
    """
    here = (place.process, place.size)
    wrong = [answer.wrong() for answer in answers]
    looked = sum(answer.looked for answer in answers)
    arrays: dict[str, NDArray[Any]] = {
        "answers": _table([(*here, looked, sum(count for count, _ in wrong))], 4),
        "wrong_calls": _table([(*here, call) for _, calls in wrong for call in calls], 3),
        "wrong_difference": np.array([max((a.largest_difference for a in answers), default=0.0)]),
        "clocks": _table([(*here, *clocks)], 5),
        "slow_calls": _table([(*here, *entry) for entry in watch.slow], 6),
        "memory": _table([(*here, *entry) for entry in watch.memory], 4),
        "handles": _table([(*here, *entry) for entry in watch.handles], 5),
    }
    return Samples(arrays, {} if answers else {"answers_na": "a call of this session returns no outputs"})


def _table(rows: Sequence[Sequence[int]], columns: int) -> NDArray[np.int64]:
    return np.array(rows, np.int64).reshape(-1, columns)
