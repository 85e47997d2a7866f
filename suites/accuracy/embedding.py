"""Metrics of embeddings: nearest neighbours among the test samples, each left out of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core import tasks
from harness.core.errors import DataError
from harness.core.measurement import Measurement
from harness.core.tasks.base import NO_ANSWER
from harness.core.tasks.embedding import recalled
from harness.stats import intervals, paired
from harness.stats.intervals import Interval
from suites.accuracy.answers import Answers
from suites.accuracy.rows import PT, Facts, Group, Undefined, row

TASK = tasks.named("embedding")
#: A sample is right if one of so many nearest neighbours has its label.
DEPTHS = (1, 5)


def _hits(answers: Answers, labels: NDArray[Any], depth: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return whether each sample is right, and which samples have another one of their label."""
    if labels.shape != (len(answers),):
        raise DataError(f"{len(answers)} embeddings do not fit labels of shape {labels.shape}")
    _, where, counts = np.unique(labels, return_inverse=True, return_counts=True)
    asked = counts[where] > 1
    if not asked.any():
        raise Undefined(f"no two of {len(labels)} samples have the same label")
    return recalled(answers.neighbours[:, :depth], labels), asked


def effect(nearest: NDArray[np.int64]) -> float:
    """Return by how much the variance of a share of samples is larger than that of independent ones.

    Two samples that are each other's nearest neighbour are both right or both wrong: 1 and their share.

    Parameters
    ----------
    nearest : ndarray, shape (n, k), int64
    """
    first = nearest[:, 0]
    mutual = (first != NO_ANSWER) & (first[first] == np.arange(len(first)))
    return 1.0 + float(mutual.mean())


def _share(hits: NDArray[np.bool_], of: float) -> Interval:
    return intervals.wilson_in_groups(int(np.count_nonzero(hits)), hits.size, of)


def _quality(facts: Facts) -> Iterator[Measurement]:
    for depth in DEPTHS:
        right, asked = _hits(facts.answers, facts.labels, depth)
        recall = _share(right[asked], effect(facts.answers.neighbours))
        yield row(f"recall_at_{depth}", recall, per_sample=right if asked.all() else None)


def _loss(facts: Facts) -> Iterator[Measurement]:
    for depth in DEPTHS:
        before, asked = _hits(facts.base, facts.labels, depth)
        after, _ = _hits(facts.answers, facts.labels, depth)
        of = max(effect(answers.neighbours) for answers in (facts.base, facts.answers))
        flips = paired.flips_in_pairs(before[asked], after[asked], of)
        # Other samples would be left out of a shorter set: its values do not pair by position.
        whole = asked.all()
        lost = PT * (before.astype(np.float64) - after)
        metric = f"recall_at_{depth}_loss"
        yield row(metric, flips.loss, facts.reference, factor=PT, per_sample=lost if whole else None)
        if depth == DEPTHS[0]:
            harmful, beneficial = (flip if whole else None for flip in (before & ~after, ~before & after))
            yield row("flips_harmful", flips.harmful, facts.reference, per_sample=harmful)
            yield row("flips_beneficial", flips.beneficial, facts.reference, per_sample=beneficial)


def _agreement(facts: Facts) -> Iterator[Measurement]:
    _, equal = same(facts.answers, facts.base, len(facts.answers))
    share = _share(equal, effect(facts.base.neighbours))
    yield row("agreement", share, facts.reference, per_sample=equal)


def same(one: Answers, other: Answers, n: int) -> tuple[str, NDArray[np.bool_]]:
    """Return which of the first `n` samples have the same nearest neighbour among them."""
    nearest, others = (answers.head(n).neighbours[:, 0] for answers in (one, other))
    equal: NDArray[np.bool_] = (nearest == others) & (nearest != NO_ANSWER)
    return "nearest neighbour", equal


GROUPS = (
    Group(tuple(f"recall_at_{depth}" for depth in DEPTHS), _quality, labels=True, outputs=True),
    Group(
        (*(f"recall_at_{depth}_loss" for depth in DEPTHS), "flips_harmful", "flips_beneficial"),
        _loss, against=True, labels=True, outputs=True,
    ),
    Group(("agreement",), _agreement, against=True, outputs=True),
)  # fmt: skip
