"""Accuracy evaluation against the runtime's bare batch throughput, at the same batch size."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import digits
from benchmarks.paired import Figures, Goal, heading, in_processes, line, take_turns
from harness.core.contracts import Session
from harness.core.job import merge
from harness.core.preprocess import to_feeds
from suites.accuracy.measure import measure

PROCESSES = 8
ROUNDS = 5


def report() -> None:
    heading("Accuracy evaluation: rows a second, harness / bare runtime, 800 rows in batches of 32")
    for name, request in digits.requests("accuracy", "clean"):
        intervals = in_processes("benchmarks.throughput:sample", request, PROCESSES)
        line(name, intervals["wall"], Goal(0.95, least=True))
        line("  of CPU time, as on a single core", intervals["cpu"])


class LastingSession:
    """A session that survives its ``with`` block, so that a case can run again without opening the model."""

    def __init__(self, session: Session) -> None:
        self.inputs, self.outputs, self.effective = session.inputs, session.outputs, session.effective
        self.run = session.run

    def __enter__(self) -> LastingSession:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


def sample(request: dict[str, Any]) -> Figures:
    """Time a whole case (read, preprocess, hash, infer, store) and the inference of its batches alone.

    Both sessions stay open: opening is the performance suite's ``load_time``, not throughput.
    """
    bench, swap = digits.bench_of(request), request["index"] % 2 == 1
    case = bench.job.case
    size = case.params["batch"]
    runtime = digits.bare_of(bench) if swap else None
    session = bench.open()
    runtime = runtime or digits.bare_of(bench)
    batches = [
        to_feeds(bench.data.feeds(case.data, i, min(i + size, case.samples)), bench.artifact, session.inputs)
        for i in range(0, case.samples, size)
    ]
    bench.open = lambda *_, **__: LastingSession(session)  # type: ignore[method-assign]
    run = runtime.batch

    def bare() -> None:
        for feeds in batches:
            run(feeds)

    return _shares(lambda: merge(measure(bench, case)), bare, swap)


def _shares(harness: Callable[[], object], bare: Callable[[], None], swap: bool) -> Figures:
    """Ratio of the bare time to the harness's for the same rows: wall time and CPU time of all threads."""
    took: dict[str, list[tuple[int, int]]] = {"harness": [], "bare": []}

    def timed(name: str, side: Callable[[], object]) -> Callable[[], None]:
        def turn() -> None:
            cpu, wall = time.process_time_ns(), time.perf_counter_ns()
            side()
            took[name].append((time.perf_counter_ns() - wall, time.process_time_ns() - cpu))

        return turn

    harness()
    bare()
    take_turns(timed("harness", harness), timed("bare", bare), ROUNDS, swap=swap)
    wall, cpu = np.median(took["bare"], axis=0) / np.median(took["harness"], axis=0)
    return {"wall": float(wall), "cpu": float(cpu)}
