"""Every style of export is read as the boxes that it was made from; what does not fit is refused."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from harness.core import settings
from harness.core.detection import anchors
from harness.core.detection.combined import together
from harness.core.detection.decode import Decode
from harness.core.errors import DataError
from tests.detectors import STYLES, scene


@pytest.mark.parametrize("style", STYLES)
def test_a_style_is_read_as_the_boxes_that_it_was_made_from(style: Any) -> None:
    corners, classes, scores = scene(0, n=3)
    decode, outputs = STYLES[style](corners, classes, scores)
    assert together(asdict(decode)) == []
    got = decode.read(outputs)
    assert got.counts.tolist() == [len(rows) for rows in scores]
    for sample, rows in enumerate(got):
        order = np.argsort(-scores[sample])
        np.testing.assert_allclose(got.corners[rows], corners[sample][order], atol=2e-3)
        np.testing.assert_allclose(got.scores[rows], scores[sample][order], atol=1e-5)
        assert got.classes[rows].tolist() == classes[sample][order].tolist()


def yolo(**changes: Any) -> Any:
    corners, classes, scores = scene(1)
    decode, outputs = STYLES["yolov8"](corners, classes, scores)
    return replace(decode, **changes), outputs


def test_low_scores_and_overlapping_boxes_are_left_out() -> None:
    decode, outputs = yolo()
    y = outputs["output0"]
    box, nothing = y[0, 4:].max(axis=0).argmax(), y[0, 4:].max(axis=0).argmin()
    y[0, :, nothing] = y[0, :, box]
    y[0, 4:, nothing] *= 0.5
    assert decode.read(outputs).counts.tolist() == [4]
    assert replace(decode, nms_iou=1.0).read(outputs).counts.tolist() == [5]
    assert replace(decode, most=2).read(outputs).counts.tolist() == [2]
    y[0, 4:] *= 1e-4
    detections = decode.read(outputs)
    assert detections.counts.tolist() == [0]
    assert 0 < detections.highest[0] < 1e-3


@pytest.mark.parametrize(("part", "value"), [(slice(4, None), np.nan), (2, np.inf)])
def test_scores_and_boxes_that_are_no_numbers_are_no_detections(part: Any, value: Any) -> None:
    decode, outputs = yolo()
    y = outputs["output0"]
    y[0, part, y[0, 4:].max(axis=0).argmax()] = value
    detections = decode.read(outputs)
    assert detections.counts.tolist() == [3]
    assert np.isnan(detections.highest[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layout": "rows"}, None),
        ({"boxes": "other"}, "the model has no output other"),
        ({"score": "score-class"}, "needs 6 values a box; this one has 7"),
        ({"scores": "output0"}, "needs 4 values a box; this one has 7"),
        ({"anchors": "yolox", "size": (160, 160)}, r"one row for each of the 525 anchors of yolox"),
        ({"class_offset": 3}, "needs at least one score of a class"),
    ],
)
def test_outputs_that_do_not_fit_are_refused(changes: Any, message: Any) -> None:
    decode, outputs = yolo(**changes)
    if message is None:  # 20 boxes of 7 values as 7 boxes of 20 values: only a proof tells
        assert decode.class_count({"output0": outputs["output0"].shape[1:]}) == 16
        return
    with pytest.raises(DataError, match=message):
        decode.read(outputs)


def test_values_that_are_invalid_are_named() -> None:
    table = {
        "box": "xwyh", "units": "px", "anchors": "ssd", "least_score": 2, "nms_iou": -1, "most": 0,
        "boxes": 3, "size": [640], "class_offset": 0.5, "nms": 0.7,
    }  # fmt: skip
    wrong = dict(settings.check(table, Decode, together))
    assert set(wrong) == set(table)
    assert wrong["nms"] == "unknown key; did you mean nms_iou?"
    assert wrong["size"].endswith("height and width of the model's input in pixels, such as [640, 640]")


def test_keys_that_do_not_fit_together_are_named() -> None:
    table = {"anchors": "ssd300", "box": "xyxy", "threshold": 0.1, "least_score": 0.2, "classes": "c"}
    assert [key for key, _ in settings.check(table, Decode, together)] == [
        "threshold",
        "box",
        "size",
        "scores",
    ]
    assert settings.check({"units": "normalized", "size": [4, 4]}, Decode, together) == []


@pytest.mark.parametrize(
    ("name", "size", "count", "first"),
    [
        ("yolox", (640, 640), 8400, [0, 0, 8, 8]),
        ("efficientdet", (512, 512), 49104, [4, 4, 32, 32]),
        ("retinanet", (512, 512), 49104, [0, 0, 46, 22]),
        ("ssd300", (300, 300), 8732, [4, 4, 21, 21]),
    ],
)
def test_anchors_are_those_of_their_family(name: Any, size: Any, count: Any, first: Any) -> None:
    base = anchors.anchors(name, *size)
    assert len(base) == count
    np.testing.assert_allclose(base[0], first)
    assert not base.flags.writeable


@pytest.mark.parametrize(
    ("table", "keys"),
    [
        ({"heads": ["a"]}, ["anchors", "size"]),
        ({"heads": ["a"], "anchors": "yolov5", "size": [8, 8], "scores": "s"}, ["scores"]),
        ({"anchors": "yolov5", "size": [8, 8]}, ["heads"]),
        ({"anchors": "yolov5", "heads": ["a"], "size": [8, 8], "anchor_sizes": [1.0] * 8}, ["anchor_sizes"]),
        ({"anchors": "yolov5", "heads": ["a"], "size": [8, 8], "anchor_sizes": [1.0] * 12}, []),
        ({"anchor_sizes": [1.0, 1.0]}, ["anchor_sizes"]),
        ({"heads": "a"}, ["heads"]),
        ({"anchor_sizes": [0]}, ["anchor_sizes"]),
    ],
)
def test_keys_of_heads_that_do_not_fit_together_are_named(table: Any, keys: Any) -> None:
    assert [key for key, _ in settings.check(table, Decode, together)] == keys


def test_heads_that_do_not_fit_are_refused() -> None:
    decode, outputs = STYLES["yolov5-heads"](*scene(1))
    with pytest.raises(DataError, match=r"a grid of 40x40, 20x20, 10x10 cells with the anchors of yolov5"):
        replace(decode, size=(320, 320)).read(outputs)
    with pytest.raises(DataError, match="a head of each stride of yolov5; none has 32 pixels a cell"):
        replace(decode, heads=("head0", "head1")).read(outputs)
    narrow = {**outputs, "head2": outputs["head2"][..., :7]}
    with pytest.raises(DataError, match="the same number of values a box in every head, at least 6"):
        decode.read(narrow)
