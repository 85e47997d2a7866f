"""The bundled detector is what its README says: its file detects, and the bad one has no score above 0."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from harness.core.detection.decode import Decode
from harness.core.detection.truth import Truth
from harness.data.datasets import content_sha256
from harness.data.strips import strips as make_strips
from harness.stats.box_agreement import detected
from harness.stats.coco_metrics import metrics
from suites.accuracy.tasks.detection.task import Detection

strips = cache(make_strips)
FOLDER = Path(__file__).parents[3] / "models" / "detector"


def readme() -> str:
    return (FOLDER / "README.md").read_text(encoding="utf-8")


def test_strips_are_the_same_on_every_machine() -> None:
    made = strips()
    digests = [
        content_sha256(one)[:12] for one in (made.test.inputs["image"], made.calibration.inputs["image"])
    ]
    assert digests == ["0c18f3b1aa4c", "21c65708d6e9"]
    assert made.test.labels is not None
    assert content_sha256(made.test.labels)[:12] == "ba75267b3a43"


def outputs_of_strips(file: str, count: int) -> tuple[NDArray[np.float32], Truth]:
    test = strips().test.take(np.arange(count))
    assert test.labels is not None
    images = test.inputs["image"].transpose(0, 3, 1, 2).astype(np.float32) / 255
    session = onnxruntime.InferenceSession(FOLDER / file)
    parts = [session.run(None, {"image": images[i : i + 20]})[0] for i in range(0, count, 20)]
    return np.concatenate(parts), Truth(test.labels.astype(np.float64))


def test_the_detector_detects_and_its_bad_file_does_not() -> None:
    y, truth = outputs_of_strips("model.onnx", 20)
    detections = truth.to_image(Decode("output0", least_score=0.25).read({"output0": y}))
    assert detected(detections, truth, 10, 0.25).mean() > 0.9
    bad, _ = outputs_of_strips("int8_static.onnx", 20)
    assert (bad[:, 4:] == 0).all()
    assert (bad[:, :4] > 0).any()
    assert "| `int8-static`: ONNX Runtime's `quantize_static` | **0 %** | 0 % |" in readme()
    tables = tomllib.loads((FOLDER / "validation.toml").read_text(encoding="utf-8"))
    assert Detection().check_options(tables["task"]) == []


@pytest.mark.full
def test_the_figures_of_the_detector() -> None:
    y, truth = outputs_of_strips("model.onnx", 600)
    tables = tomllib.loads((FOLDER / "validation.toml").read_text(encoding="utf-8"))
    detections = truth.to_image(Decode(**tables["task"]).read({"output0": y}))
    measured = metrics(detections, truth, 10)
    figures = f"| float32 | **{100 * measured.overall:.2f} %** | {100 * measured.at_50:.2f} % |"
    assert figures in readme()
    assert f"{truth.counts.sum():,} labelled digits" in readme()
