"""Shifted sets made on all cores; the same bytes as on one, because each sample has its own random stream."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.core.errors import WorkerError
from harness.data.shifts import catalogue
from harness.data.shifts.apply import Array, shift
from harness.data.shifts.family import About, Family

#: Samples a call: few enough for progress on all cores, enough to be worth the way.
CHUNK = 128
#: Work of fast families below this is done here: to start processes takes longer. Bytes of raw samples.
SMALL_BYTE = 1 << 28


@dataclass(frozen=True, slots=True)
class Work:
    """One set to make.

    Parameters
    ----------
    path : Path
        The raw samples, a ``.npy`` file.
    ids : ndarray, shape (n,), int64
    family : Family
    severity, seed : int
    about : About
    """

    path: Path
    ids: npt.NDArray[np.int64] = field(repr=False)
    family: Family
    severity: int
    seed: int
    about: About


def starts_processes(works: Sequence[Work]) -> bool:
    """Whether the work is worth a process on each core."""
    return (
        any(work.family.slow for work in works)
        or sum(work.path.stat().st_size for work in works) > SMALL_BYTE
    )


def made(works: Sequence[Work], workers: int = 0) -> Iterator[Array]:
    """Yield the shifted samples of each work, in order.

    Parameters
    ----------
    workers : int
        Processes; 0: one on each core, where the work is worth it, and else none.

    Raises
    ------
    WorkerError
        A process ended unexpectedly.
    """
    workers = workers or (_cores() if starts_processes(works) else 1)
    if workers == 1:
        for work in works:
            yield _changed(work.path, work.ids, 0, work)
        return
    # Spawned: this process may have threads, and a forked child would wait for their locks forever.
    with closing(_Pool(workers)) as pool:
        yield from pool.made(works)


class _Pool:
    def __init__(self, workers: int) -> None:
        self._executor: Executor = ProcessPoolExecutor(workers, get_context("spawn"))

    def close(self) -> None:
        self._executor.shutdown(cancel_futures=True)

    def made(self, works: Sequence[Work]) -> Iterator[Array]:
        parts = [(work, start) for work in works for start in range(0, len(work.ids), CHUNK)]
        calls = [
            (work.path, work.ids[start : start + CHUNK], start, work.family.name, work.severity, work.seed,
             work.about)
            for work, start in parts
        ]  # fmt: skip
        try:
            results = self._executor.map(_in_process, calls)
            for work in works:
                yield np.concatenate([next(results) for _ in range(0, len(work.ids), CHUNK)])
        except BrokenProcessPool as error:
            raise WorkerError(
                "a process that made shifted data ended unexpectedly",
                cause="the system may have ended it because memory ran out",
                next_step="harness shift build --workers 1 makes them in this process, with less memory",
            ) from error


def _in_process(call: tuple[Any, ...]) -> Array:
    """Change some samples; the family is looked up here, so that a plug-in's functions need not be sent."""
    path, ids, start, name, severity, seed, about = call
    family = catalogue.named(name, about.kind)
    return _changed(path, ids, start, Work(path, ids, family, severity, seed, about))


def _changed(path: Path, ids: npt.NDArray[np.int64], start: int, work: Work) -> Array:
    raw = np.load(path, mmap_mode="r", allow_pickle=False)[start : start + len(ids)]
    return shift(raw, ids, work.family, work.severity, seed=work.seed, about=work.about)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
