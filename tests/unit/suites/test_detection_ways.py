"""Twenty kinds of exports are read without a hint; what cannot be read is refused with what was tried."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.core.detection.decode import Decode
from harness.core.detection.truth import Objects, Placement, Truth, pack
from harness.core.errors import DataError, UsageError
from harness.tasks.question import Question, Rank
from suites.accuracy.tasks.detection import ways as boxes
from suites.accuracy.tasks.detection.metrics import DetectionMetrics
from suites.accuracy.tasks.detection.task import decode_of
from tests.detectors import CLASSES, SIZE, STYLES, scene, yolo_heads


def labelled(style: Any, n: Any = 4, seed: Any = 3) -> Any:
    corners, classes, scores = scene(seed, n)
    decode, outputs = STYLES[style](corners, classes, scores)
    truth = Truth(
        pack(
            [
                (Placement(*SIZE), Objects.of(c, box, 2 * c + 1))
                for c, box in zip(classes, corners, strict=True)
            ]
        )
    )
    return decode, outputs, truth


@pytest.mark.parametrize("style", STYLES)
def test_an_export_is_read_without_a_hint(style: Any) -> None:
    decode, outputs, truth = labelled(style)
    got = boxes.best(boxes.prove(outputs, truth, SIZE, CLASSES), "model.onnx")
    assert got.score > 0.95
    assert got.decode.class_by == "order"
    same = (
        "boxes", "scores", "classes", "heads", "layout", "box", "units", "score", "activation", "background",
        "class_offset", "anchors",
    )  # fmt: skip
    assert [getattr(got.decode, key) for key in same] == [getattr(decode, key) for key in same]


@pytest.mark.parametrize("style", ["post-processed", "yolov10"])
def test_a_model_with_one_class_says_0_of_every_box(style: Any) -> None:
    corners, classes, scores = scene(3, 6)
    none = [np.zeros_like(one) for one in classes]
    _, outputs = STYLES[style](corners, none, scores)
    truth = Truth(
        pack([(Placement(*SIZE), Objects.of(c, box)) for c, box in zip(none, corners, strict=True)])
    )
    got = boxes.best(boxes.prove(outputs, truth, SIZE, 1), "")
    assert got.score > 0.95
    assert got.decode.classes == ("classes" if style == "post-processed" else "")


def test_classes_from_1_and_by_number_are_told() -> None:
    decode, outputs, truth = labelled("yolov10")
    outputs["output0"][..., 5] += 1
    got = boxes.best(boxes.prove(outputs, truth, SIZE, CLASSES), "")
    assert (got.decode.class_offset, got.decode.class_by) == (1, "order")
    outputs["output0"][..., 5] = 2 * (outputs["output0"][..., 5] - 1) + 1
    got = boxes.best(boxes.prove(outputs, truth, SIZE, CLASSES), "")
    assert (got.decode.class_offset, got.decode.class_by) == (0, "number")
    assert decode.boxes == got.decode.boxes


def test_a_background_before_the_classes_is_told() -> None:
    _, outputs, truth = labelled("yolo-nas")
    scores = outputs["scores"]
    outputs["scores"] = np.concatenate([1 - scores.max(-1, keepdims=True), scores], axis=-1)
    got = boxes.best(boxes.prove(outputs, truth, SIZE, CLASSES), "")
    assert (got.decode.background, got.decode.class_offset) in (("first", 0), ("none", 1))
    assert got.score > 0.9


@pytest.mark.parametrize("fault", ["noise", "other scale", "no boxes"])
def test_outputs_that_no_way_reads_are_refused_with_what_was_tried(fault: Any) -> None:
    _, outputs, truth = labelled("yolov8")
    rng = np.random.default_rng(0)
    if fault == "noise":
        outputs["output0"] = rng.random(outputs["output0"].shape).astype(np.float32)
    elif fault == "other scale":
        outputs["output0"][:, :4] *= 3
    else:
        outputs = {"scores": rng.random((6, 10)).astype(np.float32)}
    with pytest.raises(DataError, match="as boxes") as caught:
        boxes.best(boxes.prove(outputs, truth, SIZE, CLASSES), "model.onnx")
    if fault != "no boxes":
        assert "ways to read the outputs as boxes were tried" in caught.value.what
        assert "output0 as " in caught.value.cause
        assert " %" in caught.value.cause


def test_heads_with_anchors_of_their_own_are_refused_and_read_with_them() -> None:
    corners, classes, scores = scene(3, 4)
    sizes = {
        8: ((24.0, 8.0), (8.0, 24.0), (60.0, 60.0)),
        16: ((110.0, 100.0),) * 3,
        32: ((130.0, 150.0),) * 3,
    }
    outputs = yolo_heads("yolov5", corners, classes, scores, sizes)
    *_, truth = labelled("yolov5-heads")
    with pytest.raises(DataError, match="ways to read the outputs as boxes") as caught:
        boxes.best(boxes.prove(outputs, truth, SIZE, CLASSES), "")
    assert "head0, head1, head2 as grids of yolo" in caught.value.cause
    assert "anchor_sizes" in caught.value.next_step
    flat = tuple(side for level in sizes.values() for size in level for side in size)
    decode = Decode(
        "head0", heads=tuple(outputs), anchors="yolov5", anchor_sizes=flat, layout="rows", size=SIZE,
        score="objectness", activation="sigmoid",
    )  # fmt: skip
    rows = decode.read(outputs).corners[: len(corners[0])]
    np.testing.assert_allclose(rows, corners[0][np.argsort(-scores[0])], atol=2e-3)


def test_a_way_is_described() -> None:
    text = boxes.describe(
        replace(STYLES["efficientdet"](*scene(0))[0], background="first", class_offset=1, class_by="number")
    )
    assert text == (
        "box as rows, cycxhw as differences from the anchors of efficientdet, scores in class, sigmoid, "
        "background first, the first class is 1, classes by their numbers"
    )


def test_no_labelled_objects_prove_nothing() -> None:
    _, outputs, _ = labelled("yolov8", n=1)
    empty = Truth(pack([(Placement(*SIZE), Objects.of([], []))]))
    assert boxes.prove(outputs, empty, SIZE, CLASSES) == []


def asked(outputs: Any, truth: Any, **changes: Any) -> Any:
    noise = {name: np.zeros_like(y) for name, y in outputs.items()}
    question = Question(
        noise, truth.packed, ("a", "b", "c"), where="labels", tried=(noise, outputs), sampled=truth.packed,
        size=SIZE,
    )  # fmt: skip
    return DetectionMetrics().candidates(replace(question, **changes))


def test_init_is_told_the_way_that_is_proved_with_any_preprocessing() -> None:
    decode, outputs, truth = labelled("yolo-nas")
    (candidate,) = asked(outputs, truth)
    assert candidate.rank is Rank.CERTAIN
    assert candidate.reading.output == "boxes"
    assert decode_of(candidate.reading) == decode
    assert candidate.reading.text.startswith("boxes: boxes as rows, xyxy in pixels, scores in scores: ")


def test_labels_of_more_classes_than_the_model_has_are_refused() -> None:
    _, outputs, truth = labelled("yolov8")
    packed = truth.packed.copy()
    packed[0, 1, 0] = CLASSES
    with pytest.raises(DataError, match="the labels have 4 classes, and the model has 3"):
        asked(outputs, truth, labels=packed, sampled=packed)


def test_other_labels_are_left_to_other_tasks_and_no_labels_are_refused() -> None:
    _, outputs, truth = labelled("yolov8")
    assert asked(outputs, truth, labels=np.arange(6)) == []
    assert asked(outputs, truth, labels=None) == []
    with pytest.raises(UsageError, match="without labels of boxes"):
        asked(outputs, truth, labels=None, asked=True)
    with pytest.raises(DataError, match="takes no images"):
        asked(outputs, truth, size=None)
