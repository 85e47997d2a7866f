"""The host's half of the third-party task: its labels, its metrics, and the gates that it proposes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from toy_task import Counting

from harness.core.errors import DataError
from harness.core.measurement import Measurement
from harness.core.metric import Column, Role
from harness.core.suite import ProposalContext, ProposedGate
from harness.stats import intervals, paired
from harness.tasks import propose as gates
from harness.tasks import shared
from harness.tasks.answers import Answers
from harness.tasks.host import GivenLabels, HostTask, LabelSet
from harness.tasks.quantity import Quantity
from harness.tasks.question import Candidate, Question, Rank
from harness.tasks.rows import PT, Facts, Group, row, share

TASK = Counting()


def counts_of(answers: Answers) -> NDArray[np.int64]:
    return answers.reduced(TASK)["counts"]


def _quality(facts: Facts) -> Iterator[Measurement]:
    counts = counts_of(facts.answers)
    yield row("count_exact", share(counts == facts.labels), per_sample=counts == facts.labels)
    errors = np.abs(counts - facts.labels).astype(np.float64)
    yield row("count_error", intervals.clustered_mean(errors), per_sample=errors)


def _loss(facts: Facts) -> Iterator[Measurement]:
    before, after = (counts_of(side) == facts.labels for side in (facts.base, facts.answers))
    flips = paired.flips(before, after)
    lost = PT * (before.astype(np.float64) - after)
    yield row("count_exact_loss", flips.loss, facts.reference, factor=PT, per_sample=lost)
    yield row("flips_harmful", flips.harmful, facts.reference, per_sample=before & ~after)
    yield row("flips_beneficial", flips.beneficial, facts.reference, per_sample=~before & after)


def _agreement(facts: Facts) -> Iterator[Measurement]:
    same = TASK.same(counts_of(facts.answers), counts_of(facts.base)) == 1
    yield row("agreement", share(same), facts.reference, per_sample=same)


class CountingMetrics(HostTask):
    """The share of right counts, how far off they are, and what a variant loses."""

    task = TASK
    metrics: ClassVar = {
        "count_exact": shared.whole_set(
            "1", "higher", role=Role.RESULT, share="simple", column=Column("right counts %", 100, ".2f")
        ),
        "count_error": shared.whole_set("1", "lower"),
        "agreement": shared.AGREEMENT,
        "count_exact_loss": shared.whole_set(
            "pt", "lower", role=Role.LOSS, share="paired",
            column=Column("loss pt [bound]", 1, ".2f", bound=True), drift=True,
        ),
        "flips_harmful": shared.HARMFUL,
        "flips_beneficial": shared.BENEFICIAL,
    }  # fmt: skip
    quantities: ClassVar = {"count_exact": Quantity("counts {:.3g} % right", 100, reach=1)}
    groups = (
        Group(("count_exact", "count_error"), _quality, labels=True),
        Group(("count_exact_loss", "flips_harmful", "flips_beneficial"), _loss, against=True, labels=True),
        Group(("agreement",), _agreement, against=True),
    )

    def truth(self, given: GivenLabels) -> LabelSet:
        labels = given.labels.reshape(len(given.labels), -1)
        if labels.shape[1] != 1 or (labels < 0).any() or (labels != np.rint(labels)).any():
            raise DataError(f"labels of shape {given.labels.shape} are no counts", where=given.where)
        return LabelSet(labels[:, 0].astype(np.int64))

    def same(self, one: Answers, other: Answers, n: int) -> tuple[str, NDArray[np.bool_]]:
        return "count", TASK.same(counts_of(one)[:n], counts_of(other)[:n]) == 1

    def candidates(self, question: Question) -> list[Candidate]:
        if not question.asked:
            return []
        single = [name for name, y in question.outputs.items() if y[0].size == 1]
        return [Candidate(TASK.reading(name), Rank.CERTAIN) for name in single]

    def propose(self, context: ProposalContext) -> list[ProposedGate]:
        return gates.loss(context, "counts", "count_exact_loss", gates.loss_margin(context.samples))
