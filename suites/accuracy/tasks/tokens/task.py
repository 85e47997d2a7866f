"""One token for each token of a document, by the highest logit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import TensorSpec
from harness.core.contracts import Bench
from harness.core.errors import DataError
from harness.core.job import Case, Samples
from harness.core.settings import option, whole_numbers
from harness.core.task import Need, Reading, Task, scored
from harness.core.token_numbers import NO_TARGET, NO_TOKEN
from suites.accuracy.tasks.tokens import documents


@dataclass(frozen=True, slots=True)
class Options:
    """The table ``[task]``.

    Parameters
    ----------
    choices : tuple of int
        Tokens that answer a multiple choice (A, B, C, D): the answer of a document is the likeliest of them
        at the place of its last target. Empty: documents have no such answer.
    """

    choices: tuple[int, ...] = option((), whole_numbers(0, fewest=2))


class Tokens(Task):
    """An answer is the likeliest token at each place, int64 of shape (n, length).

    Labels, int32 of shape (n, length), are the token that each place should predict: `NO_TARGET` where there
    is none, `PADDING` behind the end of a document. The score of a document is its share of right tokens.
    """

    name = "tokens"
    Options = Options
    needs: ClassVar = frozenset((Need.LABELS,))
    reduces = True
    score_name = "token accuracy"
    chance_name = "the commonest token has"

    def scores(self, spec: TensorSpec, threshold: float | None, options: Mapping[str, Any]) -> int | None:
        """Return the number of tokens of the vocabulary."""
        return spec.shape[-1] if spec.shape else None

    def answers(self, reading: Reading, outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Return the likeliest tokens; of equal logits the first."""
        logits = logits_of(reading, outputs)
        with np.errstate(invalid="ignore"):
            finite = np.isfinite(logits.max(axis=-1))
        return np.where(finite, logits.argmax(axis=-1), NO_TOKEN)

    def measure(self, bench: Bench, case: Case) -> Iterator[Samples]:
        """Run documents, beside the float model: see `documents.measure`."""
        return documents.measure(bench, case, self.read_options(case.params.get("options") or {}).choices)

    def score(self, answers: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
        """Return the share of places whose token is right; 0 of a document without targets."""
        width = answers.shape[1]
        has = labels[:, :width] >= 0
        right = (answers == labels[:, :width]) & has
        share: NDArray[np.float64] = right.sum(axis=1) / np.maximum(1, has.sum(axis=1))
        return share

    def same(self, answers: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.float64]:
        """Return the share of places with the same token."""
        share: NDArray[np.float64] = ((answers == reference) & (answers != NO_TOKEN)).mean(axis=1)
        return share

    def chance(self, labels: NDArray[Any]) -> NDArray[np.float64]:
        """Score the commonest target at every place."""
        tokens, counts = np.unique(labels[labels >= 0], return_counts=True)
        commonest = tokens[counts.argmax()] if len(tokens) else NO_TARGET
        return self.score(np.full(labels.shape, commonest), labels)


def logits_of(reading: Reading, outputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Return the logits of each token, shape (n, length, vocabulary).

    Raises
    ------
    DataError
        The output is something else.
    """
    logits = scored(reading, outputs)
    if logits.ndim != 3 or logits.shape[2] < 2:
        raise DataError(
            f"the output {reading.output} has shape {list(logits.shape[1:])} a document, not logits for each "
            "token",
            cause="it is no output with logits, or the model gives those of the last token alone",
            next_step="set [model] output to the output of shape [documents, length, vocabulary]",
        )
    return logits
