"""The backend's calls beside those of the runtime that it loads, opened by the vendor's own interface.

It comes after everything else that a process measures: two more copies of the model are opened.
"""

from __future__ import annotations

import gc
from array import array
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.core import unexpected
from harness.core.contracts import BareModel, Bench, Clock, Session, SupportsBinding, Unsupported
from harness.core.job import Case, Samples
from harness.core.preprocess import Feeds
from harness.device import environment
from suites.performance.loop import Call, warm_up

#: A block of calls takes about so long: short against what changes on a machine, long against the first call
#: after a turn, which is not timed. There are so many turns of backend, runtime, runtime, backend at least.
BLOCK_NS, FEWEST_TURNS = 2_000_000, 3
#: Rows of the larger batch, in which calls are compared as well.
BATCH = 8
#: Empty calls, whose median says what a call in Python takes here.
EMPTY_CALLS = 500
#: Two more copies of the model are open: nothing is compared where there is not this share of memory left.
ROOM = 3


class Opened(NamedTuple):
    """What opening a model and its first call took.

    Parameters
    ----------
    load_ns, first_ns : int
    load_waited_ns, first_waited_ns : int
        For which threads of the process waited for a core meanwhile, all together.
    load_waited_here_ns, first_waited_here_ns : int
        The same of the thread that called.
    peak_byte : int
        By which the peak of the resident memory is above what there was before; -1 where the kernel does not
        tell.
    """

    load_ns: int
    first_ns: int
    load_waited_ns: int
    first_waited_ns: int
    load_waited_here_ns: int
    first_waited_here_ns: int
    peak_byte: int


def beside_bare(
    bench: Bench, case: Case, session: Session, call: Call, feeds: Feeds, batch: Feeds | None
) -> Samples:
    """Compare a backend with the runtime that it loads, in the process in which the backend was measured.

    Parameters
    ----------
    session : Session
        The backend's.
    call : callable
        Its repeated call on `feeds`; where the session binds buffers, the runtime's is on such buffers, too.
    batch : Feeds, optional
        `BATCH` rows; None where the file takes one number of rows.

    Returns
    -------
    Samples
        int64: ``bare_ns`` and ``beside_bare_ns`` (calls), the times of the runtime and of the backend in
        turns; ``bare_calls`` (1,), how many of each; ``bare_empty_ns`` (1,); ``bare_opened`` and
        ``backend_opened`` (1, 7), the fields of `Opened`. ``bare_batch_ns``, ``beside_bare_batch_ns`` and
        ``bare_batch_calls`` are the same of plain calls on `batch`. Without a comparison the value
        ``bare_na`` or ``bare_batch_na``, why.
    """
    if case.params["index"] >= case.params.get("bare_processes", 0):
        return Samples()
    try:
        return _compare(bench, case, session, call, feeds, batch)
    except Unsupported as error:
        return Samples({}, {"bare_na": str(error)})
    except Exception as error:  # noqa: BLE001 - a file that the runtime alone does not take is a reason, too
        return Samples({}, {"bare_na": f"the runtime alone cannot run it: {unexpected.one_line(error)}"})


def _compare(
    bench: Bench, case: Case, session: Session, call: Call, feeds: Feeds, batch: Feeds | None
) -> Samples:
    room_byte = environment.available_memory_byte()
    if room_byte is not None and room_byte < ROOM * environment.peak_memory_byte():
        raise Unsupported("there is no memory for two more copies of the model")
    clock = bench.clock
    # The runtime first: what the process has made ready by then is to the backend's advantage.
    bare, bare_opened = _opened(bench.open_bare, feeds, clock)
    if not all(
        isinstance(y, np.ndarray) and y.dtype.kind in "biuf" for y in (*feeds.values(), *bare.run(feeds))
    ):
        raise Unsupported("not all inputs and outputs are numbers: the backend converts them")
    again, backend_opened = _opened(bench.open, feeds, clock)
    again.__exit__(None, None, None)
    del again
    is_bound = isinstance(session, SupportsBinding)
    times = alternate(call, bare.bind(feeds) if is_bound else lambda: bare.run(feeds), clock,
                      case.params["bare_seconds"])  # fmt: skip
    in_batch = _in_batch(session, bare, batch, clock, case.params["bare_seconds"])
    return Samples(
        {
            "beside_bare_ns": times[0],
            "bare_ns": times[1],
            "bare_calls": np.array([len(times[0])], np.int64),
            "bare_empty_ns": np.array([empty_call_ns(clock)], np.int64),
            "bare_opened": np.array([bare_opened], np.int64),
            "backend_opened": np.array([backend_opened], np.int64),
            **in_batch.arrays,
        },
        in_batch.values,
    )


def _in_batch(
    session: Session, bare: BareModel, batch: Feeds | None, clock: Clock, seconds: float
) -> Samples:
    if batch is None:
        return Samples({}, {"bare_batch_na": "the file takes one number of rows"})
    try:
        times = alternate(lambda: session.run(batch), lambda: bare.run(batch), clock, seconds)
    except Exception as error:  # noqa: BLE001 - whether a batch is refused rightly is not asked here
        return Samples({}, {"bare_batch_na": f"{BATCH} rows are refused: {unexpected.one_line(error)}"})
    return Samples(
        {
            "beside_bare_batch_ns": times[0],
            "bare_batch_ns": times[1],
            "bare_batch_calls": np.array([len(times[0])], np.int64),
        }
    )


def _opened(open_model: Callable[[], Any], feeds: Feeds, clock: Clock) -> tuple[Any, Opened]:
    gc.collect()
    is_reset = environment.reset_peak_memory()
    before_byte = environment.peak_memory_byte()
    waited_ns = [_waited_ns()]
    start = clock()
    model = open_model()
    load_ns = clock() - start
    waited_ns.append(_waited_ns())
    start = clock()
    model.run(feeds)
    first_ns = clock() - start
    waited_ns.append(_waited_ns())
    peak_byte = environment.peak_memory_byte() - before_byte if is_reset else -1
    # Those of threads that ended meanwhile are gone.
    (load_all_ns, load_here_ns), (first_all_ns, first_here_ns) = np.maximum(
        0, np.diff(waited_ns, axis=0)
    ).tolist()
    return model, Opened(load_ns, first_ns, load_all_ns, first_all_ns, load_here_ns, first_here_ns, peak_byte)


def _waited_ns() -> tuple[int, int]:
    """Of all threads of this process, and of this one."""
    return int(environment.scheduling().get("waited_ns", 0)), environment.thread_waited_ns()


def alternate(
    one: Call, other: Call, clock: Clock, seconds: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Time two calls in blocks, in the order one, other, other, one: a drift is the same for both.

    Returns
    -------
    tuple of ndarray, shape (n,), int64, ns
        Of the one and of the other, as many.
    """
    typical_ns = warm_up(other, clock, 0.0)
    calls = max(1, BLOCK_NS // typical_ns)
    turns = max(FEWEST_TURNS, int(seconds * 1e9 / (4 * calls * typical_ns)))
    times: tuple[array[int], array[int]] = (array("q"), array("q"))
    enabled = gc.isenabled()
    gc.disable()
    try:
        for _ in range(turns):
            for turn, call in ((0, one), (1, other), (1, other), (0, one)):
                call()  # its data are in the caches again
                add = times[turn].append
                for _ in range(calls):
                    start = clock()
                    call()
                    add(clock() - start)
    finally:
        if enabled:
            gc.enable()
    return np.array(times[0], np.int64), np.array(times[1], np.int64)


def empty_call_ns(clock: Clock) -> int:
    """Median time of a call that does nothing."""
    times_ns = []
    for _ in range(EMPTY_CALLS):
        start = clock()
        _nothing()
        times_ns.append(clock() - start)
    return sorted(times_ns)[len(times_ns) // 2]


def _nothing() -> None:
    pass
