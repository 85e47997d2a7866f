"""mAP of 5,000 images × 100 boxes: ours, with its matches for the bootstrap, over faster-coco-eval alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from benchmarks.paired import Goal, heading, line
from harness.core.detection.boxes import Detections
from harness.core.detection.truth import Objects, Placement, Truth, pack
from harness.stats.average_precision import Accumulator, figures
from harness.stats.box_matches import match
from harness.stats.coco_metrics import metrics
from harness.stats.intervals import over_processes

IMAGES, BOXES, OBJECTS, CLASSES = 5_000, 100, 7, 80
ROUNDS = 3


def report() -> None:
    heading(f"mAP of {IMAGES:,} images × {BOXES} boxes, {OBJECTS} objects, {CLASSES} classes")
    truth, detections = scenes(np.random.default_rng(0))
    labels, rows = as_coco(truth, detections)
    ratios, resamples = [], []
    for _ in range(ROUNDS):
        alone = seconds(lambda: library(labels, rows))
        ratios.append(seconds(lambda: ours(detections, truth)) / alone)
        accumulator = Accumulator(match(detections, truth, CLASSES))
        resamples.append(seconds(lambda a=accumulator: a.precision(np.ones(IMAGES, np.int64))))  # type: ignore[misc]
    line("mAP and matches over faster-coco-eval alone", over_processes(np.array(ratios)), Goal(2.0))
    line("one resampled set of the bootstrap, seconds", over_processes(np.array(resamples)))


def scenes(rng: np.random.Generator) -> tuple[Truth, Detections]:
    """Objects, and detections near them, of random classes for seven in ten."""
    low = rng.uniform(0, 500, (IMAGES, OBJECTS, 2))
    corners = np.concatenate([low, low + rng.uniform(8, 140, low.shape)], axis=2)
    classes = rng.integers(0, CLASSES, (IMAGES, OBJECTS))
    truth = Truth(
        pack([(Placement(640, 640), Objects.of(*one)) for one in zip(classes, corners, strict=True)])
    )
    of = rng.integers(0, OBJECTS, (IMAGES, BOXES))
    near = np.take_along_axis(corners, of[..., None], axis=1) + rng.normal(0, 8, (IMAGES, BOXES, 4))
    near[..., 2:] = np.maximum(near[..., 2:], near[..., :2] + 1)
    right = rng.random((IMAGES, BOXES)) < 0.3
    called = np.where(right, np.take_along_axis(classes, of, axis=1), rng.integers(0, CLASSES, of.shape))
    scores = -np.sort(-rng.random((IMAGES, BOXES)), axis=1)
    counts = np.full(IMAGES, BOXES)
    return truth, Detections(
        counts, near.reshape(-1, 4), scores.reshape(-1), called.reshape(-1), scores[:, 0]
    )


def as_coco(truth: Truth, detections: Detections) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Both as the library takes them."""
    annotations = [
        {"id": i + 1, "image_id": int(image), "category_id": int(row[0]), "area": row[6], "iscrowd": 0,
         "bbox": [row[2], row[3], row[4] - row[2], row[5] - row[3]]}
        for i, (image, row) in enumerate(zip(truth.samples, truth.objects.tolist(), strict=True))
    ]  # fmt: skip
    labels = {
        "images": [{"id": i} for i in range(IMAGES)], "annotations": annotations,
        "categories": [{"id": i, "name": str(i)} for i in range(CLASSES)],
    }  # fmt: skip
    columns = (detections.samples, detections.classes, detections.scores, detections.corners)
    rows = [
        {"image_id": image, "category_id": number, "score": score, "bbox": [x0, y0, x1 - x0, y1 - y0]}
        for image, number, score, (x0, y0, x1, y1) in zip(*(c.tolist() for c in columns), strict=True)
    ]
    return labels, rows


def library(labels: dict[str, Any], rows: list[dict[str, Any]]) -> float:
    """MAP by the library alone, from its own form of labels and detections."""
    truth = COCO(labels)
    evaluation = COCOeval_faster(truth, truth.loadRes(rows), "bbox", print_function=lambda *_: None)
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0, -1]
    return float(precision[precision > -1].mean())


def ours(detections: Detections, truth: Truth) -> float:
    """All that a row of mAP takes but the bootstrap: the library's metrics, and the matches."""
    figures(Accumulator(match(detections, truth, CLASSES)).precision())
    return metrics(detections, truth, CLASSES).overall


def seconds(run: Callable[[], object]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
