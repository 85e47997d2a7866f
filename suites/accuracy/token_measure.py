"""Run documents through a model and reduce the logits of each token. Runs on the device, with numpy alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core import preprocess
from harness.core.contracts import Bench, Session
from harness.core.errors import DataError
from harness.core.feeding import Feeding
from harness.core.job import PARITY, Case, Samples
from harness.core.preprocess import Feeds
from harness.core.token_numbers import PADDING, reduce_pairs, reduce_tokens

#: Logits of one call, about: they are held twice, because the next call runs while they are reduced.
CALL_BYTE = 2**26
FLOAT_BYTE = 4

Targets = NDArray[np.integer[Any]]


class Model:
    """A model that gives logits: what is measured, or what it is compared with."""

    def __init__(self, session: Session, feeding: Feeding, scored: str) -> None:
        self.session, self.feeding = session, feeding
        names = [spec.name for spec in feeding.outputs]
        # The runtime may have renamed the outputs: then the first is the scored one.
        self.output = feeding.outputs[names.index(scored) if scored in names else 0]

    def logits(self, rows: Feeds, width: int) -> NDArray[Any]:
        """Run some documents; shape (rows, at least `width`, vocabulary)."""
        count = len(next(iter(rows.values())))
        feeds = self.feeding.feeds(self.feeding.of_length(rows, width))
        made = self.feeding.answers(self.session.run(feeds), count)[self.output.name]
        if made.ndim != 3 or made.shape[1] < width:
            raise DataError(
                f"the output {self.output.name} has shape {list(made.shape[1:])} a document, not logits for "
                f"each of {width} tokens",
                cause="it is no output with logits, or the model gives those of the last token alone",
                next_step="set [model] output to the output of shape [documents, length, vocabulary]",
            )
        return made


def measure(bench: Bench, case: Case) -> Iterator[Samples]:
    """Run the first ``case.samples`` documents of the set, beside those of ``bench.beside`` if there is one.

    Yields
    ------
    Samples
        Arrays over the tokens of all documents: those of `harness.core.token_numbers.reduce_pairs`, or of
        `reduce_tokens` where there is nothing to compare with; ``tokens``, int64, the number in each
        document; ``run_ns``, int64, the time of each call. Values: ``vocabulary``; ``outputs`` and
        ``dtypes``, name, shape and type of what was reduced; ``input_sha256`` (see
        `suites.accuracy.measure`).
    """
    digest = preprocess.Digest()
    scored = str(case.params.get("scored") or "")
    with ExitStack() as stack, ThreadPoolExecutor(1) as other:
        session = stack.enter_context(bench.open())
        model, reference = Model(session, bench.feeding(session), scored), None
        if bench.beside is not None:
            beside = stack.enter_context(bench.open(bench.beside, setting=PARITY))
            reference = Model(beside, bench.feeding(beside, bench.beside), scored)
        coming: Future[Samples] | None = None
        for start, stop in _calls(bench, case, model, reference):
            rows = bench.data.feeds(case.data, start, stop)
            targets = bench.data.targets(case.data, start, stop)
            width = int((targets != PADDING).any(axis=0).nonzero()[0].max(initial=0)) + 1
            begun = bench.clock()
            logits = model.logits(rows, width)
            run_ns = bench.clock() - begun
            base = None if reference is None else reference.logits(rows, width)
            digest.update(rows)
            if coming is not None:
                yield coming.result()
            coming = other.submit(_reduced, logits, base, targets[:, :width], run_ns)
        if coming is not None:
            yield coming.result()
    values = {"outputs": [[model.output.name, [logits.shape[-1]]]], "dtypes": [logits.dtype.name]}
    yield Samples(values={"input_sha256": digest.hexdigest(), "vocabulary": logits.shape[-1], **values})


def _calls(bench: Bench, case: Case, model: Model, reference: Model | None) -> Iterator[tuple[int, int]]:
    """First and last row of each call: few documents where their logits are large."""
    length = bench.data.targets(case.data, 0, 1).shape[1]
    vocabulary = (model.output.shape or (None,))[-1] or 1
    most = max(1, CALL_BYTE // (FLOAT_BYTE * length * vocabulary))
    sizes = [one.feeding.size for one in (model, reference) if one is not None]
    size = min([size for size in sizes if size is not None] or [most, int(case.params["batch"])])
    for start in range(0, case.samples, size):
        yield start, min(start + size, case.samples)


def _reduced(logits: NDArray[Any], base: NDArray[Any] | None, targets: Targets, run_ns: int) -> Samples:
    parts = []
    for row, wanted in enumerate(targets):
        inside = wanted != PADDING
        # A slice is no copy; a document that is padded in front is one.
        chosen = slice(0, len(inside)) if inside.all() else inside.nonzero()[0]
        if not isinstance(chosen, slice) and len(chosen) and chosen[-1] == len(chosen) - 1:
            chosen = slice(0, len(chosen))
        of_tokens = logits[row, : len(inside)][chosen]
        if base is None:
            parts.append(reduce_tokens(of_tokens, wanted[inside]))
        else:
            parts.append(reduce_pairs(base[row, : len(inside)][chosen], of_tokens, wanted[inside]))
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    counts = (targets != PADDING).sum(axis=1).astype(np.int64)
    return Samples(arrays | {"tokens": counts, "run_ns": np.array([run_ns], np.int64)})
