"""mAP, its matches and its bootstrap, against pycocotools and sets that are evaluated from scratch."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from harness.core.detection.boxes import Detections
from harness.core.detection.truth import Objects, Placement, Truth, pack
from harness.core.errors import DataError
from harness.stats import average_precision
from harness.stats.average_precision import Accumulator, bound, figures, resampled
from harness.stats.box_matches import match
from harness.stats.coco_metrics import metrics

CLASSES = 3


def scenes(seed: Any, n: Any = 8, *, crowds: Any = True, coarse: Any = True) -> Any:
    """Images with objects, and detections near them: many equal scores, other classes, some missing."""
    rng = np.random.default_rng(seed)
    images, detected = [], []
    for _ in range(n):
        count = int(rng.integers(0, 6))
        low = rng.uniform(0, 150, (count, 2))
        corners = np.concatenate([low, low + rng.uniform(4, 120, (count, 2))], axis=1)
        classes = rng.integers(0, CLASSES, count)
        objects = Objects.of(classes, corners)
        crowd = (rng.random(count) < 0.2) & crowds
        images.append((Placement(320, 320), Objects(*(getattr(objects, k) for k in
                       ("classes", "numbers", "corners", "areas")), crowd)))  # fmt: skip
        each = np.repeat(np.arange(count), rng.integers(0, 4, count))
        near = corners[each] + rng.normal(0, 6, (len(each), 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        called = np.where(rng.random(len(each)) < 0.8, classes[each], rng.integers(0, CLASSES, len(each)))
        scores = rng.random(len(each))
        scores = np.round(scores, 1) if coarse else scores
        order = np.argsort(-scores, kind="stable")
        detected.append(
            Detections(
                np.array([len(each)]), near[order], scores[order], called[order].astype(np.int64),
                np.array([scores.max(initial=-np.inf)]),
            )
        )  # fmt: skip
    return Truth(pack(images)), Detections.of_samples(detected)


def oracle(truth: Any, detections: Any, classes: Any = CLASSES) -> Any:
    """pycocotools: overall, at 0.5, at 0.75, small, medium, large, and by class."""
    labels = COCO()
    annotations = [
        {"id": i + 1, "image_id": int(image), "category_id": int(row[0]), "area": row[6],
         "iscrowd": int(row[7]),
         "bbox": [row[2], row[3], row[4] - row[2], row[5] - row[3]]}
        for i, (image, row) in enumerate(zip(truth.samples, truth.objects, strict=True))
    ]  # fmt: skip
    labels.dataset = {
        "images": [{"id": i} for i in range(len(truth))], "annotations": annotations,
        "categories": [{"id": i} for i in range(classes)],
    }  # fmt: skip
    rows = [
        {"image_id": int(image), "category_id": int(c), "score": float(s), "bbox": [x0, y0, x1 - x0, y1 - y0]}
        for image, c, s, (x0, y0, x1, y1) in zip(
            detections.samples,
            detections.classes,
            detections.scores,
            detections.corners.tolist(),
            strict=True,
        )
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        labels.createIndex()
        evaluation = COCOeval(labels, labels.loadRes(rows), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    by_class = [p[p > -1].mean() if (p > -1).any() else np.nan for p in np.moveaxis(precision, 2, 0)]
    stats = np.where(evaluation.stats[:6] < 0, np.nan, evaluation.stats[:6])
    return np.r_[stats, by_class]


@pytest.mark.parametrize("seed", range(12))
def test_metrics_are_those_of_pycocotools(seed: Any) -> None:
    truth, detections = scenes(seed)
    expected = oracle(truth, detections)
    measured = metrics(detections, truth, CLASSES)
    got = [measured.overall, measured.at_50, measured.at_75, *measured.by_size.values(), *measured.by_class]
    np.testing.assert_allclose(got, expected, atol=1e-9, rtol=0)
    again = figures(Accumulator(match(detections, truth, CLASSES)).precision())
    np.testing.assert_allclose(again, np.r_[expected[:2], expected[6:]], atol=1e-9, rtol=0)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), crowds=st.booleans())
def test_weighted_images_are_those_of_a_resampled_set(seed: Any, crowds: Any) -> None:
    """With distinct scores: in which order equal scores count, COCO does not say."""
    truth, detections = scenes(seed, 6, crowds=crowds, coarse=False)
    drawn = np.sort(np.random.default_rng(seed).integers(0, len(truth), len(truth)))
    parts = [Detections.of_samples([one]) for one in _singles(detections)]
    resampled = Detections.of_samples([parts[i] for i in drawn])
    accumulator = Accumulator(match(detections, truth, CLASSES))
    weighted = accumulator.precision(np.bincount(drawn, minlength=len(truth)))
    scratch = Accumulator(match(resampled, Truth(truth.packed[drawn]), CLASSES)).precision()
    np.testing.assert_allclose(weighted, scratch, atol=1e-9, rtol=0)


def _singles(detections: Any) -> Any:
    for i, rows in enumerate(detections):
        yield Detections(
            detections.counts[i : i + 1], detections.corners[rows], detections.scores[rows],
            detections.classes[rows], detections.highest[i : i + 1],
        )  # fmt: skip


def test_a_resampled_set_has_the_metrics_of_pycocotools() -> None:
    truth, detections = scenes(5, 8, coarse=False)
    drawn = np.array([0, 0, 2, 3, 3, 3, 6, 7])
    parts = list(_singles(detections))
    expected = oracle(Truth(truth.packed[drawn]), Detections.of_samples([parts[i] for i in drawn]))
    weights = np.bincount(drawn, minlength=8)
    got = figures(Accumulator(match(detections, truth, CLASSES)).precision(weights))
    np.testing.assert_allclose(got, np.r_[expected[:2], expected[6:]], atol=1e-9, rtol=0)


def test_more_than_a_hundred_detections_of_a_class_in_an_image_are_cut() -> None:
    rng = np.random.default_rng(0)
    corners = np.tile([10.0, 10, 50, 50], (150, 1)) + rng.normal(0, 3, (150, 4))
    scores = np.sort(rng.random(150))[::-1]
    detections = Detections(np.array([150]), corners, scores, np.zeros(150, np.int64), scores[:1])
    truth = Truth(pack([(Placement(64, 64), Objects.of([0] * 3, np.tile([10.0, 10, 50, 50], (3, 1))))]))
    got = figures(Accumulator(match(detections, truth, 1)).precision())
    np.testing.assert_allclose(got[:2], oracle(truth, detections, 1)[:2], atol=1e-9)


def test_no_detections_are_map_0_and_no_objects_are_undefined() -> None:
    truth, _ = scenes(1, crowds=False)
    none = Detections.none(len(truth))
    measured = metrics(none, truth, CLASSES)
    assert (measured.overall, measured.at_50) == (0, 0)
    assert figures(Accumulator(match(none, truth, CLASSES)).precision())[0] == 0
    empty = Truth(pack([(Placement(8, 8), Objects.of([], []))]))
    with pytest.raises(DataError, match="no labelled objects"):
        resampled(match(Detections.none(1), empty, CLASSES))


@pytest.fixture
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(average_precision, "RESAMPLES", 80)


@pytest.mark.usefixtures("_few_resamples")
def test_the_bound_of_a_loss_holds_its_value_and_what_was_not_seen() -> None:
    truth, detections = scenes(3, 60, crowds=False)
    one = resampled(match(detections, truth, CLASSES))
    same = bound(one, one).overall
    least = 2.7055 / (60 + 2.7055)
    assert same.value == 0
    assert same.high == pytest.approx(least, rel=1e-3)
    assert same.low == pytest.approx(-least, rel=1e-3)
    part = detections.where(np.arange(len(detections.scores)) % 3 == 0)
    worse = resampled(match(part, truth, CLASSES))
    lost = bound(worse, one)
    assert 0 < lost.overall.low < lost.overall.value < lost.overall.high < 1
    back = bound(one, worse).overall
    assert back.value == pytest.approx(-lost.overall.value)
    alone = bound(one)
    assert alone.overall.low < alone.overall.value < alone.overall.high
    assert len(alone.by_class) == CLASSES


@pytest.mark.usefixtures("_few_resamples")
def test_the_bound_covers_the_loss_of_the_population() -> None:
    """Nine in ten intervals of samples of a large set hold the value of the set."""
    truth, detections = scenes(9, 300, crowds=False)
    worse = detections.where(np.random.default_rng(1).random(len(detections.scores)) > 0.1)
    whole = figures(Accumulator(match(detections, truth, CLASSES)).precision())[0]
    whole -= figures(Accumulator(match(worse, truth, CLASSES)).precision())[0]
    sides = [list(_singles(one)) for one in (detections, worse)]
    rng, inside = np.random.default_rng(2), 0
    for _ in range(12):
        chosen = rng.choice(300, 60, replace=False)
        part = Truth(truth.packed[chosen])
        base, other = (
            resampled(match(Detections.of_samples([s[i] for i in chosen]), part, CLASSES)) for s in sides
        )
        interval = bound(other, base).overall
        inside += interval.low <= whole <= interval.high
    assert inside >= 9
