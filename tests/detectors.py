"""Outputs of detectors as twenty kinds of exports write them, made from boxes that are known."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from harness.core.detection import anchors, grids
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


def _rt_detr(*scene: Any) -> Any:
    boxes, scores = _table(*scene)
    decode = Decode(
        "pred_boxes", "logits", layout="rows", units="normalized", size=SIZE, activation="sigmoid",
        nms_iou=1.0,
    )  # fmt: skip
    return decode, {"logits": _f(_logit(scores)), "pred_boxes": _f(boxes / SIZE[0])}


def _sorted(corners: Any, classes: Any, scores: Any, most: Any = 10) -> Any:
    """Corners, best score and class of the best boxes of each sample."""
    boxes, table = _table(corners, classes, scores)
    order = np.argsort(-table.max(-1), axis=1)[:, :most]
    boxes, table = (np.take_along_axis(y, order[..., None], axis=1) for y in (_corners(boxes), table))
    return boxes, table.max(-1), table.argmax(-1)


def _torchvision(*scene: Any) -> Any:
    boxes, scores, classes = _sorted(*scene)
    decode = Decode(
        "boxes", "scores", "labels", layout="rows", box="xyxy", class_offset=1, nms_iou=1.0,
    )  # fmt: skip
    return decode, {"boxes": _f(boxes), "labels": classes + 1, "scores": _f(scores)}


def _yolov7_end_to_end(*scene: Any) -> Any:
    boxes, scores, classes = _sorted(*scene)
    first = np.zeros_like(scores)[..., None]
    y = np.concatenate([first, boxes, classes[..., None], scores[..., None]], axis=-1)
    decode = Decode("output", layout="rows", box="xyxy", score="sample-box-class-score", nms_iou=1.0)
    return decode, {"output": _f(y)}


def _detection_output(*scene: Any) -> Any:
    boxes, scores, classes = _sorted(*scene)
    first = np.where(scores[..., None] > _NOTHING, 0, -1)
    y = np.concatenate([first, classes[..., None] + 1, scores[..., None], boxes / SIZE[0]], axis=-1)
    decode = Decode(
        "detection_out", layout="rows", box="xyxy", units="normalized", size=SIZE,
        score="sample-class-score-box", class_offset=1, nms_iou=1.0,
    )  # fmt: skip
    return decode, {"detection_out": _f(y[:, None])}


def _offsets(name: Any, box: Any, place: Any, stride: Any, size: Any) -> Any:
    """Raw values of a box at a cell: the formulas of `grids`, the other way round."""
    offset, ratio = box[:2] / stride - place, box[2:] / size
    if name in ("yolov5", "yolov7"):
        return np.concatenate([_logit((offset + 0.5) / 2), _logit(np.sqrt(ratio) / 2)])
    if name == "yolov8":
        sides = (
            np.concatenate([box[:2] - box[2:] / 2, box[:2] + box[2:] / 2]) / stride - np.tile(place, 2) - 0.5
        )
        far, bins = np.abs(sides), np.full((4, grids.BINS), -30.0)
        low = far.astype(int)
        for side in range(4):  # between two cells
            bins[side, low[side]] = np.log(1 - far[side] + low[side] + 1e-9)
            bins[side, low[side] + 1] = np.log(far[side] - low[side] + 1e-9)
        return bins.reshape(-1)
    reach = {8: 1.2, 16: 1.1, 32: 1.05}[stride] if name == "yolov4" else 1.0
    inside = offset if name == "yolox" else _logit((offset + (reach - 1) / 2) / reach)
    return np.concatenate([inside, np.log(ratio)])


def _heads(name: Any, corners: Any, classes: Any, scores: Any, sizes: Any = None) -> Any:
    """Stride to a head [n, anchors, rows, columns, values] before sigmoids."""
    family = grids.FAMILIES[name]
    sizes = sizes or family.sizes
    rng, width = np.random.default_rng(2), family.numbers + family.objectness + CLASSES
    heads = {}
    for stride, of_stride in sizes.items():
        shape = (len(corners), len(of_stride), SIZE[0] // stride, SIZE[1] // stride)
        heads[stride] = rng.normal(0, 1, (*shape, width))
        heads[stride][..., family.numbers :] = _logit(_NOTHING)
    levels = [
        (stride, place, np.array(size)) for stride, of in sizes.items() for place, size in enumerate(of)
    ]
    if name == "yolov8":  # a cell has its centre inside of its box
        levels = levels[:1]
    for row, (one, numbers, score) in enumerate(zip(corners, classes, scores, strict=True)):
        for box, number, value in zip(_cxcywh(one), numbers, score, strict=True):
            stride, anchor, size = min(levels, key=lambda level: np.abs(np.log(box[2:] / level[2])).max())
            place = np.floor(box[:2] / stride)
            cell = heads[stride][row, anchor, int(place[1]), int(place[0])]
            cell[: family.numbers] = _offsets(name, box, place, stride, size)
            if family.objectness:
                cell[family.numbers] = _logit(0.99)
            of_class = value / 0.99 if family.objectness else value
            cell[family.numbers + family.objectness + number] = _logit(of_class)
    return heads


def _sigmoid(y: Any) -> Any:
    return 1 / (1 + np.exp(-y))


def _yolo_heads(name: Any, form: Any, *scene: Any) -> Any:
    """Heads as YOLOv5 has them ("anchors"), before its reshape ("channels"), or channels last."""
    decode = Decode(anchors=name, size=SIZE, score="objectness", activation="sigmoid", layout="rows")
    outputs = {}
    for place, head in enumerate(_heads(name, *scene).values()):
        y = head
        if form == "sigmoid":
            y = _sigmoid(head)
        if form == "channels":
            y = head.transpose(0, 1, 4, 2, 3).reshape(len(head), -1, *head.shape[2:4])
        elif form == "last":
            y = head.transpose(0, 2, 3, 1, 4).reshape(len(head), *head.shape[2:4], -1)
        outputs[f"head{place}"] = _f(y)
    decode = replace(decode, layout="columns" if form == "channels" else "rows", heads=tuple(outputs))
    if form == "sigmoid":
        decode = replace(decode, activation="none")
    return replace(decode, boxes="head0"), outputs


def yolo_heads(name: Any, corners: Any, classes: Any, scores: Any, sizes: Any) -> Any:
    """Heads [anchors, rows, columns, values] of a model with anchors of its own: stride to their sizes."""
    heads = _heads(name, corners, classes, scores, sizes)
    return {f"head{place}": _f(head) for place, head in enumerate(heads.values())}


def _yolov8_heads(*scene: Any) -> Any:
    outputs = {
        f"head{place}": _f(head[:, 0].transpose(0, 3, 1, 2))
        for place, head in enumerate(_heads("yolov8", *scene).values())
    }
    decode = Decode("head0", heads=tuple(outputs), anchors="yolov8", size=SIZE, activation="sigmoid")
    return decode, outputs


def _yolov8_apart(*scene: Any) -> Any:
    """Boxes and scores of a stride apart, scores after their sigmoid, and a sum: Rockchip's export."""
    outputs, heads = {}, []
    for place, head in enumerate(_heads("yolov8", *scene).values()):
        y = head[:, 0].transpose(0, 3, 1, 2)
        scores = _sigmoid(y[:, 64:])
        outputs |= {
            f"b{place}": _f(y[:, :64]),
            f"c{place}": _f(scores),
            f"s{place}": _f(scores.sum(1)[:, None]),
        }
        heads += [f"b{place}", f"c{place}"]
    return Decode("b0", heads=tuple(heads), anchors="yolov8", size=SIZE), outputs


#: Style to a function of boxes, classes and scores that gives how it is read, and the outputs.
STYLES = {
    "yolov5": _yolov5, "yolov8": _yolov8, "yolov8-normalized": _yolov8_normalized, "yolov10": _yolov10,
    "yolo-nas": _yolo_nas, "detr": _detr, "yolox": _yolox, "efficientdet": _efficientdet,
    "retinanet": _retinanet, "post-processed": _post_processed, "rt-detr": _rt_detr,
    "torchvision": _torchvision, "yolov7-end-to-end": _yolov7_end_to_end,
    "detection-output": _detection_output, "yolov5-heads": partial(_yolo_heads, "yolov5", "anchors"),
    "yolov5-heads-sigmoid": partial(_yolo_heads, "yolov5", "sigmoid"),
    "yolov7-heads": partial(_yolo_heads, "yolov7", "channels"),
    "yolov3-heads": partial(_yolo_heads, "yolov3", "channels"),
    "yolov4-heads": partial(_yolo_heads, "yolov4", "last"),
    "yolov3-tiny-heads": partial(_yolo_heads, "yolov3-tiny", "channels"),
    "yolox-heads": partial(_yolo_heads, "yolox", "channels"), "yolov8-heads": _yolov8_heads,
    "yolov8-heads-apart": _yolov8_apart,
}  # fmt: skip
