"""The task events: recall, false accepts and delays by hand, what a variant loses, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.core.artifact import Artifact, File
from harness.core.errors import ConfigurationError, DataError
from harness.core.job import Case, Job, JobResult, Options, Samples, Status
from harness.core.measurement import Measurement
from harness.core.suite import SummaryContext
from harness.stats.events import poisson_rate
from harness.stats.intervals import wilson
from harness.tasks.host import GivenLabels
from suites.accuracy.summarise import AccuracySuite
from suites.accuracy.tasks.events.metrics import TASK, EventMetrics

FLOAT = "float32@host"
#: Two streams of twelve frames; three events.
LABELS = np.array([0, 1, 1, 1, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0])
GOOD = np.array([0, 0, 1, 1, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0])


def measured(frames: NDArray[np.int64]) -> Samples:
    scores = np.full((len(frames), 3), 0.1, np.float32)
    scores[np.arange(len(frames)), frames] = 1.0
    values = {
        "outputs": [["y", [3]]], "dtypes": ["float32"], "input_sha256": "d",
        "options": {"hop_s": 0.5, "hold": 1, "tolerance": 1},
    }  # fmt: skip
    return Samples({"output:0": scores}, values)


def rows(
    frames: NDArray[np.int64], base: NDArray[np.int64], *, streams: tuple[int, ...] = (12, 12)
) -> dict[tuple[str, str], Measurement]:
    case = Case("clean", samples=24, params={
        "reference": False, "input_sha256": "d", **({"sequences": list(streams)} if streams else {}),
    })  # fmt: skip
    job = Job("cpu", "onnxruntime", "int8", "accuracy", case)
    context = SummaryContext(
        artifact=Artifact("int8", "onnx", (File("m", "0", 1),), Path()), options=Options(), task="events",
        labels=LABELS, emulated=False, settings={}, no_rounding="not derived",
        reference=lambda name, case_name, severity: measured(base) if name == "float32" else None,
    )  # fmt: skip
    made = AccuracySuite().summarise(job, JobResult(job.key, Status.OK, samples=measured(frames)), context)
    return {(one.metric, one.reference): one for one in made}


def test_recall_false_accepts_and_delays_are_those_of_a_count_by_hand() -> None:
    frames = GOOD.copy()
    frames[8:10] = 0  # the second event is missed
    frames[4] = 1  # the first one is longer than it is
    frames[[15, 16, 18]] = 2  # one false accept, held over frame 17
    made = rows(frames, GOOD)
    recall = made["event_recall", ""]
    assert (recall.value, recall.n) == (2 / 3, 3)
    assert recall.ci_low <= wilson(2, 3).low
    accepts = made["false_accepts", ""]
    assert accepts.value == pytest.approx(1 / 12)  # of 24 frames of 0.5 s
    assert accepts.unit == "1/s"
    assert accepts.ci_low <= poisson_rate(1, 12.0).low
    assert accepts.ci_high >= poisson_rate(1, 12.0).high
    # One frame late, and two frames.
    assert made["detection_delay", ""].value == pytest.approx(0.75e9)
    assert made["frame_accuracy", ""].value == np.mean(frames == LABELS)
    loss = made["event_recall_loss", FLOAT]
    assert (loss.value, loss.n) == (pytest.approx(100 / 3), 3)
    assert made["flips_harmful", FLOAT].value == pytest.approx(1 / 3)
    assert made["flips_beneficial", FLOAT].value == 0
    # Three of the reference, of which two are there; one is new.
    assert made["agreement", FLOAT].value == pytest.approx(2 / 4)


@pytest.mark.parametrize("streams", [(), (24,), (12, 12)])
def test_a_healthy_variant_loses_nothing(streams: tuple[int, ...]) -> None:
    made = rows(GOOD, GOOD, streams=streams)
    assert made["event_recall", ""].value == 1
    assert made["event_recall", ""].ci_low < 1
    assert made["false_accepts", ""].value == 0
    assert made["false_accepts", ""].ci_high >= poisson_rate(0, 12.0).high
    assert made["event_recall_loss", FLOAT].value == 0
    assert made["event_recall_loss", FLOAT].ci_high > 0
    assert made["agreement", FLOAT].value == 1


def test_nothing_detected_and_nothing_to_detect() -> None:
    made = rows(np.zeros_like(LABELS), np.zeros_like(LABELS))
    assert made["event_recall", ""].value == 0
    assert ("detection_delay", "") not in made
    agreement = made["agreement", FLOAT]
    assert (agreement.status, agreement.reason) == (Status.SKIPPED, "neither of the two detects an event")


def given(labels: list[Any], names: tuple[str, ...] = ()) -> GivenLabels:
    return GivenLabels(np.array(labels), names, 3, np.arange(len(labels)), "labels.npy")


def test_labels_without_a_class_of_nothing_are_refused() -> None:
    assert EventMetrics().truth(given([0, 1, 2, 0])).labels.tolist() == [0, 1, 2, 0]
    with pytest.raises(DataError, match="no frame has the class 0, which is nothing"):
        EventMetrics().truth(given([1, 2, 1]))


def test_options_are_checked() -> None:
    with pytest.raises(ConfigurationError) as caught:
        TASK.read_options({"hop_s": 0, "hold": -1, "tolerence": 1})
    message = str(caught.value)
    assert "a number of seconds above 0" in message
    assert "a whole number of at least 0" in message
    assert "did you mean tolerance?" in message
