"""``harness init`` of a detector: from images and COCO JSON to a file that is read again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from harness.config.load import load_validation
from harness.core.errors import DataError
from harness.init import Asked, init
from tests import detectors, lookup_detectors

HEIGHT, WIDTH = 7, 24
IMAGES, CLASSES = 40, 3


def detector(folder: Path) -> Path:
    """A model whose output is its image: pixels are boxes (a pixel of 8 steps), then scores."""
    scale = np.array([255 / 8] * 4 + [1.0] * CLASSES, np.float32).reshape(1, 1, 7, 1)
    nodes = [
        helper.make_node("Mul", ["image", "scale"], ["scaled"], "mul"),
        helper.make_node("Reshape", ["scaled", "shape"], ["output0"], "reshape"),
    ]
    graph = helper.make_graph(
        nodes, "mirror", [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["n", HEIGHT, WIDTH])],
        [numpy_helper.from_array(scale, "scale"),
         numpy_helper.from_array(np.array([-1, HEIGHT, WIDTH]), "shape")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def images(folder: Path, *, shifted: float = 0.0) -> Path:
    """Images that hold their own boxes, and labels of those."""
    (folder / "images").mkdir()
    rng, annotations = np.random.default_rng(0), []
    for number in range(IMAGES):
        pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
        for column, left in ((2, 0), (9, 9)):
            width, height = (int(n) for n in rng.integers((5, 3), (9, 6)))
            top, class_ = int(rng.integers(0, HEIGHT - height + 1)), int(rng.integers(0, CLASSES))
            pixels[:4, column] = 8 * (left + width / 2), 8 * (top + height / 2), 8 * width, 8 * height
            pixels[4 + class_, column] = 230
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": class_,
                 "bbox": [left + shifted, top, width, height]}
            )  # fmt: skip
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
    table = {
        "images": [{"id": n, "file_name": f"{n}.png"} for n in range(IMAGES)],
        "annotations": annotations, "categories": [{"id": c, "name": f"kind {c}"} for c in range(CLASSES)],
    }  # fmt: skip
    (folder / "labels.json").write_text(json.dumps(table))
    return folder / "labels.json"


def test_a_detector_is_read_from_images_and_coco_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    model, labels = detector(tmp_path), images(tmp_path)
    report = init(model, str(tmp_path / "images"), labels)
    assert "boxes: output0 as columns, cxcywh in pixels: 100 %" in report.text()
    validation = load_validation(tmp_path / "validation.toml")[0]
    assert (validation.model.task, validation.task) == ("detection", {})
    assert validation.data.labels == "labels.json"
    assert validation.input["image"].scale == pytest.approx(1 / 255)
    assert {gate.metric for gate in validation.gate} >= {"map_50", "map_loss"}


def test_labels_of_other_images_are_refused_with_what_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    model, labels = detector(tmp_path), images(tmp_path, shifted=7.0)
    with pytest.raises(DataError, match="ways to read the outputs as boxes were tried") as caught:
        init(model, str(tmp_path / "images"), labels, asked=Asked(task="detection"))
    assert "output0 as columns, cxcywh in pixels" in caught.value.cause
    assert not (tmp_path / "validation.toml").exists()


@pytest.mark.parametrize("style", ["torchvision", "yolov7-end-to-end"])
def test_outputs_with_as_many_rows_as_objects_are_read_sample_by_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, style: str
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    corners, classes, scores = detectors.scene(0, IMAGES)
    of_image = [n % 4 + 1 for n in range(IMAGES)]
    corners, classes, scores = (
        [rows[:n] for rows, n in zip(part, of_image, strict=True)] for part in (corners, classes, scores)
    )
    _, outputs = detectors.STYLES[style](corners, classes, scores)
    model = lookup_detectors.model(tmp_path / "model.onnx", outputs, of_image)
    labels = lookup_detectors.images(tmp_path, corners, classes)
    report = init(model, str(tmp_path / "images"), labels)
    assert ": 100 %" in report.text()
    validation = load_validation(tmp_path / "validation.toml")[0]
    step = validation.input["image"]
    assert (step.batch_axis, step.output_rows, step.shape) == ("none", 100, (1, 3, *detectors.SIZE))
    assert "there is room for 100" in report.text()
    if style == "torchvision":
        assert (validation.task["class_offset"], validation.task["classes"]) == (1, "labels")
    else:
        assert validation.task["score"] == "sample-box-class-score"


def test_heads_that_are_not_decoded_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    corners, classes, scores = detectors.scene(0, IMAGES)
    _, outputs = detectors.STYLES["yolov7-heads"](corners, classes, scores)
    model = lookup_detectors.model(tmp_path / "model.onnx", outputs)
    labels = lookup_detectors.images(tmp_path, corners, classes)
    report = init(model, str(tmp_path / "images"), labels)
    assert "boxes: head0, head1, head2 as grids of yolov7, objectness before the classes" in report.text()
    validation = load_validation(tmp_path / "validation.toml")[0]
    assert validation.task["heads"] == ["head0", "head1", "head2"]
