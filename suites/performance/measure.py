"""Times the calls on the device; every figure comes from a fresh process.

The harness times, and only the call: inputs are prepared, and outputs are compared outside of the timed span.
Raw nanoseconds are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harness.core.contracts import (
    Bench,
    Session,
    SupportsBinding,
    SupportsDeviceBinding,
    SupportsFootprint,
    SupportsProfile,
    Unsupported,
)
from harness.core.feeding import Feeding
from harness.core.job import Case, Samples, merge
from harness.core.preprocess import Feeds
from harness.core.target import DEVICE_ID
from harness.device import gpu
from harness.device.environment import peak_memory_byte
from suites.performance.bare import BATCH, beside_bare
from suites.performance.loop import Call, Place, timed_loop, warm_up
from suites.performance.varied import varied

#: Calls of a profile: it keeps one event a node and call, and most of what a call takes is writing it.
PROFILED_CALLS = (10, 200)
#: Answers in a device's memory are fetched after every so many calls.
FETCH_EVERY = 64


def measure(bench: Bench, case: Case) -> Iterator[Samples]:
    """Yield one part a fresh process.

    `case.params` has ``processes``, how many; what each of them does carries its ``index`` besides.

    Yields
    ------
    Samples
        Arrays, int64, one entry a process or, where it says so, a call in order of time. For
        ``single_stream``: ``latency_ns`` (calls), ``requests``, ``load_ns``, ``first_ns``,
        ``memory_peak_byte``, ``arena_byte`` and ``flash_byte`` where the session tells them, on an NVIDIA GPU
        ``gpu_memory_peak_byte`` or the value ``gpu_memory_na``, and in the first processes what
        `bare.beside_bare` makes; for
        ``device_buffers``: ``latency_ns`` (calls), ``requests``; for ``offline``: ``batch<size>_ns``
        (calls), ``batch<size>_calls``. For ``profile``, which no run asks for by itself: ``kernel<i>_ns``
        (one entry a time that the kernel ran) and the values ``calls`` and ``kernels``, the name and operator
        of node i. All but ``profile`` have what `loop.facts` makes besides; ``varied`` has nothing else.
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
        latency_ns, facts = timed_loop(call, clock, case, case.params["requests"], place=Place(index, size))
        arrays, values = _gpu_memory(session)
        arrays |= _footprint(session)
        peak_byte = peak_memory_byte()
        is_bound = isinstance(session, SupportsBinding)
        batch = None if feeding.size else rows(bench, case, feeding, index * BATCH, BATCH)
        beside = beside_bare(bench, case, session, call, feeds, batch)
    return Samples(
        {
            **facts.arrays,
            "latency_ns": latency_ns,
            "requests": _one(len(latency_ns)),
            "load_ns": _one(load_ns),
            "first_ns": _one(first_ns),
            "memory_peak_byte": _one(peak_byte),
            **arrays,
            **beside.arrays,
        },
        {
            **facts.values,
            "batch": size,
            "call": "bound" if is_bound else "run",
            **values,
            **beside.values,
        },
    )


def _device_buffers(bench: Bench, case: Case) -> Samples:
    with bench.open() as session:
        if not isinstance(session, SupportsDeviceBinding):
            provider = session.effective["provider"]
            raise Unsupported(f"{provider} has no memory of its own that buffers can be bound in")
        feeding = bench.feeding(session)
        size = feeding.size or 1
        index = case.params["index"]
        call = session.bind_device(rows(bench, case, feeding, index * size, size))
        latency_ns, facts = timed_loop(
            call, bench.clock, case, case.params["requests"],
            place=Place(index, size), fetch=call.fetch, every=FETCH_EVERY,
        )  # fmt: skip
    return Samples(
        {**facts.arrays, "latency_ns": latency_ns, "requests": _one(len(latency_ns))},
        {**facts.values, "batch": size, "call": "device-bound"},
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


def _footprint(session: Session) -> dict[str, NDArray[np.int64]]:
    """What the model takes of a microcontroller's memory, where the session tells it."""
    if not isinstance(session, SupportsFootprint):
        return {}
    footprint = session.footprint()
    return {"arena_byte": _one(footprint.arena_byte), "flash_byte": _one(footprint.flash_byte)}


def _offline(bench: Bench, case: Case) -> Samples:
    sizes, left_out = list(case.params["batch_sizes"]), dict(case.params["left_out"])
    arrays: dict[str, NDArray[np.int64]] = {}
    looked_at: list[Samples] = []
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
            elapsed_ns, facts = timed_loop(
                call, bench.clock, case, 1, place=Place(case.params["index"], size)
            )
            arrays |= {f"batch{size}_ns": elapsed_ns, f"batch{size}_calls": _one(len(elapsed_ns))}
            looked_at.append(facts)
    joined = merge(looked_at)
    return Samples({**joined.arrays, **arrays}, {**joined.values, "batch_sizes": sizes, "left_out": left_out})


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


def _varied(bench: Bench, case: Case) -> Samples:
    with bench.open() as session:
        feeding = bench.feeding(session)
        sizes = [feeding.size] if feeding.size else case.params["batch_sizes"]
        feeds = [
            (size, rows(bench, case, feeding, start, size))
            for size in sizes
            for start in range(min(case.params["inputs"], case.samples) if size == sizes[0] else 1)
        ]
        return varied(session, feeds, bench.clock, case)


MEASURES: Mapping[str, Callable[[Bench, Case], Samples]] = {
    "single_stream": _single_stream,
    "device_buffers": _device_buffers,
    "offline": _offline,
    "profile": _profile,
    "varied": _varied,
}


def rows(bench: Bench, case: Case, feeding: Feeding, start: int, size: int) -> Feeds:
    """Feeds of `size` rows from `start`, beginning anew where the set ends."""
    canonical = bench.data.feeds(case.data, 0, case.samples)
    return feeding.feeds({name: x[(start + np.arange(size)) % len(x)] for name, x in canonical.items()})


def repeated_call(session: Session, feeds: Feeds) -> Call:
    """Return the fastest safe call on these feeds that the session has."""
    return session.bind(feeds) if isinstance(session, SupportsBinding) else lambda: session.run(feeds)


def _one(value: int) -> NDArray[np.int64]:
    return np.array([value], np.int64)
