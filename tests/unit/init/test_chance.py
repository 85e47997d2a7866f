"""Whether a score is better than chance, for each task; and which task is meant."""

from __future__ import annotations

import numpy as np
import pytest

from harness import tasks
from harness.init.chance import evidence, meant
from harness.stats import intervals, linear

N = 300
RNG = np.random.default_rng(8)
KINDS = (np.arange(N) % 3 == 0).astype(np.int64)


def test_a_classification_has_wilson_s_bounds() -> None:
    reading = tasks.named("classification").reading("y")
    scores = (np.arange(N) % 10 > 0).astype(np.float64)
    shown = evidence(reading, scores, KINDS, alpha=0.01)
    assert shown.score == intervals.wilson(270, N, alpha=0.01)
    assert (shown.chance, shown.beats_chance) == (2 / 3, True)


def test_several_labels_have_to_beat_the_commonest_answers() -> None:
    task = tasks.named("multi-label")
    labels = (RNG.random((N, 3)) < 0.1).astype(np.int64)
    reading = task.reading("y", threshold=0.5)
    nothing = evidence(reading, task.score(np.zeros_like(labels), labels), labels)
    assert nothing.score.value == nothing.chance == pytest.approx(1 - labels.mean())
    assert not nothing.beats_chance, "rare labels that are never answered"
    right = evidence(reading, task.score(labels, labels), labels)
    assert right.beats_chance
    assert right.score.low < right.score.value == 1.0


@pytest.mark.parametrize(("shift", "beats"), [(1.0, True), (0.0, False), (-1.0, False)])
def test_an_area_has_to_be_above_one_half(shift: float, beats: bool) -> None:
    task = tasks.named("anomaly")
    scores = np.random.default_rng(0).normal(size=N) + shift * KINDS
    shown = evidence(task.reading("y"), task.score(scores, KINDS), KINDS)
    assert shown.score == linear.stratified_mean(linear.auc(scores, KINDS == 1), KINDS == 1)
    assert (shown.chance, shown.beats_chance) == (0.5, beats)
    assert not evidence(task.reading("y"), np.full(N, np.nan), KINDS).beats_chance, "one kind only"


def test_neighbours_have_to_beat_shuffled_labels() -> None:
    task = tasks.named("embedding")
    labels = np.arange(N) % 5
    vectors = task.answers(task.reading("e"), {"e": RNG.normal(size=(N, 8))})
    chance = [
        evidence(task.reading("e"), task.score(vectors, RNG.permutation(labels)), labels) for _ in range(40)
    ]
    assert sum(one.beats_chance for one in chance) <= 5, "at 5 % of the permutations"
    vectors = np.eye(8)[labels] + RNG.normal(scale=0.1, size=(N, 8))
    near = task.answers(task.reading("e"), {"e": vectors})
    shown = evidence(task.reading("e"), task.score(near, labels), labels)
    assert shown.beats_chance
    assert shown.chance == pytest.approx(59 / 299)


def test_the_first_task_that_beats_chance_is_meant_or_else_the_first() -> None:
    classes, area = tasks.named("classification"), tasks.named("anomaly")
    good, bad = np.ones(N), np.zeros(N)
    both = [(classes.reading("y", threshold=0.0), good, KINDS), (area.reading("y"), good, KINDS)]
    assert meant(both) == "classification"
    unordered = (area.reading("y"), area.score(np.ones(N), KINDS), KINDS)
    assert meant([(both[0][0], bad, KINDS), unordered]) == "classification"
    ordered = area.score(KINDS + 0.1 * RNG.random(N), KINDS)
    assert meant([(both[0][0], bad, KINDS), (area.reading("y"), ordered, KINDS)]) == "anomaly"
