"""What the harness adds to one inference: to a null call, and to each runtime's own fastest safe call."""

from __future__ import annotations

import time
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from benchmarks import digits
from benchmarks.paired import Figures, Goal, heading, in_processes, line, take_turns
from harness.core.contracts import Session
from harness.core.preprocess import Feeds, Outputs
from harness.core.seam import check_feeds
from harness.device.counters import Counters
from harness.testing import fakes
from suites.performance import loop, measure

PROCESSES = 10
#: Calls of one turn: enough to be the suite's loop, few enough that a disturbance affects both sides.
CALLS = 50
#: Calls of each side in one process; a p99 of 6,000 lies on 60 calls.
TOTAL_CALLS = 6_000
#: Turns of about a millisecond: most are not interrupted, so the median is of an undisturbed one.
NULL_CALLS, NULL_ROUNDS = 1_000, 150


def report() -> None:
    heading("Cost that the harness adds to one inference")
    for kind in ("bound", "checked"):
        intervals = in_processes("benchmarks.overhead:null", {"kind": kind}, PROCESSES)
        line(f"null backend, {kind} call: added, µs", intervals["added_us"], Goal(1.0), "{:.3f}")
        line("  between two calls, not timed, µs", intervals["between_us"], form="{:.3f}")
    for name, request in digits.requests("performance", "single_stream"):
        intervals = in_processes("benchmarks.overhead:runtime", request, PROCESSES)
        line(f"{name}: p50, harness / bare", intervals["p50"], Goal(1.01))
        line(f"{name}: p99, harness / bare", intervals["p99"], Goal(1.05))


class CheckedNullSession:
    """A session without binding that checks the feeds of each run, like every real one."""

    inputs, outputs = fakes.NullSession.inputs, fakes.NullSession.outputs

    def __init__(self) -> None:
        self.effective: dict[str, str] = {}
        self._returned: Outputs = {"y": np.zeros((1, 3), np.float32)}

    def run(self, feeds: Feeds) -> Outputs:
        check_feeds(feeds, self.inputs)
        return self._returned

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


def null(request: dict[str, Any]) -> Figures:
    """Time a call in the suite's loop minus an empty call in a bare loop, and what is done between calls."""
    session: Session = fakes.NullSession() if request["kind"] == "bound" else CheckedNullSession()
    call = measure.repeated_call(session, {"x": np.zeros((1, 4), np.float32)})
    returned: Outputs = {"y": np.zeros((1, 3), np.float32)}

    def nothing() -> Outputs:
        return returned

    clock = time.perf_counter_ns
    took: dict[str, list[int]] = {"timed": [], "harness": [], "bare": []}

    def harness() -> None:
        watch = watch_of(call, NULL_CALLS)
        start = clock()
        times_ns, _ = loop.time_calls(call, clock, NULL_CALLS, watch)
        took["harness"].append(clock() - start)
        took["timed"].append(int(times_ns.sum()))

    def bare() -> None:
        start = clock()
        for _ in range(NULL_CALLS):
            nothing()
        took["bare"].append(clock() - start)

    take_turns(harness, bare, NULL_ROUNDS, swap=request["index"] % 2 == 1)
    per_call_us = {side: float(np.median(ns)) / NULL_CALLS / 1e3 for side, ns in took.items()}
    return {
        "added_us": per_call_us["timed"] - per_call_us["bare"],
        "between_us": per_call_us["harness"] - per_call_us["timed"],
    }


def watch_of(call: digits.Call, n: int) -> loop.Watch:
    """What the suite does between two timed calls."""
    answers = loop.answers_of(call())
    assert answers is not None
    typical_ns = loop.warm_up(call, time.perf_counter_ns, 0.01)
    every = answers.every(call(), time.perf_counter_ns, typical_ns)
    return loop.Watch(call, n, typical_ns, Counters(), answers, every=every)


def runtime(request: dict[str, Any]) -> Figures:
    """Time one input in the suite's loop and in a bare loop, each on its own session."""
    bench, swap = digits.bench_of(request), request["index"] % 2 == 1
    case, clock = bench.job.case, bench.clock
    # The session that is opened first gets the better memory; the order changes from process to process.
    bare_session = digits.bare_of(bench) if swap else None
    session = bench.open()
    bare_session = bare_session or digits.bare_of(bench)
    feeds = measure.rows(bench, case, bench.feeding(session), 0, 1)
    call, bare_call = measure.repeated_call(session, feeds), bare_session.repeated(feeds)
    times: dict[str, list[NDArray[np.int64]]] = {"harness": [], "bare": []}

    # One object for all turns: a turn is a part of one loop.
    watch = watch_of(call, TOTAL_CALLS)

    def harness() -> None:
        times["harness"].append(loop.time_calls(call, clock, CALLS, watch)[0])

    def bare() -> None:
        taken = np.zeros(CALLS, np.int64)
        for i in range(CALLS):
            start = time.perf_counter_ns()
            bare_call()
            taken[i] = time.perf_counter_ns() - start
        times["bare"].append(taken)

    for warmed in (call, bare_call):
        loop.warm_up(warmed, clock, 0.1)
    take_turns(harness, bare, TOTAL_CALLS // CALLS // 2, swap=swap)
    ours, theirs = np.concatenate(times["harness"]), np.concatenate(times["bare"])
    return {f"p{q}": float(np.percentile(ours, q) / np.percentile(theirs, q)) for q in (50, 99)}
