"""Run a data set through the model and keep its outputs. Runs on the device, with numpy alone."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core import preprocess
from harness.core.contracts import Bench
from harness.core.feeding import Feeding
from harness.core.in_order import InOrder
from harness.core.job import Case, Samples
from harness.core.preprocess import Feeds, Outputs
from harness.core.task import Task
from harness.device import plugins
from suites.accuracy import reduction

#: What is preprocessed and hashed at once, in whole batches: many small rows, because each step has a price
#: of its own beside that of its rows; few large ones, because a device has little memory.
BLOCK_BYTE = 2**20
#: What plans of earlier versions, which name no task, were measured as.
BEFORE_TASKS = "classification"

Call = tuple[Feeds, int]
"""What the session takes at once, and how many samples of it count."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of the set from `start` on: canonical inputs, and the calls that they are fed in."""

    start: int
    canonical: Feeds
    calls: list[Call]


def measure(bench: Bench, case: Case) -> Iterator[Samples]:
    """Run the first ``case.samples`` rows of the set.

    Yields
    ------
    Samples
        Arrays ``output:0``, ``output:1`` … in the order of the file, or ``lowest``, ``highest`` and
        ``row_hash`` of each with the same suffix and what the task made of them, named ``answer:…``;
        ``run_ns``, int64, the time of each inference call; it is no latency, since the next block is made
        beside it. Values: ``outputs``, name and shape of a sample of each output; ``dtypes``, theirs;
        ``input_sha256``, the digest of the canonical inputs; ``scored``, ``threshold`` and ``options``, as
        the case has them.
    """
    digest = preprocess.Digest()
    task: Task = plugins.choose(plugins.TASKS, case.params.get("task", BEFORE_TASKS))()
    measured = task.measure(bench, case)
    if measured is not None:
        yield from measured
        return
    with bench.open() as session:
        feeding = bench.feeding(session)
        sequences = case.params.get("sequences")
        run = session.run if sequences is None else InOrder(session, feeding, sequences).run
        with closing(_ahead(_blocks(bench, case, feeding, digest))) as blocks:
            for rows in blocks:
                yield _infer(bench, case, run, feeding, rows, task)
    values = {
        name: case.params[name]
        for name in ("scored", "threshold", "options")
        if case.params.get(name) is not None
    }
    yield Samples(values={"input_sha256": digest.hexdigest(), **values})


def _blocks(bench: Bench, case: Case, feeding: Feeding, digest: preprocess.Digest) -> Iterator[_Rows]:
    """What the session takes, in whole batches; each block is hashed while the session runs it."""
    batch = 1 if "sequences" in case.params else feeding.size or int(case.params["batch"])
    row_byte = sum(x.nbytes for x in bench.data.feeds(case.data, 0, 1).values())
    block = batch * max(1, BLOCK_BYTE // max(1, batch * row_byte))
    for start in range(0, case.samples, block):
        stop = min(start + block, case.samples)
        canonical = bench.data.feeds(case.data, start, stop)
        calls = []
        for first in range(0, stop - start, batch):
            rows = {name: x[first : first + batch] for name, x in canonical.items()}
            calls.append((feeding.feeds(rows), min(batch, stop - start - first)))
        yield _Rows(start, canonical, calls)
        digest.update(canonical)


def _ahead(blocks: Iterator[_Rows]) -> Generator[_Rows]:
    """Make the next block in one other thread while the caller uses this one: two are held, never more.

    Numpy, hashing and the runtimes all release Python's lock, so that a second core hides the work; a
    single one does the same in turns.
    """
    with ThreadPoolExecutor(1) as other:
        coming = other.submit(next, blocks, None)
        while (rows := coming.result()) is not None:
            coming = other.submit(next, blocks, None)
            yield rows


def _infer(
    bench: Bench,
    case: Case,
    run: Callable[[Feeds], Outputs],
    feeding: Feeding,
    rows: _Rows,
    task: Task,
) -> Samples:
    """Run some rows, and keep their outputs or what the task reduces them to."""
    answers, run_ns = [], []
    for feeds, count in rows.calls:
        begun = bench.clock()
        outputs = run(feeds)
        run_ns.append(bench.clock() - begun)
        answers.append(feeding.answers(outputs, count))
    joined = {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
    real = {spec.name: joined[spec.name] for spec in feeding.outputs}
    dtypes = [y.dtype.name for y in real.values()]
    arrays: dict[str, NDArray[Any]] = {"run_ns": np.asarray(run_ns, np.int64)}
    reduces = case.params["keep"] == "reduced"
    if reduces:
        arrays |= reduction.of_outputs(real)
    else:
        arrays |= {f"output:{position}": y for position, y in enumerate(real.values())}
    if reduces or task.needs:
        arrays |= reduction.of_task(task, bench, case, real, rows.canonical, rows.start)
    return Samples(arrays, {"outputs": [[name, y.shape[1:]] for name, y in real.items()], "dtypes": dtypes})
