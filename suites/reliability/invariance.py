"""Runs the rows with other batch sizes and thread counts, each at least once, within a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.contracts import Bench, Unsupported
from harness.core.errors import BackendError
from harness.core.job import Case, Samples
from harness.core.preprocess import Outputs
from suites.reliability.model_file import operators
from suites.reliability.rows import compare, one_batch, run_all, shortest_format, singles

#: Beyond the rows: on both sides of the sizes at which kernels change their blocks, then the others.
EDGES = (33, 32, 31, 17, 16, 15, 64, 65, 63, 128)
LARGER = (*EDGES, *(size for size in range(9, 67) if size not in EDGES), 100, 129, 200, 256)
#: For cases of runs that an earlier version began.
SECONDS = 0.5
#: The first counts get so many times the planned time: a runtime that prepares itself for each shape is slow
#: on a busy machine. They are the sizes up to the number of rows; 2, 3, one thread more than there are CPUs.
LONGER, FIRST_THREADS = 6, 3
#: Its scale is that of the whole batch: an answer then depends on the other samples by design.
DYNAMIC = "DynamicQuantizeLinear"

Pair = tuple[Outputs, Outputs]


class _LeftOut(Exception):
    """A count that cannot be tried here, with the reason."""


def batch_invariance(bench: Bench, case: Case) -> Samples:
    """Each row alone against the same rows in batches of other sizes.

    Returns
    -------
    Samples
        What `compare` returns, row by row, with ``tried``: the batch size of each row.
    """
    with bench.open() as session:
        feeding = bench.feeding(session)
        if feeding.size is not None:
            raise Unsupported(f"the file has a fixed batch of {feeding.size}")
        if DYNAMIC in operators(bench.artifact):
            raise Unsupported(f"{DYNAMIC} takes its scale from all samples of a batch")
        alone = run_all(session, feeding, singles(bench, case, feeding), 1)
        canonical = bench.data.feeds(case.data, 0, case.samples)

        def answers(size: int) -> Pair:
            rows = np.arange(size) % case.samples
            feeds = feeding.feeds({name: x[rows] for name, x in canonical.items()})
            expected = {name: y[rows] for name, y in alone.items()}
            return expected, run_all(session, feeding, [feeds], size)

        sizes = case.params.get("batches") or default_batches(case.samples)
        return _compared(
            bench, case, [1, *sizes], answers, _numbers(alone, session.effective), sure=case.samples - 1
        )


def default_batches(rows: int) -> list[int]:
    """Sizes in the order in which they are tried, until the time is over."""
    return [rows, *range(2, rows), *(size for size in LARGER if size > rows)]


def thread_invariance(bench: Bench, case: Case) -> Samples:
    """Every thread count against the first, on the largest batch: small work is not shared out.

    Returns
    -------
    Samples
        What `compare` returns, row by row, with ``tried``: the number of threads.
    """
    counts = case.params.get("threads") or default_threads(_cpus())
    with bench.open(threads=counts[0]) as session:
        feeding = bench.feeding(session)
        feeds = singles(bench, case, feeding) if feeding.size else [one_batch(bench, case, feeding)]
        rows = feeding.size or case.samples
        base = run_all(session, feeding, feeds, rows)
        numbers = _numbers(base, session.effective)

    def answers(threads: int) -> Pair:
        if threads > max(3, _cpus() + 1):
            raise _LeftOut(f"there are {_cpus()} CPUs")
        try:
            other = bench.open(threads=threads)
        except BackendError as error:
            raise _LeftOut(error.what) from error
        with other:
            return base, run_all(other, feeding, feeds, rows)

    return _compared(bench, case, counts, answers, numbers, sure=FIRST_THREADS)


def default_threads(cpus: int) -> list[int]:
    """Counts in the order in which they are tried: 1, 2, 3, one more than there are CPUs, the rest."""
    return list(dict.fromkeys([1, 2, 3, cpus + 1, cpus, *range(4, cpus)]))


def _compared(
    bench: Bench,
    case: Case,
    counts: Sequence[int],
    answers: Callable[[int], Pair],
    numbers: Mapping[str, Any],
    *,
    sure: int,
) -> Samples:
    """Compare the first count with each other one, in order; after the time is over, with no further one.

    The first `sure` of the others have ``LONGER`` times that time.
    """
    arrays: dict[str, list[NDArray[Any]]] = {}
    tried: list[int] = []
    left_out: dict[str, str] = {}
    seconds = case.params.get("seconds", SECONDS)
    start_ns = bench.clock()
    for position, count in enumerate(counts[1:]):
        try:
            passed_ns = bench.clock() - start_ns
            if tried and passed_ns > seconds * 1e9 * (LONGER if position < sure else 1):
                raise _LeftOut(f"{seconds:g} s were over")
            expected, given = answers(count)
        except _LeftOut as reason:
            left_out[str(count)] = str(reason)
            continue
        compared = compare(expected, given)
        tried.append(count)
        for name, array in compared.items():
            arrays.setdefault(name, []).append(array)
        arrays.setdefault("tried", []).append(np.full(len(compared["bit_equal"]), count))
    if not tried:
        raise Unsupported("no other number of threads: " + "; ".join(dict.fromkeys(left_out.values())))
    return Samples(
        {name: np.concatenate(pieces) for name, pieces in arrays.items()},
        {"first": counts[0], "tried": tried, "left_out": left_out, **numbers},
    )


def _numbers(answers: Outputs, effective: Mapping[str, str]) -> dict[str, Any]:
    """The outputs, the precision that the session declares, and the shortest format that holds them."""
    precision = effective.get("precision", "")
    return {"outputs": list(answers), "precision": precision, "storage": shortest_format(answers)}


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
