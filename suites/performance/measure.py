"""Times the calls on the device; every figure comes from a fresh process.

The harness times, and only the call: inputs are prepared, outputs are left alone. Raw nanoseconds are kept.
"""

from __future__ import annotations

import gc
import math
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harness.core.contracts import (
    Bench,
    Clock,
    Session,
    SupportsBinding,
    SupportsDeviceBinding,
    SupportsProfile,
    Unsupported,
)
from harness.core.feeding import Feeding
from harness.core.job import Case, Samples
from harness.core.preprocess import Feeds
from harness.core.target import DEVICE_ID
from harness.device import gpu
from harness.device.environment import peak_memory_byte

Call = Callable[[], object]

#: The first calls of a loop are slow (caches, thread pools, lazy kernels) however short the warm-up is.
WARM_UP_CALLS = 3
#: Calls of a profile: it keeps one event a node and call, and most of what a call takes is writing it.
PROFILED_CALLS = (10, 200)
#: Keeps the raw samples of a trivial model small; the early-stopping rule needs 662.
MAX_CALLS = 100_000


def measure(bench: Bench, case: Case) -> Iterator[Samples]:
    """Yield one part a fresh process.

    `case.params` has ``processes``, how many; what each of them does carries its ``index`` besides.

    Yields
    ------
    Samples
        Arrays, int64, one entry a process or, where it says so, a call in order of time. For
        ``single_stream``: ``latency_ns`` (calls), ``requests``, ``load_ns``, ``first_ns``,
        ``memory_peak_byte``, on an NVIDIA GPU ``gpu_memory_peak_byte`` or the value ``gpu_memory_na``; for
        ``device_buffers``: ``latency_ns`` (calls), ``requests``; for ``offline``: ``batch<size>_ns``
        (calls), ``batch<size>_calls``. For ``profile``, which no run asks for by itself: ``kernel<i>_ns``
        (one entry a time that the kernel ran) and the values ``calls`` and ``kernels``, the name and operator
        of node i.
    """
    if "index" in case.params:
        yield MEASURES[case.name](bench, case)
        return
    processes = case.params["processes"]
    for index in range(processes):
        params = {**case.params, "index": index}
        yield bench.spawn(replace(case, params=params, deadline_s=case.deadline_s / processes))


def _single_stream(bench: Bench, case: Case) -> Samples:
    index, clock = case.params["index"], bench.clock
    start = clock()
    session = bench.open()
    load_ns = clock() - start
    with session:
        feeding = bench.feeding(session)
        size = feeding.size or 1
        feeds = rows(bench, case, feeding, index * size, size)
        start = clock()
        session.run(feeds)
        first_ns = clock() - start
        call = repeated_call(session, feeds)
        latency_ns = timed_loop(call, clock, case, case.params["requests"])
        arrays, values = _gpu_memory(session)
    return Samples(
        {
            "latency_ns": latency_ns,
            "requests": _one(len(latency_ns)),
            "load_ns": _one(load_ns),
            "first_ns": _one(first_ns),
            "memory_peak_byte": _one(peak_memory_byte()),
            **arrays,
        },
        {"batch": size, "call": "bound" if isinstance(session, SupportsBinding) else "run", **values},
    )


def _device_buffers(bench: Bench, case: Case) -> Samples:
    with bench.open() as session:
        if not isinstance(session, SupportsDeviceBinding):
            provider = session.effective["provider"]
            raise Unsupported(f"{provider} has no memory of its own that buffers can be bound in")
        feeding = bench.feeding(session)
        size = feeding.size or 1
        call = session.bind_device(rows(bench, case, feeding, case.params["index"] * size, size))
        latency_ns = timed_loop(call, bench.clock, case, case.params["requests"])
    return Samples(
        {"latency_ns": latency_ns, "requests": _one(len(latency_ns))},
        {"batch": size, "call": "device-bound"},
    )


def _gpu_memory(session: Session) -> tuple[dict[str, NDArray[np.int64]], dict[str, str]]:
    """What this process holds of an NVIDIA GPU's memory, or the reason why it is not known.

    After the last request that is the most that it held: a runtime's arena gives nothing back.
    """
    device = gpu.find(session.effective["provider"], session.effective.get(DEVICE_ID, "0"))
    if device is None:
        return {}, {}
    memory_byte = device.process_memory_byte()
    return (
        ({"gpu_memory_peak_byte": _one(memory_byte)}, {})
        if isinstance(memory_byte, int)
        else ({}, {"gpu_memory_na": memory_byte["na"]})
    )


def _offline(bench: Bench, case: Case) -> Samples:
    sizes, left_out = list(case.params["batch_sizes"]), dict(case.params["left_out"])
    arrays: dict[str, NDArray[np.int64]] = {}
    with bench.open() as session:
        feeding = bench.feeding(session)
        fixed = feeding.size
        if fixed is not None and sizes != [fixed]:
            why = f"the file has a fixed batch of {fixed}"
            left_out |= {str(size): why for size in sizes if size != fixed}
            sizes = [fixed]
        # Each round begins with another size, so that none always gets the cold or the hot machine.
        turn = case.params["index"] % max(1, len(sizes))
        for size in sizes[turn:] + sizes[:turn]:
            call = repeated_call(session, rows(bench, case, feeding, 0, size))
            elapsed_ns = timed_loop(call, bench.clock, case, 1)
            arrays |= {f"batch{size}_ns": elapsed_ns, f"batch{size}_calls": _one(len(elapsed_ns))}
    return Samples(arrays, {"batch_sizes": sizes, "left_out": left_out})


def _profile(bench: Bench, case: Case) -> Samples:
    with bench.open() as session:
        if not isinstance(session, SupportsProfile):
            raise Unsupported("the runtime tells no times of its kernels")
        feeding = bench.feeding(session)
        feeds = rows(bench, case, feeding, 0, feeding.size or 1)
        typical_ns = warm_up(lambda: session.run(feeds), bench.clock, case.params["warm_up_seconds"])
        least, most = PROFILED_CALLS
        calls = max(least, min(most, int(case.params["seconds"] * 1e9 / typical_ns)))
        profile = session.profile(feeds, calls)
    arrays = {f"kernel{index}_ns": times for index, times in enumerate(profile.values())}
    return Samples(arrays, {"calls": calls, "kernels": [list(node) for node in profile]})


MEASURES: Mapping[str, Callable[[Bench, Case], Samples]] = {
    "single_stream": _single_stream,
    "device_buffers": _device_buffers,
    "offline": _offline,
    "profile": _profile,
}


def rows(bench: Bench, case: Case, feeding: Feeding, start: int, size: int) -> Feeds:
    """Feeds of `size` rows from `start`, beginning anew where the set ends."""
    canonical = bench.data.feeds(case.data, 0, case.samples)
    return feeding.feeds({name: x[(start + np.arange(size)) % len(x)] for name, x in canonical.items()})


def repeated_call(session: Session, feeds: Feeds) -> Call:
    """Return the fastest safe call on these feeds that the session has."""
    return session.bind(feeds) if isinstance(session, SupportsBinding) else lambda: session.run(feeds)


def timed_loop(call: Call, clock: Clock, case: Case, least: int) -> NDArray[np.int64]:
    """Warm up, decide the number of calls from it, and time them."""
    params = case.params
    # A collection would fall into some call. It comes before the warm-up, because it empties the caches.
    gc.collect()
    typical_ns = warm_up(call, clock, params["warm_up_seconds"])
    wanted = max(least, math.ceil(params["seconds"] * 1e9 / typical_ns))
    affordable = max(1, int(params["max_seconds"] * 1e9 / typical_ns))
    # Fixed before the first timed call: a loop that looks at its own times stops at a lucky one.
    return time_calls(call, clock, min(wanted, affordable, MAX_CALLS))


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


def time_calls(call: Call, clock: Clock, n: int) -> NDArray[np.int64]:
    """Time `n` calls one by one.

    Returns
    -------
    ndarray, shape (n,), int64, ns
        In order of time.
    """
    times_ns = array("q", bytes(8 * n))  # numpy takes three times as long to store one number
    enabled = gc.isenabled()
    gc.disable()
    try:
        for i in range(n):
            start = clock()
            call()
            times_ns[i] = clock() - start
    finally:
        if enabled:
            gc.enable()
    return np.frombuffer(times_ns, np.int64)


def _one(value: int) -> NDArray[np.int64]:
    return np.array([value], np.int64)
