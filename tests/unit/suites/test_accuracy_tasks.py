"""Several labels, anomaly scores and embeddings: rows against scikit-learn, and planted losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import f1_score, hamming_loss, roc_auc_score
from sklearn.neighbors import NearestNeighbors

from harness.core.job import Samples, Status
from harness.core.suite import StoredAnswers
from harness.stats import intervals, paired
from suites.accuracy.summarise import AccuracySuite
from tests.unit.suites.test_accuracy_answers import named
from tests.unit.suites.test_accuracy_summarise import FLOAT, N, rows, samples

RNG = np.random.default_rng(11)
FLAGS = (RNG.random((N, 4)) < [0.5, 0.3, 0.2, 0.1]).astype(np.int64)
KINDS = (np.arange(N) % 4 == 0).astype(np.int64)
GROUPS = np.arange(N) % 10
CENTRES = RNG.normal(size=(10, 6))


def probabilities(answers: NDArray[Any]) -> NDArray[np.float32]:
    return (0.5 + np.where(answers == 1, 0.25, -0.25)).astype(np.float32)


def of_labels(answers: NDArray[Any]) -> Samples:
    return named(samples(probabilities(answers)), threshold=0.5)


def vectors(noise: float) -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    return (CENTRES[GROUPS] + noise * rng.normal(size=(N, 6))).astype(np.float32)


def flipped(share: float) -> NDArray[np.int64]:
    return np.where(np.random.default_rng(1).random(FLAGS.shape) < share, 1 - FLAGS, FLAGS)


def test_several_labels() -> None:
    base, answers = flipped(0.05), flipped(0.15)
    metrics = rows(of_labels(answers), {"float32": of_labels(base)}, labels=FLAGS, task="multi-label")
    for average in ("micro", "macro"):
        of_base, of_answers = (f1_score(FLAGS, y, average=average) for y in (base, answers))
        assert metrics[f"f1_{average}", ""].value == pytest.approx(of_answers)
        loss = metrics[f"f1_{average}_loss", FLOAT]
        assert loss.value == pytest.approx(of_base - of_answers)
        assert loss.ci_low < loss.value < loss.ci_high
        assert loss.per_sample is not None
        assert loss.per_sample.mean() == pytest.approx(loss.value)
    assert metrics["label_accuracy", ""].value == pytest.approx(1 - hamming_loss(FLAGS, answers))
    expected = 100 * (hamming_loss(FLAGS, answers) - hamming_loss(FLAGS, base))
    assert metrics["label_accuracy_loss", FLOAT].value == pytest.approx(expected)
    harmful, beneficial = (
        (one == FLAGS) & (other != FLAGS) for one, other in ((base, answers), (answers, base))
    )
    assert metrics["flips_harmful", FLOAT].value == pytest.approx(harmful.mean())
    assert metrics["flips_beneficial", FLOAT].value == pytest.approx(beneficial.mean())
    assert metrics["agreement", FLOAT].value == pytest.approx((base == answers).mean())
    have = FLAGS[:, 3] == 1
    lost = paired.flips(base[have, 3] == 1, answers[have, 3] == 1).loss
    assert metrics["class_accuracy_loss/3", FLOAT].value == pytest.approx(100 * lost.value)
    declared = AccuracySuite().metrics
    assert all(row.unit == declared[metric.partition("/")[0]].unit for (metric, _), row in metrics.items())


def test_a_model_that_answers_nothing_loses_its_f1_whatever_its_label_accuracy() -> None:
    nothing = np.zeros_like(FLAGS)
    metrics = rows(of_labels(nothing), {"float32": of_labels(FLAGS)}, labels=FLAGS, task="multi-label")
    assert metrics["f1_micro_loss", FLOAT].value == pytest.approx(1)
    assert metrics["f1_micro_loss", FLOAT].ci_low > 0.9
    assert metrics["label_accuracy", ""].value > 0.6


def test_a_score_that_is_no_number_is_wrong_and_agrees_with_none() -> None:
    scores = probabilities(FLAGS)
    scores[:20, 0] = np.nan
    broken = named(samples(scores), threshold=0.5)
    metrics = rows(broken, {"float32": broken}, labels=FLAGS, task="multi-label")
    assert metrics["label_accuracy", ""].value == pytest.approx(1 - 20 / FLAGS.size)
    assert metrics["agreement", FLOAT].value == pytest.approx(1 - 20 / FLAGS.size)


@pytest.mark.parametrize("keep", ["outputs", "reduced"])
def test_anomaly_scores(keep: str) -> None:
    base = (RNG.normal(size=(N, 1)) + 2 * KINDS[:, None]).astype(np.float32)
    other = (base + RNG.normal(scale=0.8, size=(N, 1))).astype(np.float32)
    measured, host = samples(other, keep=keep), {"float32": samples(base, keep=keep)}
    metrics = rows(measured, host, labels=KINDS, task="anomaly")
    for name, most in (("auc", None), ("partial_auc", 0.1)):
        of_base, of_other = (roc_auc_score(KINDS, y[:, 0], max_fpr=most) for y in (base, other))
        area, loss = metrics[name, ""], metrics[f"{name}_loss", FLOAT]
        assert area.value == pytest.approx(of_other)
        assert area.ci_low < area.value < area.ci_high
        assert loss.value == pytest.approx(of_base - of_other)
        assert loss.per_sample is not None
        assert loss.per_sample.mean() == pytest.approx(loss.value)
    assert 0.5 < metrics["rank_correlation", FLOAT].value < 1
    assert not {"accuracy", "agreement", "flips_harmful"} & {metric for metric, _ in metrics}


def test_areas_that_are_not_defined_are_skipped_with_the_reason() -> None:
    scores = samples(RNG.normal(size=(N, 1)).astype(np.float32))
    normal = rows(scores, {"float32": scores}, labels=np.zeros(N, np.int64), task="anomaly")
    assert normal["auc", ""].status is normal["auc_loss", FLOAT].status is Status.SKIPPED
    assert normal["auc", ""].reason == f"all {N} samples are normal"
    few = rows(scores, {"float32": scores}, labels=(np.arange(N) >= 40).astype(np.int64), task="anomaly")
    assert few["auc", ""].status is Status.OK
    assert few["partial_auc", ""].reason == "needs 50 normal samples"
    equal = samples(np.ones((N, 1), np.float32))
    assert rows(equal, {"float32": scores}, labels=KINDS, task="anomaly")["rank_correlation", FLOAT].reason


def test_embeddings() -> None:
    base, other = vectors(0.6), vectors(1.2)
    metrics = rows(samples(other), {"float32": samples(base)}, labels=GROUPS, task="embedding")
    nearest = {}
    for name, y in (("base", base), ("other", other)):
        tree = NearestNeighbors(n_neighbors=6, metric="cosine", algorithm="brute").fit(y)
        nearest[name] = tree.kneighbors(y, return_distance=False)[:, 1:]
    for depth in (1, 5):
        right = {
            name: (GROUPS[places[:, :depth]] == GROUPS[:, None]).any(axis=1)
            for name, places in nearest.items()
        }
        first = nearest["other"][:, 0]
        of = 1 + (first[first] == np.arange(N)).mean()
        share = intervals.wilson_in_groups(int(right["other"].sum()), N, of)
        recall, loss = metrics[f"recall_at_{depth}", ""], metrics[f"recall_at_{depth}_loss", FLOAT]
        assert (recall.value, recall.ci_low, recall.n) == (share.value, share.low, N)
        assert share.low < intervals.wilson(int(right["other"].sum()), N).low
        one = nearest["base"][:, 0]
        tango = paired.flips_in_pairs(
            right["base"], right["other"], max(of, 1 + (one[one] == np.arange(N)).mean())
        ).loss
        assert (loss.value, loss.ci_high) == (
            pytest.approx(100 * tango.value),
            pytest.approx(100 * tango.high),
        )
    same = (nearest["base"][:, 0] == nearest["other"][:, 0]).mean()
    assert metrics["agreement", FLOAT].value == pytest.approx(same)
    cosines = (base * other).sum(axis=1) / np.linalg.norm(base, axis=1) / np.linalg.norm(other, axis=1)
    cosine = metrics["cosine", FLOAT]
    assert cosine.value == pytest.approx(cosines.mean())
    assert cosine.ci_low < cosine.value < cosine.ci_high
    correlation = metrics["similarity_rank_correlation", FLOAT]
    assert 0 < correlation.ci_low < correlation.value < correlation.ci_high < 1


def test_embeddings_that_collapse_lose_everything() -> None:
    collapsed = samples(np.ones((N, 6), np.float32))
    metrics = rows(collapsed, {"float32": samples(vectors(0.1))}, labels=GROUPS, task="embedding")
    assert metrics["recall_at_1", ""].value < 0.2
    assert metrics["recall_at_1_loss", FLOAT].ci_low > 70
    assert metrics["agreement", FLOAT].value < 0.1
    assert metrics["similarity_rank_correlation", FLOAT].reason == "all pairs of samples are equally alike"


def test_samples_without_another_one_of_their_label_are_not_asked() -> None:
    labels = GROUPS.copy()
    labels[:50] = 1000 + np.arange(50)
    y = samples(vectors(0.1))
    metrics = rows(y, {"float32": y}, labels=labels, task="embedding")
    assert metrics["recall_at_1", ""].n == N - 50
    assert metrics["recall_at_1_loss", FLOAT].per_sample is None
    alone = rows(y, {"float32": y}, labels=np.arange(N), task="embedding")
    assert alone["recall_at_1", ""].reason == f"no two of {N} samples have the same label"
    assert alone["agreement", FLOAT].value == 1


@pytest.mark.parametrize("task", ["multi-label", "embedding"])
def test_what_needs_the_whole_output_is_skipped_where_it_was_reduced(task: str) -> None:
    y = vectors(0.5)
    from_reduced = named(samples(y, keep="reduced"), threshold=0.0)
    labels = GROUPS if task == "embedding" else (y > 0).astype(np.int64)
    metrics = rows(from_reduced, {"float32": from_reduced}, labels=labels, task=task)
    reduced = [
        row
        for (metric, _), row in metrics.items()
        if metric not in ("input_digest_equal", "nonfinite_outputs")
    ]
    assert all(row.status is Status.SKIPPED and 'keep = "reduced"' in row.reason for row in reduced)


def test_two_devices_answer_alike() -> None:
    suite = AccuracySuite()
    one, other = flipped(0.0), flipped(0.1)
    same = suite.alike(*(suite.answers(of_labels(y), "multi-label") for y in (one, other)), "multi-label")
    assert same["labels"].tolist() == (one == other).all(axis=1).tolist()
    y = vectors(0.5)
    moved = y.copy()
    moved[:10] = -moved[:10]
    same = suite.alike(*(suite.answers(samples(e), "embedding") for e in (y, moved)), "embedding")
    assert same["nearest neighbour"].mean() < 1
    assert set(suite.alike(*(suite.answers(samples(y[:, :1]), "anomaly") for _ in (0, 1)), "anomaly")) == {
        "bits"
    }


@pytest.mark.parametrize("task", ["multi-label", "anomaly", "embedding"])
def test_an_output_of_another_shape_is_an_error(task: str) -> None:
    y = named(samples(np.zeros((N, 3, 3), np.float32)), threshold=0.0 if task == "multi-label" else None)
    labels = FLAGS if task == "multi-label" else KINDS
    metrics = rows(y, {"float32": y}, labels=labels, task=task)
    first = next(row for (_, reference), row in metrics.items() if reference == FLOAT)
    assert first.status is Status.ERROR
    assert "has shape [3, 3] a sample" in first.reason


def test_stored_scores_of_one_kind_are_skipped() -> None:
    stored = StoredAnswers(np.arange(5.0), "anomaly", None, np.zeros(5, np.int64))
    row = AccuracySuite().score(stored, None)[0]
    assert (row.metric, row.status) == ("auc", Status.SKIPPED)
