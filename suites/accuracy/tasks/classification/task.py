"""One class a sample: by the highest score, by one score and a threshold, or as an index."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import TensorSpec
from harness.core.errors import DataError
from harness.core.task import (
    NO_ANSWER,
    Block,
    OneOutput,
    Reading,
    Threshold,
    has_one_axis,
    scored,
)  # fmt: skip

#: Highest scores that are kept of a sample.
TOP = 5


class Form(StrEnum):
    """How an output holds the class of a sample."""

    #: One score for each class; the highest is the answer.
    SCORES = "scores"
    #: The class itself.
    INDEX = "index"
    #: One score; above the threshold it means class 1, else class 0.
    SCORE = "score"


class Classification(OneOutput):
    """An answer is a class, int64; ``NO_ANSWER`` where the highest score is not a finite number."""

    name = "classification"
    has_classes = True
    threshold = Threshold.OPTIONAL
    reduces = True
    score_name = "accuracy"
    chance_name = "the commonest class has"

    def _form(self, *, integers: bool, width: int, threshold: float | None) -> Form:
        if threshold is not None:
            return Form.SCORE
        # Several whole numbers a sample are quantized scores, not classes.
        return Form.INDEX if integers and width in (0, 1) else Form.SCORES

    def check(self, reading: Reading, shape: Sequence[int]) -> None:
        """Check the shape of one sample of the output."""
        size = math.prod(shape)
        name = f"the output {reading.output}".rstrip()
        if reading.form is Form.SCORES:
            if not has_one_axis(shape) or size < 2:
                raise DataError(
                    f"{name} has shape {list(shape)} a sample, not one score a class",
                    cause="the model is no classifier, or another output holds the scores"
                    if size != 1
                    else "one score a sample is a class only above a threshold",
                    next_step="set [model] output to the output with the scores, or [model] threshold, "
                    'or task = "regression"',
                )
        elif size != 1:
            what = "one score, which [model] threshold is for" if reading.form is Form.SCORE else "one class"
            raise DataError(
                f"{name} has shape {list(shape)} a sample, not {what}",
                next_step="set [model] output to the output with that score",
            )

    def scores(self, spec: TensorSpec, threshold: float | None, options: Mapping[str, Any]) -> int | None:
        """Return the number of classes."""
        integers = spec.quantization is None and np.issubdtype(np.dtype(spec.dtype), np.integer)
        form = self._form(integers=bool(integers), width=0, threshold=threshold)
        if form is Form.SCORE:
            return 2
        return spec.shape[-1] if form is Form.SCORES and spec.shape else None

    def ordered_classes(self, reading: Reading, outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Return the class with the highest score of each sample; empty for other forms."""
        if reading.form != Form.SCORES:
            return np.empty(0, np.int64)
        values = scored(reading, outputs)
        top: NDArray[np.int64] = values.reshape(len(values), -1).argmax(axis=1)
        return top

    def classes(self, reading: Reading, shape: Sequence[int]) -> int | None:
        """Return the number of classes; None where the model gives only the index of one.

        Raises
        ------
        DataError
            The shape of a sample does not fit the form.
        """
        self.check(reading, shape)
        if reading.form is Form.INDEX:
            return None
        return 2 if reading.form is Form.SCORE else math.prod(shape)

    def read(self, reading: Reading, values: NDArray[Any]) -> NDArray[np.int64]:
        """Return the class of each sample; of equal scores the first."""
        self.check(reading, values.shape[1:])
        flat = values.reshape(len(values), -1)
        return self.decide(reading, flat.max(axis=1), flat.argmax(axis=1))

    def decide(
        self, reading: Reading, highest: NDArray[Any], position: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the class of each sample from its highest score and the place of that score.

        Parameters
        ----------
        highest : ndarray, shape (n,)
            NaN where any score is.
        position : ndarray, shape (n,), int64
            Read only for the form ``scores``.
        """
        answered = np.isfinite(highest)
        top: NDArray[Any] = position
        if reading.form is Form.INDEX:
            top = np.where(answered, highest, NO_ANSWER)
        elif reading.form is Form.SCORE:
            top = highest > reading.threshold
        return np.where(answered, top, NO_ANSWER).astype(np.int64)

    def reduce(self, reading: Reading, block: Block) -> dict[str, NDArray[Any]]:
        """Say of each sample what the metrics of a classification need, in a few bytes.

        Returns
        -------
        dict
            ``top_index`` int64 and ``top_value`` float64, shape (n, k), k at most 5, the first of equal
            scores; and what `sums` gives.
        """
        y = scored(reading, block.outputs)
        scores = y.reshape(len(y), -1)
        if scores.dtype not in (np.float32, np.float64):
            scores = scores.astype(np.float64)
        top_index = _top(scores)
        top_value = np.take_along_axis(scores, top_index, axis=1).astype(np.float64)
        return {"top_index": top_index, "top_value": top_value, **sums(y)}

    def score(self, answers: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
        """Return 1 for the class of the label, else 0."""
        right: NDArray[np.float64] = (answers == labels).astype(np.float64)
        return right

    def same(self, answers: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.float64]:
        """Return 1 for the same class, else 0."""
        equal: NDArray[np.float64] = ((answers == reference) & (answers != NO_ANSWER)).astype(np.float64)
        return equal

    def chance(self, labels: NDArray[Any]) -> NDArray[np.float64]:
        """Score the commonest class."""
        classes, counts = np.unique(labels, return_counts=True)
        return self.score(classes[counts.argmax()], labels)


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


def sums(y: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Return ``logsumexp``, ``lowest``, ``highest`` (NaN where any score is) and ``total``, shape (n,).

    Parameters
    ----------
    y : ndarray, shape (n, …)
        Scores; the axes of a sample are taken as one.
    """
    # A class a row: numpy reduces many short rows several times faster along the samples.
    scores = np.ascontiguousarray(y.reshape(len(y), -1).T, np.float64)
    # A NaN makes the sample's maximum NaN: so one without an answer is known.
    highest = scores.max(axis=0)
    with np.errstate(all="ignore"):
        logsumexp = highest + np.log(np.exp(scores - highest).sum(axis=0))
        total = scores.sum(axis=0)
    return {"logsumexp": logsumexp, "lowest": scores.min(axis=0), "highest": highest, "total": total}
