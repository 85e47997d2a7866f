"""What the performance suite times, and the settings that say how long."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.core import settings as tables
from harness.core.job import Case
from harness.core.settings import Problems, duration_s, option, whole, whole_numbers
from harness.core.suite import CaseContext
from harness.stats.latency import min_queries

SINGLE_STREAM = "single_stream"
DEVICE_BUFFERS = "device_buffers"
OFFLINE = "offline"
VARIED = "varied"
#: Batch sizes of `VARIED` beside 1, and its inputs: few, because every shape and input is prepared for.
VARIED_SIZES, VARIED_INPUTS = (1, 2, 3), 8
#: Calls with a new input, and as many with one that was just answered: `suites.performance.computed`.
PAIRS = 48
#: A process has this long to start and to open the model, on top of what it times.
START_ALLOWANCE_S = 30.0
#: What a process typically needs for that, on an idle machine; a whole case on an emulated clock.
TYPICAL_START_S, EMULATED_TYPICAL_S = 0.45, 1.0
#: Settings on an emulated clock.
AS_LITTLE_AS_CAN_BE: dict[str, Any] = {
    "processes": 1, "rounds": 1, "seconds": 1e-3, "max_seconds": 1.0, "warm_up_seconds": 1e-3,
    "offline_seconds": 1e-3, "batch_sizes": (1,), "varied_calls": 4, "bare_processes": 0,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Settings:
    """The table ``[suites.performance]``.

    Parameters
    ----------
    processes : int
        Fresh processes of the single-stream case; the interval is over them.
    seconds : float
        Each of them times requests for at least so long, and until all together have as many as the
        early-stopping rule for p99 asks for.
    max_seconds : float
        Stops any timed loop, enough requests or not.
    warm_up_seconds : float
        Untimed requests before every timed loop.
    batch_sizes : tuple of int
        Of the offline case.
    rounds : int
        Fresh processes of the offline case.
    offline_seconds : float
        Timed for each batch size in each round.
    bare_processes : int
        So many of them compare the backend with the runtime that it loads; 0 compares nothing.
    bare_seconds : float
        Timed for that in each of them.
    varied_calls : int
        With inputs and batch sizes that vary, one after the other in one process.
    varied_seconds : float
        Fewer calls where those would take longer.
    """

    # One process has no interval: the process is the unit of analysis.
    processes: int = option(5, whole(2))
    seconds: float = option(0.4, duration_s)
    max_seconds: float = option(20.0, duration_s)
    warm_up_seconds: float = option(0.05, duration_s)
    batch_sizes: tuple[int, ...] = option((1, 8, 32), whole_numbers(1))
    rounds: int = option(3, whole(2))
    offline_seconds: float = option(0.1, duration_s)
    bare_processes: int = option(3, whole(0))
    bare_seconds: float = option(0.1, duration_s)
    # An error in one of 5,000 calls has to occur.
    varied_calls: int = option(6_000, whole(1))
    varied_seconds: float = option(1.0, duration_s)


def check(table: Mapping[str, Any]) -> Problems:
    """List what is wrong with the table: pairs of key and message."""
    return tables.check(table, Settings, _combined)


def read(table: Mapping[str, Any]) -> Settings:
    """Freeze the table; raises ``ConfigurationError`` with every problem."""
    return tables.read(table, Settings, "suites.performance", _combined)


def _combined(table: Mapping[str, Any]) -> Problems:
    default = Settings()
    shortest, longest = (table.get(key, getattr(default, key)) for key in ("seconds", "max_seconds"))
    return [("seconds", f"is more than max_seconds, {longest:g}")] if shortest > longest else []


def cases(context: CaseContext) -> tuple[Case, ...]:
    """Single-stream latency, offline throughput and varied calls, as shipped; none for the reference.

    Where the device has memory of its own, ``single_stream`` copies to it and back with every request, as a
    caller does, and ``device_buffers`` is the same with its buffers there.
    """
    if context.reference:
        return ()
    settings = read(context.settings)
    requests, here = math.ceil(min_queries(0.99) / settings.processes), {}
    if context.emulated:
        # The times are invalid: measure just enough for sizes, and for a reason in every row.
        settings = replace(settings, **AS_LITTLE_AS_CAN_BE)
        requests = 1
        here = {"index": 0}  # in the worker itself: a fresh process takes ten seconds to start there
    data = context.sets[0]
    rows = data.samples if context.max_samples is None else min(data.samples, context.max_samples)
    per_loop_s = settings.warm_up_seconds + settings.max_seconds
    common = {"warm_up_seconds": settings.warm_up_seconds, "max_seconds": settings.max_seconds, **here}
    single_stream = Case(
        SINGLE_STREAM,
        data=data.name,
        samples=min(rows, max(settings.processes, context.batch or 1)),
        deadline_s=settings.processes * (START_ALLOWANCE_S + per_loop_s),
        params={
            **common,
            "processes": settings.processes,
            "requests": requests,
            "seconds": settings.seconds,
            "bare_processes": settings.bare_processes,
            "bare_seconds": settings.bare_seconds,
        },
        # A small model has its requests well before the time is over.
        typical_s=settings.processes * (TYPICAL_START_S + settings.warm_up_seconds + settings.seconds)
        + settings.bare_processes * (TYPICAL_START_S + settings.bare_seconds),
    )
    device_buffers = replace(single_stream, name=DEVICE_BUFFERS)
    sizes = (context.batch,) if context.batch else tuple(b for b in settings.batch_sizes if b <= rows)
    left_out = {
        str(size): f"the model has a fixed batch of {context.batch}"
        if context.batch
        else f"there are only {rows} samples"
        for size in settings.batch_sizes
        if size not in sizes
    }
    offline = Case(
        OFFLINE,
        data=data.name,
        samples=min(rows, max(sizes, default=1)),
        deadline_s=settings.rounds * (START_ALLOWANCE_S + len(sizes) * per_loop_s),
        params={
            **common,
            "processes": settings.rounds,
            "seconds": settings.offline_seconds,
            "batch_sizes": list(sizes),
            "left_out": left_out,
        },
        typical_s=settings.rounds
        * (TYPICAL_START_S + len(sizes) * (settings.warm_up_seconds + settings.offline_seconds)),
    )
    # The last one: it runs in the worker itself, which holds the runtime from then on.
    inputs = 1 if context.emulated else VARIED_INPUTS
    varied = Case(
        VARIED,
        data=data.name,
        samples=min(rows, max(inputs, context.batch or 1)),
        # Every new shape may be prepared for as a new model is.
        deadline_s=(1 + len(VARIED_SIZES)) * START_ALLOWANCE_S + 10 * settings.varied_seconds,
        params={
            "index": 0,
            "calls": settings.varied_calls,
            "max_seconds": settings.varied_seconds,
            "inputs": inputs,
            "pairs": 1 if context.emulated else PAIRS,
            "batch_sizes": [1] if context.emulated else [size for size in VARIED_SIZES if size <= rows],
        },
        typical_s=settings.varied_seconds / 2,
    )
    made = (single_stream, *[device_buffers] * context.device_memory, offline, varied)
    return tuple(replace(case, typical_s=EMULATED_TYPICAL_S) for case in made) if context.emulated else made
