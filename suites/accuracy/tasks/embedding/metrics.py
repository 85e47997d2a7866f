"""Metrics of embeddings: nearest neighbours among the test samples, each left out of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.core.measurement import Measurement
from harness.core.metric import Column, Role
from harness.core.suite import ProposalContext, ProposedGate
from harness.core.task import NO_ANSWER
from harness.data.labels import classes_of_labels
from harness.stats import intervals, paired, similarity
from harness.stats.intervals import Interval
from harness.tasks import propose as gates
from harness.tasks import shapes, shared
from harness.tasks.answers import Answers
from harness.tasks.evidence import by_gain
from harness.tasks.host import GivenLabels, HostTask, LabelSet, noted
from harness.tasks.question import Candidate, Question, Rank
from harness.tasks.rows import PT, Facts, Group, Undefined, row
from harness.tasks.shared import SHIFT_COLUMN, whole_set
from suites.accuracy.tasks.embedding.task import Embedding, neighbours, recalled
from suites.accuracy.tasks.labels import HINT
from suites.accuracy.tasks.unfit import unfit

TASK = Embedding()
TEXT = "an embedding: samples with the same label are to be near each other"
#: Neighbours that are looked for.
NEIGHBOURS = 5
#: Least share of samples with the same nearest neighbour.
LEAST_NEIGHBOURS = 0.5
#: Fewer samples have too few pairs.
FEWEST = 20
#: A sample is right if one of so many nearest neighbours has its label.
DEPTHS = (1, 5)


def nearest_of(answers: Answers) -> NDArray[np.int64]:
    """Return the nearest samples of each, by the direction of its vector, shape (n, 5)."""
    return answers.once("neighbours", lambda: neighbours(answers.read_as(TASK), NEIGHBOURS))


def _hits(answers: Answers, truth: NDArray[Any], depth: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return whether each sample is right, and which samples have another one of their label."""
    if truth.shape != (len(answers),):
        raise DataError(f"{len(answers)} embeddings do not fit labels of shape {truth.shape}")
    _, where, counts = np.unique(truth, return_inverse=True, return_counts=True)
    asked = counts[where] > 1
    if not asked.any():
        raise Undefined(f"no two of {len(truth)} samples have the same label")
    return recalled(nearest_of(answers)[:, :depth], truth), asked


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
        recall = _share(right[asked], effect(nearest_of(facts.answers)))
        yield row(f"recall_at_{depth}", recall, per_sample=right if asked.all() else None)


def _loss(facts: Facts) -> Iterator[Measurement]:
    for depth in DEPTHS:
        before, asked = _hits(facts.base, facts.labels, depth)
        after, _ = _hits(facts.answers, facts.labels, depth)
        of = max(effect(nearest_of(answers)) for answers in (facts.base, facts.answers))
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
    equal = same(facts.answers, facts.base, len(facts.answers))
    share = _share(equal, effect(nearest_of(facts.base)))
    yield row("agreement", share, facts.reference, per_sample=equal)


def _directions(facts: Facts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Vectors of length 1 of the reference and of the model, without samples that one has no direction of."""
    base, vectors = facts.base.read_as(TASK), facts.answers.read_as(TASK)
    has = np.isfinite(base).all(axis=1) & np.isfinite(vectors).all(axis=1)
    if not has.all():
        raise DataError(
            f"{int((~has).sum())} of {len(has)} samples have no direction; the first is sample "
            f"{int((~has).argmax())}",
            cause="the vector is 0, or is not finite",
        )
    return base, vectors


def _cosine(facts: Facts) -> Iterator[Measurement]:
    """How far each vector turned away from the reference's."""
    base, vectors = _directions(facts)
    cosines = np.clip(np.einsum("ij,ij->i", base, vectors), -1.0, 1.0)
    yield row("cosine", intervals.clustered_mean(cosines, reach=1.0), facts.reference, per_sample=cosines)


def _similarity_correlation(facts: Facts) -> Iterator[Measurement]:
    """Whether pairs of samples that were more alike than others still are."""
    base, vectors = _directions(facts)
    if len(base) < FEWEST:
        raise Undefined(f"needs {FEWEST} samples")
    correlation = similarity.rank_correlation(base, vectors)
    if math.isnan(correlation.value):
        raise Undefined("all pairs of samples are equally alike")
    yield row("similarity_rank_correlation", correlation, facts.reference)


def same(one: Answers, other: Answers, n: int) -> NDArray[np.bool_]:
    """Return which of the first `n` samples have the same nearest neighbour among them."""
    nearest, others = (nearest_of(answers.head(n))[:, 0] for answers in (one, other))
    equal: NDArray[np.bool_] = (nearest == others) & (nearest != NO_ANSWER)
    return equal


class EmbeddingMetrics(HostTask):
    """Recall among the nearest neighbours, and whether neighbours are those of the float model."""

    task = TASK
    metrics: ClassVar = {
        "recall_at_1": whole_set(
            "1", "higher", role=Role.RESULT, column=Column("recall@1 %", 100, ".2f"),
            shift_column=SHIFT_COLUMN,
        ),
        "recall_at_5": whole_set("1", "higher"),
        "agreement": shared.AGREEMENT,
        "recall_at_1_loss": whole_set(
            "pt", "lower", role=Role.LOSS, column=Column("recall loss pt [bound]", 1, ".2f", bound=True),
            drift=True,
        ),
        "recall_at_5_loss": whole_set("pt", "lower", drift=True),
        "cosine": whole_set("1", "higher", drift=True),
        "similarity_rank_correlation": whole_set("1", "higher", drift=True),
        "flips_harmful": shared.HARMFUL,
        "flips_beneficial": shared.BENEFICIAL,
    }  # fmt: skip
    quantities: ClassVar = {"agreement": shared.AGREEMENT_OF_PART}
    groups = (
        Group(tuple(f"recall_at_{depth}" for depth in DEPTHS), _quality, labels=True, outputs=True),
        Group(
            (*(f"recall_at_{depth}_loss" for depth in DEPTHS), "flips_harmful", "flips_beneficial"),
            _loss, against=True, labels=True, outputs=True,
        ),
        Group(("agreement",), _agreement, against=True, outputs=True),
        Group(("cosine",), _cosine, against=True, outputs=True),
        Group(("similarity_rank_correlation",), _similarity_correlation, against=True, outputs=True),
    )  # fmt: skip

    def truth(self, given: GivenLabels) -> LabelSet:
        """Read a whole number that samples of one kind share."""
        kinds, note = classes_of_labels(given.labels, ids=given.ids, where=given.where, hint=HINT)
        return LabelSet(kinds, given.names, noted(note))

    def same(self, one: Answers, other: Answers, n: int) -> tuple[str, NDArray[np.bool_]]:
        """Return where both have the same nearest neighbour among the first samples."""
        return "nearest neighbour", same(one, other, n)

    def candidates(self, question: Question) -> list[Candidate]:
        """List vectors, those of length 1 first; unasked, only those."""
        vectors = {name: y for name, y in question.outputs.items() if shapes.is_direction(y)}
        if not question.asked:
            if question.labels is None:
                return [Candidate(TASK.reading(name)) for name in vectors]
            try:
                classes_of_labels(question.labels, where=question.where)
            except DataError:
                return []
            return [Candidate(replace(TASK.reading(name), text=TEXT), Rank.POSSIBLE) for name in vectors]
        if question.labels is None:
            return [Candidate(TASK.reading(name)) for name in question.outputs]
        classes_of_labels(question.labels, where=question.where, hint=HINT)
        fitting = [name for name, y in question.outputs.items() if shapes.one_axis(y)]
        if not fitting:
            raise unfit(question)
        fitting.sort(key=lambda name: name not in vectors)
        return [Candidate(replace(TASK.reading(name), text=TEXT)) for name in fitting]

    def evidence(
        self,
        scores: NDArray[np.float64],
        labels: NDArray[Any],
        by_chance: NDArray[np.float64],
        *,
        alpha: float,
    ) -> tuple[Interval, float]:
        """Return the recall with bounds that are wider than those of independent samples."""
        # Of two samples that are each other's nearest neighbour, both are right or both wrong.
        return by_gain(TASK, scores, by_chance, alpha=alpha, wider=math.sqrt(2))

    def propose(self, context: ProposalContext) -> list[ProposedGate]:
        """Propose how much recall may be lost, and how many nearest neighbours have to be the same."""
        proposed = []
        if context.labelled:
            chance = "samples by shuffled labels"
            proposed.append(gates.better_than_chance("recall_at_1", context.chance, chance))
            # Two samples that are each other's nearest neighbour count as one.
            margin = gates.loss_margin(context.samples // 2)
            proposed += gates.loss(context, "recall@1", "recall_at_1_loss", margin)
        most = gates.Limit(
            LEAST_NEIGHBOURS, "int8 keeps the nearest neighbour of most samples; a broken model of few"
        )
        share = gates.agreement_floor(context.samples)
        least = LEAST_NEIGHBOURS if share is None else share.value
        return proposed + gates.kept(context, "nearest neighbours", "agreement", most, least)
