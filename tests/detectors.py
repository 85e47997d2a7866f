"""Outputs of detectors as ten kinds of exports write them, made from boxes that are known."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.core.detection import anchors
from harness.core.detection.decode import Decode

#: Height and width of the input, and the classes.
SIZE = (160, 160)
CLASSES = 3
_ROWS = 20
_NOTHING = 1e-5


def scene(seed: Any, n: Any = 1, boxes: Any = 4) -> Any:
    """Boxes that do not overlap, their classes and scores, a list of each."""
    rng = np.random.default_rng(seed)
    corners, classes, scores = [], [], []
    for _ in range(n):
        cells = rng.permutation(16)[:boxes]
        low = np.stack([cells % 4, cells // 4], axis=1) * 40 + rng.uniform(0, 8, (boxes, 2))
        # Wide or high, and below the diagonal or above it: so that swapped axes are no boxes of the scene.
        size = rng.uniform(10, 30, (boxes, 2))
        corners.append(np.concatenate([low, low + size], axis=1))
        classes.append(rng.integers(0, CLASSES, boxes))
        scores.append(rng.permutation(np.linspace(0.6, 0.95, boxes)))
    return corners, classes, scores


def _cxcywh(corners: Any) -> Any:
    return np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)


def _logit(p: Any) -> Any:
    return np.log(p / (1 - p))


def _table(corners: Any, classes: Any, scores: Any, rows: Any = _ROWS, *, seed: Any = 0) -> Any:
    """Boxes cx, cy, w, h and one score a class at random rows among boxes with no score."""
    rng = np.random.default_rng(seed)
    boxes, table = [], []
    for one, of_class, score in zip(corners, classes, scores, strict=True):
        filler = np.concatenate([rng.uniform(20, 140, (rows, 2)), rng.uniform(5, 20, (rows, 2))], axis=1)
        values = np.full((rows, CLASSES), _NOTHING)
        at = rng.permutation(rows)[: len(one)]
        filler[at], values[at, of_class] = _cxcywh(one), score
        boxes.append(filler)
        table.append(values)
    return np.stack(boxes), np.stack(table)


def _corners(boxes: Any) -> Any:
    return np.concatenate([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], axis=-1)


def _f(y: Any) -> Any:
    return np.ascontiguousarray(y, np.float32)


def _with_objectness(scores: Any) -> Any:
    """Scores of classes where there is an object; elsewhere they may be any."""
    is_object = scores.max(-1, keepdims=True) > 0.1
    of_class = np.where(is_object, scores / 0.99, np.random.default_rng(1).random(scores.shape))
    return np.where(is_object, 0.99, _NOTHING), of_class


def _yolov5(*scene: Any) -> Any:
    boxes, scores = _table(*scene)
    y = np.concatenate([boxes, *_with_objectness(scores)], axis=-1)
    return Decode("output0", layout="rows", score="objectness"), {"output0": _f(y)}


def _yolov8(*scene: Any) -> Any:
    y = np.concatenate(_table(*scene), axis=-1).swapaxes(1, 2)
    return Decode("output0"), {"output0": _f(y)}


def _yolov8_normalized(*scene: Any) -> Any:
    boxes, scores = _table(*scene)
    y = np.concatenate([boxes / SIZE[0], scores], axis=-1).swapaxes(1, 2)
    return Decode("output0", units="normalized", size=SIZE), {"output0": _f(y)}


def _yolov10(*scene: Any) -> Any:
    boxes, scores = _table(*scene)
    order = np.argsort(-scores.max(-1), axis=1)
    boxes, scores = (np.take_along_axis(y, order[..., None], axis=1) for y in (_corners(boxes), scores))
    y = np.concatenate([boxes, scores.max(-1, keepdims=True), scores.argmax(-1)[..., None]], axis=-1)
    decode = Decode("output0", layout="rows", box="xyxy", score="score-class", nms_iou=1.0)
    return decode, {"output0": _f(y)}


def _yolo_nas(*scene: Any) -> Any:
    boxes, scores = _table(*scene)
    decode = Decode("boxes", "scores", layout="rows", box="xyxy")
    return decode, {"boxes": _f(_corners(boxes)), "scores": _f(scores)}


def _detr(*scene: Any) -> Any:
    boxes, scores = _table(*scene)
    background = 1 - scores.sum(-1, keepdims=True)
    logits = np.log(np.concatenate([scores, background], axis=-1))
    decode = Decode(
        "pred_boxes", "logits", layout="rows", units="normalized", size=SIZE,
        activation="softmax", background="last",
        nms_iou=1.0,
    )  # fmt: skip
    return decode, {"logits": _f(logits), "pred_boxes": _f(boxes / SIZE[0])}


def _encoded(name: Any, corners: Any, classes: Any, scores: Any, size: Any = SIZE) -> Any:
    """Differences from the anchors that overlap most, and one score a class."""
    base, family = anchors.anchors(name, *size), anchors.FAMILIES[name]
    boxes, table = (
        np.zeros((len(corners), len(base), 4)),
        np.full((len(corners), len(base), CLASSES), _NOTHING),
    )
    for row, (one, of_class, score) in enumerate(zip(corners, classes, scores, strict=True)):
        for box, number, value in zip(_cxcywh(one), of_class, score, strict=True):
            far = np.abs(base[:, :2] - box[:2]).sum(1) + np.abs(np.log(base[:, 2:] / box[2:])).sum(1) * 20
            at = int(far.argmin())
            boxes[row, at, :2] = (box[:2] - base[at, :2]) / base[at, 2:] / family.centre_variance
            boxes[row, at, 2:] = np.log(box[2:] / base[at, 2:]) / family.size_variance
            table[row, at, number] = value
    return boxes, table


def _yolox(*scene: Any) -> Any:
    boxes, scores = _encoded("yolox", *scene)
    y = np.concatenate([boxes, *_with_objectness(scores)], axis=-1)
    return Decode("output", layout="rows", score="objectness", anchors="yolox", size=SIZE), {"output": _f(y)}


def _efficientdet(*scene: Any) -> Any:
    boxes, scores = _encoded("efficientdet", *scene)
    decode = Decode(
        "box",
        "class",
        layout="rows",
        box="cycxhw",
        activation="sigmoid",
        anchors="efficientdet",
        size=SIZE,
        nms_iou=0.5,
    )
    return decode, {"class": _f(_logit(scores)), "box": _f(boxes[..., [1, 0, 3, 2]])}


def _retinanet(*scene: Any) -> Any:
    boxes, scores = _encoded("retinanet", *scene)
    decode = Decode(
        "bbox_regression",
        "cls_logits",
        layout="rows",
        activation="sigmoid",
        anchors="retinanet",
        size=SIZE,
        nms_iou=0.5,
    )
    return decode, {"cls_logits": _f(_logit(scores)), "bbox_regression": _f(boxes)}


def _post_processed(*scene: Any) -> Any:
    boxes, scores = _table(*scene)
    order = np.argsort(-scores.max(-1), axis=1)[:, :10]
    boxes, scores = (np.take_along_axis(y, order[..., None], axis=1) for y in (_corners(boxes), scores))
    count = np.array([len(one) for one in scene[0]])
    decode = Decode(
        "boxes",
        "scores",
        "classes",
        "count",
        layout="rows",
        box="yxyx",
        units="normalized",
        size=SIZE,
        nms_iou=1.0,
    )
    return decode, {
        "boxes": _f(boxes[..., [1, 0, 3, 2]] / SIZE[0]), "classes": _f(scores.argmax(-1)),
        "scores": _f(scores.max(-1)), "count": _f(count),
    }  # fmt: skip


#: Style to a function of boxes, classes and scores that gives how it is read, and the outputs.
STYLES = {
    "yolov5": _yolov5, "yolov8": _yolov8, "yolov8-normalized": _yolov8_normalized, "yolov10": _yolov10,
    "yolo-nas": _yolo_nas, "detr": _detr, "yolox": _yolox, "efficientdet": _efficientdet,
    "retinanet": _retinanet, "post-processed": _post_processed,
}  # fmt: skip
