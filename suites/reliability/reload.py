"""Opens and closes the model many times: answers stay, and nothing grows."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from harness.core.contracts import Bench, Unsupported
from harness.core.job import Case, Samples
from suites.reliability.rows import digest, singles

#: Where /proc is; tests replace it.
ROOT = Path("/")
#: A slow runtime, or one on a busy machine, gets so many times the planned time for the reloads that a slope
#: needs.
LONGER, FEWEST = 15, 7
COUNTED = ("memory_byte", "descriptors", "threads", "files")


def reload(bench: Bench, case: Case) -> Samples:
    """Open, run one call and close, until the time is over or it was done often enough.

    Returns
    -------
    Samples
        After each time, shape (n,), int64: ``memory_byte`` (resident), ``descriptors``, ``threads``, and
        temporary ``files``. ``equal``, bool: the answer of that session was the first one.

    Raises
    ------
    Unsupported
        This system has no ``/proc``.
    """
    if not (ROOT / "proc/self/statm").exists():
        raise Unsupported("there is no /proc/self/statm: the memory of a process cannot be read at once")
    most = case.params["reloads"]
    counts = np.zeros((most, len(COUNTED)), np.int64)  # made before: measuring must not use more memory
    equal, first = np.zeros(most, bool), b""
    start_ns, n = bench.clock(), 0
    with _temporary_files_in(bench.scratch()) as folder:
        while n < most and _goes_on(bench.clock() - start_ns, case.params["seconds"], n):
            with bench.open() as session:
                answer = digest(session.run(singles(bench, case, bench.feeding(session))[0]))
            del session
            first = first or answer
            equal[n] = answer == first
            counts[n] = _resident_byte(), _entries("fd"), _entries("task"), sum(1 for _ in folder.iterdir())
            n += 1
    return Samples({**dict(zip(COUNTED, counts[:n].T.copy(), strict=True)), "equal": equal[:n]})


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[Path]:
    """Let this process make its temporary files in an empty folder: in the usual one others make some too."""
    before, usual = os.environ.get("TMPDIR"), tempfile.tempdir
    os.environ["TMPDIR"], tempfile.tempdir = str(folder), str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = usual
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before


def _goes_on(passed_ns: int, seconds: float, done: int) -> bool:
    return passed_ns < seconds * 1e9 * (1 if done >= FEWEST else LONGER)


def _resident_byte() -> int:
    pages = int((ROOT / "proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _entries(folder: str) -> int:
    return len(os.listdir(ROOT / "proc/self" / folder))  # noqa: PTH208 - nothing else is made of the names
