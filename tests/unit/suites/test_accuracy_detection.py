"""Rows of boxes: against pycocotools, planted losses, and outputs in which scores round to zero."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from harness.core.artifact import Quantization
from harness.core.detection.boxes import Detections
from harness.core.detection.truth import Objects, Placement, Truth, pack
from harness.core.errors import DataError, UsageError
from harness.core.job import Samples, Status
from harness.core.reductions import hash_rows, limits
from harness.core.suite import ProposalContext
from harness.core.task import Block
from harness.stats import average_precision
from harness.tasks import propose as gates
from harness.tasks.host import GivenLabels, HostTask
from suites.accuracy.tasks.detection.metrics import SPREAD, DetectionMetrics
from suites.accuracy.tasks.detection.task import Detection
from tests.detectors import CLASSES, SIZE, STYLES, scene
from tests.unit.stats.test_box_metrics import oracle
from tests.unit.suites.test_accuracy_summarise import FLOAT, N, rows

SCENE = scene(7, N)
LABELS = pack([(Placement(*SIZE), Objects.of(c, box)) for c, box in zip(SCENE[1], SCENE[0], strict=True)])
PLAIN = STYLES["yolov8"](*SCENE)[1]["output0"]


def measured(y: Any, keep: Any = "outputs", options: Any = None) -> Any:
    arrays = {"output:0": y}
    if keep == "reduced":
        task = Detection()
        reduced = task.reduce(task.reading("output0", options=options), Block({"output0": y}))
        arrays = {"answer:boxes": reduced["boxes"], "row_hash:0": hash_rows(y)}
        arrays |= {f"{name}:0": values for name, values in limits(y).items()}
    described = {"outputs": [["output0", list(y.shape[1:])]], "input_sha256": "d", "options": options or {}}
    return Samples(arrays, described)


def found(y: Any) -> Any:
    return Detections.from_rows(
        Detection().reduce(Detection().reading("output0"), Block({"output0": y}))["boxes"]
    )


def worse() -> Any:
    """One box in ten loses its score, one in ten its class, and some images have one more."""
    y = PLAIN.copy()
    image, column = np.nonzero(y[:, 4:].max(1) > 0.5)
    lost, renamed = slice(0, None, 10), slice(1, None, 10)
    y[image[lost], 4:, column[lost]] = 1e-5
    y[image[renamed], 4:, column[renamed]] = np.roll(y[image[renamed], 4:, column[renamed]], 1, axis=1)
    nothing = y[:20, 4:].max(1).argmin(1)
    y[np.arange(20), 4, nothing] = 0.6
    return y


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: Any) -> Any:
    monkeypatch.setattr(average_precision, "RESAMPLES", 60)


@pytest.mark.parametrize("keep", ["outputs", "reduced"])
def test_rows_are_those_of_pycocotools_and_of_what_was_planted(keep: Any) -> None:
    y = worse()
    metrics = rows(measured(y, keep), {"float32": measured(PLAIN, keep)}, labels=LABELS, task="detection")
    truth = Truth(LABELS)
    expected = oracle(truth, truth.to_image(found(y)), CLASSES)
    base = oracle(truth, truth.to_image(found(PLAIN)), CLASSES)
    for name, value in zip(("map", "map_50", "map_75", "map_small"), expected, strict=False):
        assert metrics[name, ""].value == pytest.approx(value, abs=1e-9)
    assert metrics["map_large", ""].status is Status.SKIPPED
    assert metrics["map", ""].ci_low < metrics["map", ""].value < metrics["map", ""].ci_high
    loss = metrics["map_loss", FLOAT]
    assert loss.value == pytest.approx(100 * (base[0] - expected[0]), abs=1e-7)
    assert loss.unit == "pt"
    assert loss.ci_low < loss.value < loss.ci_high
    for number in range(CLASSES):
        of_class = 100 * (base[6 + number] - expected[6 + number])
        assert metrics[f"class_map_loss/{number}", FLOAT].value == pytest.approx(of_class, abs=1e-7)
    boxes = 4 * N
    assert metrics["boxes_lost", FLOAT].value == pytest.approx(80 / boxes)
    assert metrics["class_flips", FLOAT].value == pytest.approx(80 / boxes)
    assert metrics["agreement", FLOAT].value == pytest.approx(1 - 160 / boxes)
    assert metrics["flips_harmful", FLOAT].value == pytest.approx(160 / boxes)
    assert metrics["flips_beneficial", FLOAT].value == 0
    assert metrics["boxes_invented", FLOAT].value > 0
    assert metrics["score_shift", FLOAT].value == pytest.approx(0, abs=1e-6)
    assert metrics["map", ""].reason == ""


def test_equal_boxes_lose_nothing_and_the_bound_is_that_of_what_was_not_seen() -> None:
    metrics = rows(measured(PLAIN), {"float32": measured(PLAIN)}, labels=LABELS, task="detection")
    loss = metrics["map_loss", FLOAT]
    assert loss.value == 0
    assert loss.ci_high == pytest.approx(100 * 2.7055 / (N + 2.7055), rel=1e-3)
    assert metrics["agreement", FLOAT].value == 1


def test_scores_that_share_the_scale_of_the_boxes_are_named_as_the_cause() -> None:
    y, steps = np.float32(2) * np.rint(PLAIN / np.float32(2)), {"output0": Quantization(2.0, 0)}
    metrics = rows(measured(y), {"float32": measured(PLAIN)}, labels=LABELS, task="detection", steps=steps)
    assert metrics["map", ""].value == 0
    assert metrics["map", ""].reason == metrics["map_loss", FLOAT].reason
    assert metrics["map", ""].reason == (
        "0 boxes have a score of at least 0.25; the highest score is 0: boxes and scores share one scale, "
        "the output output0 has steps of 2, and scores below 1 become 0; keep the last Concat in float, as "
        "quantize does"
    )
    no_steps = rows(measured(y), {"float32": measured(PLAIN)}, labels=LABELS, task="detection")
    assert no_steps["map", ""].reason == "0 boxes have a score of at least 0.25; the highest score is 0"


def test_outputs_that_are_no_numbers_are_no_boxes() -> None:
    y = np.full_like(PLAIN, np.nan)
    metrics = rows(measured(y), {"float32": measured(PLAIN)}, labels=LABELS, task="detection")
    assert metrics["map", ""].value == 0
    assert metrics["map", ""].reason == "no score is a finite number"
    assert metrics["nonfinite_outputs", FLOAT].value == 1
    assert metrics["boxes_lost", FLOAT].value == 1


def test_labels_of_a_class_that_the_model_does_not_have_are_an_error() -> None:
    labels = LABELS.copy()
    labels[0, 1, 0] = CLASSES
    metrics = rows(measured(PLAIN), {"float32": measured(PLAIN)}, labels=labels, task="detection")
    row = metrics["map", ""]
    assert row.status is Status.ERROR
    assert row.reason == "labels have the class 3 (from 0), and the model has 3 classes"


def test_without_objects_and_without_labels_there_is_agreement() -> None:
    empty = pack([(Placement(*SIZE), Objects.of([], []))] * N)
    metrics = rows(measured(PLAIN), {"float32": measured(PLAIN)}, labels=empty, task="detection")
    assert metrics["map", ""].status is Status.SKIPPED
    assert metrics["map", ""].reason == f"none of {N} images has a labelled object"
    metrics = rows(measured(PLAIN), {"float32": measured(PLAIN)}, labels=None, task="detection")
    assert metrics["map", ""].status is Status.SKIPPED
    assert metrics["agreement", FLOAT].value == 1


def test_the_task_scores_single_images() -> None:
    task, labels = Detection(), LABELS[:2]
    reading = task.reading("output0", options={"class_by": "number"})
    answers = task.answers(reading, {"output0": PLAIN[:2]})
    assert task.score(answers, labels).tolist() == [1, 1]
    assert task.same(answers, answers).tolist() == [1, 1]
    assert task.chance(labels).tolist() == [0, 0]
    half = task.answers(task.reading("output0", options={"most": 2}), {"output0": PLAIN[:2]})
    np.testing.assert_allclose(task.score(half, labels), 2 * 2 / 6)
    assert task.outputs(reading) == ("output0",)
    assert task.outputs(task.reading("", options={"boxes": "b", "scores": "s"})) == ("b", "s")


def test_labels_that_are_no_boxes_are_refused() -> None:
    given = GivenLabels(np.arange(3), (), None, np.arange(3), "labels.npy")
    with pytest.raises(DataError, match=r"labels of shape .* are no boxes"):
        DetectionMetrics().truth(given)


def test_gates_are_proposed_that_can_be_decided() -> None:
    context = ProposalContext(
        task="detection", labelled=True, quantizes=True, shifted=True, samples=600, right=0, tried=0,
        chance=0.0, fewest=0,
    )  # fmt: skip
    proposed = DetectionMetrics().propose(context)
    assert [gate.table["metric"] for gate in proposed] == ["map_50", "map_loss", "map_loss"]
    assert not any("combine" in gate.table for gate in proposed)
    unlabelled = DetectionMetrics().propose(replace(context, labelled=False))
    assert {gate.table["metric"] for gate in unlabelled} == {"agreement"}


def test_the_margin_is_what_the_images_can_decide() -> None:
    assert gates.margin_of_images(0, SPREAD) is None
    assert gates.margin_of_images(5_000, SPREAD).value == 1
    assert gates.margin_of_images(300, SPREAD).value > 1


def test_a_task_that_says_that_it_reads_labels_has_to() -> None:
    with pytest.raises(UsageError, match="the task detection says that it reads labels"):
        HostTask.read_labels(DetectionMetrics(), cast("Any", None))


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.7])
def test_answers_are_the_boxes_of_all_that_are_shown(threshold: Any) -> None:
    rng = np.random.default_rng(0)
    y = worse()[:40]
    y[:, :4] = np.round(y[:, :4] / 8) * 8  # many overlap
    y[:, 4:] = rng.random(y[:, 4:].shape) ** 4
    task = Detection()
    reading = task.reading("output0", options={"least_score": 0.0, "threshold": threshold})
    every = Detections.from_rows(task.reduce(reading, Block({"output0": y}))["boxes"])
    shown = Detections.from_rows(task.answers(reading, {"output0": y}))
    expected = every.where(every.scores >= np.float32(threshold))
    assert shown.counts.tolist() == expected.counts.tolist()
    np.testing.assert_allclose(shown.corners, expected.corners, rtol=1e-6)
    np.testing.assert_array_equal(shown.classes, expected.classes)
