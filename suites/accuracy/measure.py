"""Run a data set through the model and keep its outputs. Runs on the device, with numpy alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core import preprocess
from harness.core.contracts import Bench
from harness.core.feeding import Feeding
from harness.core.in_order import InOrder
from harness.core.job import Case, Samples
from harness.core.preprocess import Feeds, Outputs

TOP = 5
#: What is preprocessed and hashed at once, in whole batches: many small rows, because each step has a price
#: of its own beside that of its rows; few large ones, because a device has little memory.
BLOCK_BYTE = 2**20

Call = tuple[Feeds, int]
"""What the session takes at once, and how many samples of it count."""


def measure(bench: Bench, case: Case) -> Iterator[Samples]:
    """Run the first ``case.samples`` rows of the set.

    Yields
    ------
    Samples
        Arrays ``output:0``, ``output:1`` … in the order of the file, or those of `reduce` with the same
        suffix; ``run_ns``, int64, the time of each inference call; it is no latency, since the next block is
        made beside it. Values: ``outputs``, name and shape of a sample of each output; ``dtypes``, theirs;
        ``input_sha256``, the digest of the canonical inputs; ``scored`` and ``threshold``, as the case has
        them.
    """
    digest = preprocess.Digest()
    with bench.open() as session:
        feeding = bench.feeding(session)
        sequences = case.params.get("sequences")
        run = session.run if sequences is None else InOrder(session, feeding, sequences).run
        with closing(_ahead(_blocks(bench, case, feeding, digest))) as blocks:
            for calls in blocks:
                yield _infer(bench, run, feeding, calls, keep=case.params["keep"])
    values = {
        name: case.params[name] for name in ("scored", "threshold") if case.params.get(name) is not None
    }
    yield Samples(values={"input_sha256": digest.hexdigest(), **values})


def _blocks(bench: Bench, case: Case, feeding: Feeding, digest: preprocess.Digest) -> Iterator[list[Call]]:
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
        yield calls
        digest.update(canonical)


def _ahead(blocks: Iterator[list[Call]]) -> Generator[list[Call]]:
    """Make the next block in one other thread while the caller uses this one: two are held, never more.

    Numpy, hashing and the runtimes all release Python's lock, so that a second core hides the work; a
    single one does the same in turns.
    """
    with ThreadPoolExecutor(1) as other:
        coming = other.submit(next, blocks, None)
        while (calls := coming.result()) is not None:
            coming = other.submit(next, blocks, None)
            yield calls


def _infer(
    bench: Bench, run: Callable[[Feeds], Outputs], feeding: Feeding, calls: list[Call], *, keep: str
) -> Samples:
    answers, run_ns = [], []
    for feeds, rows in calls:
        begun = bench.clock()
        outputs = run(feeds)
        run_ns.append(bench.clock() - begun)
        answers.append(feeding.answers(outputs, rows))
    real = {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
    arrays: dict[str, NDArray[Any]] = {"run_ns": np.asarray(run_ns, np.int64)}
    for position, spec in enumerate(feeding.outputs):
        if keep == "outputs":
            arrays[f"output:{position}"] = real[spec.name]
        else:
            arrays |= {f"{name}:{position}": array for name, array in reduce(real[spec.name]).items()}
    return Samples(
        arrays,
        {
            "outputs": [[spec.name, real[spec.name].shape[1:]] for spec in feeding.outputs],
            "dtypes": [real[spec.name].dtype.name for spec in feeding.outputs],
        },
    )


def reduce(y: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Say of each sample's output what the metrics of a classification need, in a few bytes.

    Parameters
    ----------
    y : ndarray, shape (n, …)
        Scores; the axes of a sample are taken as one.

    Returns
    -------
    dict
        ``top_index`` int64 and ``top_value`` float64, shape (n, k), k at most 5, the first of equal scores;
        ``logsumexp``, ``lowest``, ``highest`` (NaN where any score is) and ``total``, float64, and
        ``row_hash``, uint64, of the bytes as they are, all of shape (n,).
    """
    scores = y.reshape(len(y), -1)
    if scores.dtype not in (np.float32, np.float64):
        scores = scores.astype(np.float64)
    top_index = _top(scores)
    top_value = np.take_along_axis(scores, top_index, axis=1).astype(np.float64)
    return {"top_index": top_index, "top_value": top_value, **reduce_scores(y), "row_hash": hash_rows(y)}


def _top(scores: NDArray[Any]) -> NDArray[np.int64]:
    """Return the places of the highest scores, shape (n, k), the first of equal ones, NaN last.

    A maximum at a time: of many classes, sorting them all takes ten times as long.
    """
    rows, rest = np.arange(len(scores)), scores.copy()
    places = np.empty((len(scores), min(TOP, scores.shape[1])), np.int64)
    for place in range(places.shape[1]):
        places[:, place] = rest.argmax(axis=1)
        rest[rows, places[:, place]] = -np.inf
    # What is taken cannot be told from minus infinity, and NaN is no maximum.
    unusual = ~np.isfinite(scores).all(axis=1)
    if unusual.any():
        order = np.argsort(-scores[unusual], axis=1, kind="stable")
        places[unusual] = order[:, : places.shape[1]]
    return places


def hash_rows(y: NDArray[Any]) -> NDArray[np.uint64]:
    """Give `reduce`'s ``row_hash``, the slow half of it."""
    flat = np.ascontiguousarray(y.reshape(len(y), -1))
    hashes = [
        int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest(), "little") for row in flat
    ]
    return np.asarray(hashes, np.uint64)


def reduce_scores(y: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Give what `reduce` says of single numbers a row, without its order and its hash."""
    # A class a row: numpy reduces many short rows several times faster along the samples.
    scores = np.ascontiguousarray(y.reshape(len(y), -1).T, np.float64)
    # A NaN makes the sample's maximum NaN: so one without an answer is known.
    highest = scores.max(axis=0)
    with np.errstate(all="ignore"):
        logsumexp = highest + np.log(np.exp(scores - highest).sum(axis=0))
        total = scores.sum(axis=0)
    return {
        "logsumexp": logsumexp,
        "lowest": scores.min(axis=0),
        "highest": highest,
        "total": total,
    }
