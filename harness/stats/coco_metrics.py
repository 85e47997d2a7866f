"""Average precision as COCO defines it, by faster-coco-eval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.commands import install
from harness.core.detection.boxes import Detections
from harness.core.detection.truth import Truth
from harness.core.errors import DataError

#: Sizes of objects by their area in pixels of the image, as COCO has them.
SIZES = ("small", "medium", "large")


@dataclass(frozen=True, slots=True)
class Metrics:
    """Average precision over intersections over union of 0.5 to 0.95; NaN where there are no such objects.

    Parameters
    ----------
    overall, at_50, at_75 : float
    by_size : mapping of str to float
        Of `SIZES`.
    by_class : ndarray, shape (classes,), float64
    """

    overall: float
    at_50: float
    at_75: float
    by_size: Mapping[str, float]
    by_class: NDArray[np.float64]


def metrics(detections: Detections, truth: Truth, classes: int) -> Metrics:
    """Compute the metrics.

    Parameters
    ----------
    detections : Detections
        In pixels of the images.
    truth : Truth
        Of as many images.
    classes : int
        Number of classes; detections of others are left out.

    Raises
    ------
    DataError
        faster-coco-eval is not installed.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise DataError(
            "metrics of boxes need faster-coco-eval, which is not installed", next_step=install("detection")
        ) from error
    labels = COCO(_dataset(truth, classes))
    evaluation = COCOeval_faster(labels, _with_detections(labels, detections), "bbox", print_function=_silent)
    evaluation.evaluate()
    evaluation.accumulate()
    # Thresholds × recalls × classes × sizes (all, small, medium, large) × most detections (1, 10, 100).
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, :, -1]
    return Metrics(
        _mean(precision[..., 0]),
        _mean(precision[0, ..., 0]),
        _mean(precision[5, ..., 0]),
        {size: _mean(precision[..., 1 + place]) for place, size in enumerate(SIZES)},
        np.array([_mean(precision[:, :, column, 0]) for column in range(classes)]),
    )


def _silent(*_: object) -> None:
    """The library reports its progress."""


def _mean(precision: NDArray[np.float64]) -> float:
    present = precision[precision > -1]
    return float(present.mean()) if present.size else float("nan")


def _dataset(truth: Truth, classes: int) -> dict[str, Any]:
    """Labels as the library takes them: numbers from 1, boxes x, y, width, height."""
    objects, samples = truth.objects, truth.samples.tolist()
    annotations = [
        {
            "id": number + 1, "image_id": image + 1, "category_id": int(row[0]) + 1,
            "bbox": [row[2], row[3], row[4] - row[2], row[5] - row[3]], "area": row[6],
            "iscrowd": int(row[7]),
        }
        for number, (image, row) in enumerate(zip(samples, objects.tolist(), strict=True))
    ]  # fmt: skip
    images = [
        {"id": number + 1, "width": int(width), "height": int(height)}
        for number, (width, height) in enumerate(truth.packed[:, 0, :2].tolist())
    ]
    categories = [{"id": number + 1, "name": str(number)} for number in range(classes)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _with_detections(labels: Any, detections: Detections) -> Any:  # noqa: ANN401 - the library has no types
    from faster_coco_eval import COCO

    classes = len(labels.dataset["categories"])
    used = detections.where(detections.classes < classes)
    if not len(used.scores):  # the library refuses an empty list
        none = COCO()
        none.dataset = {**labels.dataset, "annotations": []}
        none.createIndex()
        return none
    corners = used.corners.tolist()
    rows = zip(used.samples.tolist(), used.classes.tolist(), corners, used.scores.tolist(), strict=True)
    return labels.loadRes(
        [
            {
                "image_id": image + 1, "category_id": class_ + 1, "score": score,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
            }
            for image, class_, (x0, y0, x1, y1), score in rows
        ]
    )  # fmt: skip
