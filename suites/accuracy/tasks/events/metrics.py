"""Metrics of events in streams: what is detected, what is detected where nothing is, and how late."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.core.measurement import Measurement
from harness.core.metric import Column, Role
from harness.core.suite import CLEAN, ProposalContext, ProposedGate
from harness.data.labels import classes
from harness.stats import events, intervals, paired
from harness.stats.events import BACKGROUND
from harness.stats.intervals import Interval
from harness.stats.sequences import mean_over_sequences
from harness.tasks import propose as gates
from harness.tasks import shared
from harness.tasks.answers import Answers
from harness.tasks.host import GivenLabels, HostTask, LabelSet, noted
from harness.tasks.question import Candidate, Question, Rank
from harness.tasks.rows import PT, Facts, Group, Undefined, row, share
from harness.tasks.shared import SHIFT_COLUMN, whole_set
from suites.accuracy.tasks.classification import candidates
from suites.accuracy.tasks.events.task import Events
from suites.accuracy.tasks.labels import HINT

TASK = Events()
S_PER_H, NS_PER_S = 3600.0, 1e9


def _frames(answers: Answers) -> NDArray[np.int64]:
    return answers.reduced(TASK)["frames"]


def _streams(facts: Facts) -> NDArray[np.int64]:
    if facts.sequence is None:
        return np.zeros(len(facts.answers), np.int64)
    return facts.sequence[: len(facts.answers)]


def _labelled(facts: Facts) -> events.Events:
    if facts.labels.shape != (len(facts.answers),):
        raise DataError(f"{len(facts.answers)} frames do not fit labels of shape {facts.labels.shape}")
    labelled = events.events_of(facts.labels, _streams(facts))
    if not len(labelled):
        raise Undefined("no frame of the data is labelled with an event")
    return labelled


def _detected(facts: Facts, answers: Answers) -> events.Events:
    options = answers.reading(TASK).options
    return events.events_of(_frames(answers), _streams(facts), hold=options.hold)


def _matches(facts: Facts, one: events.Events, other: events.Events) -> NDArray[np.int64]:
    return events.matches(one, other, tolerance=facts.answers.reading(TASK).options.tolerance)


def _share(hits: NDArray[np.bool_], stream: NDArray[np.int64]) -> Interval:
    """Share of events, with the wider of the intervals over events and over streams."""
    alone = share(hits)
    if len(np.unique(stream)) < 2:
        return alone
    over = mean_over_sequences(hits.astype(np.float64), stream, reach=1.0, lowest=0.0)
    return Interval(alone.value, min(alone.low, over.low), max(alone.high, over.high), alone.n)


def _quality(facts: Facts) -> Iterator[Measurement]:
    labelled, detected = _labelled(facts), _detected(facts, facts.answers)
    index = _matches(facts, labelled, detected)
    hits = index >= 0
    yield row("event_recall", _share(hits, labelled.stream), per_sample=hits)
    accepted = np.ones(len(detected), bool)
    accepted[index[hits]] = False
    yield row("false_accepts", _rate(facts, detected.start[accepted]))
    if hits.any():
        late = (detected.start[index[hits]] - labelled.start[hits]).astype(np.float64)
        delay_ns = NS_PER_S * facts.answers.reading(TASK).options.hop_s * late
        over = mean_over_sequences(delay_ns, labelled.stream[hits])
        yield row("detection_delay", over if len(delay_ns) > 1 else Interval(over.value, np.nan, np.nan, 1))


def _rate(facts: Facts, starts: NDArray[np.int64]) -> Interval:
    """Rate of detections in 1/s: Garwood's exact interval, or that over streams where it is wider."""
    hop_s = facts.answers.reading(TASK).options.hop_s
    exact = events.poisson_rate(len(starts), len(facts.answers) * hop_s)
    stream = _streams(facts)
    if len(np.unique(stream)) < 2:
        return exact
    counts = np.zeros(len(stream))
    counts[starts] = 1 / hop_s
    over = mean_over_sequences(counts, stream)
    return Interval(exact.value, max(0.0, min(exact.low, over.low)), max(exact.high, over.high), len(stream))


def _frame_accuracy(facts: Facts) -> Iterator[Measurement]:
    right = _frames(facts.answers) == facts.labels
    yield row("frame_accuracy", share(right), per_sample=right)


def _loss(facts: Facts) -> Iterator[Measurement]:
    """Of the labelled events, those that the reference detects and this model does not."""
    labelled = _labelled(facts)
    before, after = (
        _matches(facts, labelled, _detected(facts, answers)) >= 0 for answers in (facts.base, facts.answers)
    )
    flips = paired.flips(before, after)
    lost = PT * (before.astype(np.float64) - after)
    loss = flips.loss
    if len(np.unique(labelled.stream)) > 1:
        over = mean_over_sequences(lost / PT, labelled.stream, reach=1.0, lowest=-1.0)
        loss = Interval(loss.value, min(loss.low, over.low), max(loss.high, over.high), loss.n)
    yield row("event_recall_loss", loss, facts.reference, factor=PT, per_sample=lost)
    for name, changed in (("flips_harmful", before & ~after), ("flips_beneficial", ~before & after)):
        yield row(name, _share(changed, labelled.stream), facts.reference, per_sample=changed)


def _agreement(facts: Facts) -> Iterator[Measurement]:
    """Share of all events that either of the two detects which both detect."""
    one, other = _detected(facts, facts.base), _detected(facts, facts.answers)
    index = _matches(facts, one, other)
    invented = np.ones(len(other), bool)
    invented[index[index >= 0]] = False
    both = np.concatenate([index >= 0, np.zeros(np.count_nonzero(invented), bool)])
    if not len(both):
        raise Undefined("neither of the two detects an event")
    stream = np.concatenate([one.stream, other.stream[invented]])
    yield row("agreement", _share(both, stream), facts.reference)


class EventMetrics(HostTask):
    """Events detected, false accepts an hour, delays; losses of events against the reference's."""

    task = TASK
    metrics: ClassVar = {
        "event_recall": whole_set(
            "1", "higher", role=Role.RESULT, column=Column("events %", 100, ".2f"),
            shift_column=SHIFT_COLUMN,
        ),
        "false_accepts": whole_set(
            "1/s", "lower", column=Column("false accepts/h [bound]", S_PER_H, ".2f", bound=True)
        ),
        "detection_delay": whole_set("ns", "lower"),
        "frame_accuracy": whole_set("1", "higher"),
        "agreement": shared.AGREEMENT,
        "event_recall_loss": whole_set(
            "pt", "lower", role=Role.LOSS, column=Column("loss pt [bound]", 1, ".2f", bound=True), drift=True
        ),
        "flips_harmful": shared.HARMFUL,
        "flips_beneficial": shared.BENEFICIAL,
    }  # fmt: skip
    groups = (
        Group(
            ("event_recall", "false_accepts", "detection_delay"), _quality, labels=True, over_sequences=True
        ),
        Group(("frame_accuracy",), _frame_accuracy, labels=True),
        Group(
            ("event_recall_loss", "flips_harmful", "flips_beneficial"), _loss,
            against=True, labels=True, over_sequences=True,
        ),
        Group(("agreement",), _agreement, against=True, over_sequences=True),
    )  # fmt: skip

    def truth(self, given: GivenLabels) -> LabelSet:
        """Read the class of each frame, as a number or by name; class 0 is nothing."""
        indices, note = classes(given, HINT)
        if len(indices) and not (indices == BACKGROUND).any():
            raise DataError(
                "no frame has the class 0, which is nothing", where=given.where,
                cause="classes are counted from 1, or the names are in another order",
                next_step="label frames without an event 0, or put their name first in [data] class_order",
            )  # fmt: skip
        return LabelSet(indices, given.names, noted(note))

    def candidates(self, question: Question) -> list[Candidate]:
        """List what holds the class of a frame, where samples are windows of streams, or it is asked for."""
        if not question.asked and question.hop_s is None:
            return []
        options = TASK.read_options({} if question.hop_s is None else {"hop_s": question.hop_s})
        return [
            Candidate(
                replace(one.reading, task=TASK.name, options=options),
                one.rank if question.hop_s is None else Rank.CERTAIN,
            )
            for one in candidates.candidates(question)
        ]

    def same(self, one: Answers, other: Answers, n: int) -> tuple[str, NDArray[np.bool_]]:
        """Return where both give a frame the same class."""
        frames = _frames(one)[:n]
        return "class of a frame", (frames == _frames(other)[:n]) & (frames >= 0)

    def evidence(
        self,
        scores: NDArray[np.float64],
        labels: NDArray[Any],
        by_chance: NDArray[np.float64],
        *,
        alpha: float,
    ) -> tuple[Interval, float]:
        """Return the mean over the classes of the share of right frames: in most frames nothing happens."""
        of_class = [scores[labels == label] for label in np.unique(labels)]
        shares = [intervals.wilson(int(right.sum()), len(right), alpha=alpha) for right in of_class]
        value, low, high = (
            float(np.mean([getattr(one, name) for one in shares])) for name in ("value", "low", "high")
        )
        return Interval(value, low, high, len(scores)), 1 / len(shares)

    def fewest(self, labels: NDArray[Any]) -> int:
        """Return the frames of the rarest class."""
        return int(np.unique(labels, return_counts=True)[1].min())

    def propose(self, context: ProposalContext) -> list[ProposedGate]:
        """Propose how many detections have to be those of the float model, and a place for a limit."""
        proposed = gates.agreement(context, "agreement")
        if context.labelled:
            table = {"metric": "false_accepts", "case": CLEAN, "max": "1 1/h"}
            why = "to gate false accepts, set a limit and remove the leading #"
            proposed.append(ProposedGate("false accepts", table, why, commented=True))
        return proposed
