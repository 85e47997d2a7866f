"""Several sessions at once, and several threads on one session: each answer is that of a call alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.contracts import Bench, SupportsThreads
from harness.core.feeding import Feeding
from harness.core.job import Case, Samples
from harness.core.preprocess import Feeds, Outputs
from suites.reliability.rows import compare, run_all, singles

#: What the rows are called.
SESSIONS, THREADS = "sessions", "threads"
NOT_SHARED = "a session of this backend is for one thread"

Run = Callable[[Feeds], Outputs]


def concurrent(bench: Bench, case: Case) -> Samples:
    """Run the rows in several threads until the time is over, each thread in another order.

    Returns
    -------
    Samples
        What `rows.compare` returns, row by row, against the answers of calls alone; with the prefix
        ``sessions_`` where each thread has a session, and ``threads_`` where all share one. Values:
        ``threads_na``, why none is shared; ``at_once``.
    """
    at_once, seconds = case.params["at_once"], case.params["seconds"]
    with ExitStack() as stack:
        sessions = [stack.enter_context(bench.open()) for _ in range(at_once)]
        feeding = bench.feeding(sessions[0])
        feeds = singles(bench, case, feeding)
        alone = [run_all(sessions[0], feeding, [one], feeding.size or 1) for one in feeds]

        def measured(runs: Sequence[Run]) -> dict[str, NDArray[Any]]:
            return _together(bench, feeding, feeds, alone, runs, seconds)

        arrays = {f"{SESSIONS}_{name}": y for name, y in measured([s.run for s in sessions]).items()}
        values: dict[str, Any] = {"at_once": at_once, "outputs": list(alone[0])}
        values |= {"precision": sessions[0].effective.get("precision", ""), "storage": ""}
        if isinstance(sessions[0], SupportsThreads):
            run = sessions[0].in_threads()
            arrays |= {f"{THREADS}_{name}": y for name, y in measured([run] * at_once).items()}
        else:
            values["threads_na"] = NOT_SHARED
    return Samples(arrays, values)


def _together(
    bench: Bench,
    feeding: Feeding,
    feeds: list[Feeds],
    alone: list[Outputs],
    runs: Sequence[Run],
    seconds: float,
) -> dict[str, NDArray[Any]]:
    """Call each of `runs` in a thread of its own: all feeds once, and again until the time is over."""
    rows, begin = feeding.size or 1, threading.Barrier(len(runs))
    parts: list[dict[str, NDArray[Any]]] = []
    errors: list[BaseException] = []

    def call(place: int) -> None:
        begin.wait()
        end_ns = bench.clock() + int(seconds * 1e9)
        order = [(place + i) % len(feeds) for i in range(len(feeds))]
        rounds = 0
        try:
            while not errors and (not rounds or bench.clock() < end_ns):
                for index in order:
                    answer = feeding.answers(runs[place](feeds[index]), rows)
                    parts.append(compare(alone[index], answer))
                rounds += 1
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            errors.append(error)

    threads = [threading.Thread(target=call, args=(place,)) for place in range(len(runs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
