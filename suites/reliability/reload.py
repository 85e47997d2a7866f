"""Opens and closes the model many times: memory, file descriptors and threads must not grow."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from harness.core.contracts import Bench, Unsupported
from harness.core.job import Case, Samples
from suites.reliability.rows import singles

#: Where /proc is; tests replace it.
ROOT = Path("/")
#: A slow runtime gets so many times the planned time, for as many reloads as a slope needs.
LONGER, FEWEST = 3, 7


def reload(bench: Bench, case: Case) -> Samples:
    """Open, run one call and close, until the time is over or it was done often enough.

    Returns
    -------
    Samples
        After each time, shape (n,), int64: ``memory_byte`` (resident), ``descriptors``, ``threads``.

    Raises
    ------
    Unsupported
        This system has no ``/proc``.
    """
    if not (ROOT / "proc/self/statm").exists():
        raise Unsupported("there is no /proc/self/statm: the memory of a process cannot be read at once")
    most = case.params["reloads"]
    counts = np.zeros((most, 3), np.int64)  # made before: measuring must not use more memory
    start_ns, n = bench.clock(), 0
    while n < most and _goes_on(bench.clock() - start_ns, case.params["seconds"], n):
        with bench.open() as session:
            session.run(singles(bench, case, bench.feeding(session))[0])
        del session
        counts[n] = _resident_byte(), _entries("fd"), _entries("task")
        n += 1
    return Samples(dict(zip(("memory_byte", "descriptors", "threads"), counts[:n].T.copy(), strict=True)))


def _goes_on(passed_ns: int, seconds: float, done: int) -> bool:
    return passed_ns < seconds * 1e9 * (1 if done >= FEWEST else LONGER)


def _resident_byte() -> int:
    pages = int((ROOT / "proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _entries(folder: str) -> int:
    return len(os.listdir(ROOT / "proc/self" / folder))  # noqa: PTH208 - nothing else is made of the names
