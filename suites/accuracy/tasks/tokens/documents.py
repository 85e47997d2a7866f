"""Run documents of different lengths, and keep some numbers of each token. Runs on the device."""

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
from harness.core.reductions import hash_rows
from harness.core.task import NO_ANSWER
from harness.core.token_numbers import (
    NO_TOKEN,
    PADDING,
    Numbers,
    places_of,
    reduce_pairs,
    reduce_tokens,
)  # fmt: skip

#: Names of the arrays that a task makes begin with it (`harness.tasks.answers`).
ANSWER = "answer:"
#: Outputs of one call, about: two calls are held, because the next one runs while the last is reduced.
CALL_BYTE = 2**26
FLOAT_BYTE = 4


class Model:
    """A model that gives logits for each token: what is measured, or what it is compared with."""

    def __init__(self, session: Session, feeding: Feeding, names: list[str], scored: str) -> None:
        self.session, self.feeding = session, feeding
        of_file = [spec.name for spec in feeding.outputs]
        # A converter may rename outputs, and keeps their order.
        canonical = names if len(names) == len(of_file) else of_file
        self.name = scored if scored in canonical else canonical[0]
        self.output = feeding.outputs[canonical.index(self.name)]

    def run(self, rows: Feeds, width: int) -> NDArray[Any]:
        """Run some documents; shape (rows, `width`, vocabulary)."""
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
        return made[:, :width]


def measure(bench: Bench, case: Case, choices: tuple[int, ...]) -> Iterator[Samples]:
    """Run the first ``case.samples`` documents of the set, beside those of ``bench.beside`` if there is one.

    Parameters
    ----------
    choices : tuple of int
        Tokens that answer a multiple choice; see `reduce`.

    Yields
    ------
    Samples
        As `suites.accuracy.measure` does with reductions, of the output that is scored alone: ``answer:…``
        has what `reduce` makes of each document, and ``answer:padding_effect``, float64, of one, in nats, and
        NaN of the others. ``row_hash:0`` is a hash of the likeliest tokens and the log-probabilities: of the
        bytes of all logits it would take as long as the model.
    """
    digest = preprocess.Digest()
    names, scored = list(case.params.get("outputs") or ()), str(case.params.get("scored") or "")
    with ExitStack() as stack, ThreadPoolExecutor(1) as other:
        session = stack.enter_context(bench.open())
        model, reference = Model(session, bench.feeding(session), names, scored), None
        if bench.beside is not None:
            beside = stack.enter_context(bench.open(bench.beside, setting=PARITY))
            reference = Model(beside, bench.feeding(beside, bench.beside), names, scored)
        coming: Future[Samples] | None = None
        for start, stop in _calls(bench, case, model, reference):
            rows = bench.data.feeds(case.data, start, stop)
            targets = bench.data.targets(case.data, start, stop)
            width = int((targets != PADDING).any(axis=0).nonzero()[0].max(initial=0)) + 1
            begun = bench.clock()
            logits = model.run(rows, width)
            run_ns = np.array([bench.clock() - begun], np.int64)
            base = None if reference is None else reference.run(rows, width)
            digest.update(rows)
            if coming is not None:
                yield coming.result()
            effect = np.full(stop - start, np.nan)
            if start == 0:
                row, effect_of_row = _padding_effect(model, rows, targets)
                effect[row] = effect_of_row
            coming = other.submit(_samples, logits, base, targets, choices, run_ns, effect)
        if coming is not None:
            yield coming.result()
    values = {name: case.params.get(name) for name in ("scored", "threshold", "options")}
    yield Samples(values={
        "input_sha256": digest.hexdigest(),
        "outputs": [[model.name, [targets.shape[1], logits.shape[2]]]],
        "dtypes": [logits.dtype.name],
        **{name: value for name, value in values.items() if value is not None},
    })  # fmt: skip


def _calls(bench: Bench, case: Case, model: Model, reference: Model | None) -> Iterator[tuple[int, int]]:
    """First and last row of each call: few documents where their logits are large."""
    length = bench.data.targets(case.data, 0, 1).shape[1]
    vocabulary = (model.output.shape or (None,))[-1] or 1
    most = max(1, CALL_BYTE // (FLOAT_BYTE * length * vocabulary))
    sizes = [one.feeding.size for one in (model, reference) if one is not None]
    size = min([size for size in sizes if size is not None] or [most, int(case.params["batch"])])
    for start in range(0, case.samples, size):
        yield start, min(start + size, case.samples)


def _padding_effect(model: Model, rows: Feeds, targets: NDArray[Any]) -> tuple[int, float]:
    """Return the shortest of some documents, and how much padding behind it moves its log-probabilities.

    Both runs are of that document alone: a batch may use other kernels. 0 where the file has a fixed length,
    so that there is no run without padding; inf where one run has no finite numbers and the other has.
    """
    lengths = [int(np.flatnonzero(row != PADDING).max(initial=0)) + 1 for row in targets]
    row = int(np.argmin(lengths))
    alone = {name: x[row : row + 1] for name, x in rows.items()}
    one, other = (
        reduce_tokens(model.run(alone, width)[0, : lengths[row]], targets[row, : lengths[row]])
        for width in (lengths[row], targets.shape[1])
    )
    with np.errstate(invalid="ignore"):
        gaps = np.abs(one["top_log_probability"] - other["top_log_probability"])
    gaps[(one["top"] == NO_TOKEN) & (other["top"] == NO_TOKEN)] = 0.0
    return row, float(np.nan_to_num(gaps, nan=np.inf).max())


def _samples(
    logits: NDArray[Any],
    base: NDArray[Any] | None,
    targets: NDArray[Any],
    choices: tuple[int, ...],
    run_ns: NDArray[np.int64],
    effect: NDArray[np.float64],
) -> Samples:
    made = reduce(logits, base, targets, choices)
    of_tokens = [y[places_of(row)] for y, row in zip(logits, targets, strict=True)]
    # Of the model alone: the host runs it without another one beside it.
    flat = [np.ascontiguousarray(made[name]) for name in ("top", "top_log_probability", "log_probability")]
    return Samples({
        "run_ns": run_ns,
        f"{ANSWER}padding_effect": effect,
        "lowest:0": np.array([y.min() for y in of_tokens], np.float64),
        "highest:0": np.array([y.max() for y in of_tokens], np.float64),
        "row_hash:0": hash_rows(np.concatenate([array.view(np.uint8) for array in flat], axis=1)),
        **{f"{ANSWER}{name}": array for name, array in made.items()},
    })  # fmt: skip


def reduce(
    logits: NDArray[Any], base: NDArray[Any] | None, targets: NDArray[Any], choices: tuple[int, ...]
) -> Numbers:
    """Reduce the logits of some documents.

    Parameters
    ----------
    logits, base : ndarray, shape (n, length, vocabulary)
        Of the model, and of the one beside it, if there is one.
    targets : ndarray, shape (n, longest), integer
        Behind `length` they are padding.
    choices : tuple of int

    Returns
    -------
    dict of str to ndarray, shape (n, longest)
        As `reduce_pairs` gives them, or `reduce_tokens` without `base`; NaN and `NO_TOKEN` where there is no
        token. With choices ``choice``, int64 of shape (n,): the place among them of the likeliest one at the
        last target of the document, or `NO_ANSWER`.
    """
    documents = [
        _document(logits[row], None if base is None else base[row], of_tokens)
        for row, of_tokens in enumerate(targets)
    ]
    made = {name: np.stack([one[name] for one in documents]) for name in documents[0]}
    return made | ({"choice": _choice(logits, targets, choices)} if choices else {})


def _document(logits: NDArray[Any], base: NDArray[Any] | None, targets: NDArray[Any]) -> Numbers:
    places = places_of(targets)
    if base is None:
        numbers = reduce_tokens(logits[places], targets[places])
    else:
        numbers = reduce_pairs(base[places], logits[places], targets[places])
    padded: Numbers = {}
    for name, values in numbers.items():
        padded[name] = np.full(len(targets), NO_TOKEN if values.dtype.kind == "i" else np.nan, values.dtype)
        padded[name][places] = values
    return padded


def _choice(logits: NDArray[Any], targets: NDArray[Any], choices: tuple[int, ...]) -> NDArray[np.int64]:
    if max(choices) >= logits.shape[2]:
        raise DataError(
            f"[task] choices has the token {max(choices)}, and the model has logits of 0 to "
            f"{logits.shape[2] - 1}",
            next_step="give the ids that the tokenizer of the model has for the choices",
        )
    has = targets >= 0
    last = np.where(has.any(axis=1), targets.shape[1] - 1 - has[:, ::-1].argmax(axis=1), 0)
    of_choices = logits[np.arange(len(logits))[:, None], last[:, None], np.array(choices)]
    answered = has.any(axis=1) & ~np.isnan(of_choices).any(axis=1)
    return np.where(answered, of_choices.argmax(axis=1), NO_ANSWER)
