"""The whole way once: the embedded model in a worker, on ONNX Runtime, and the rows that come of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from harness.config.folders import shipped_folder
from harness.config.load import load_validation
from harness.core import preprocess
from harness.core.artifact import Artifact, describe_file
from harness.core.job import Batch, DataRef, JobResult, Status
from harness.core.measurement import Measurement
from harness.core.preprocess import Preprocess
from harness.core.suite import CaseContext, SetInfo, SummaryContext
from harness.core.target import Target
from harness.data.shipped import digits
from harness.executors.local import LocalExecutor
from suites.accuracy.summarise import AccuracySuite

SAMPLES = 100
FOLDER = shipped_folder("models") / "digits"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Batch, list[JobResult], Any]:
    store: Path = tmp_path_factory.mktemp("store")
    test = digits().test.take(np.arange(SAMPLES))
    (store / "data").mkdir()
    np.save(store / "data" / "raw.npy", test.inputs["image"])
    raw = describe_file(store / "data" / "raw.npy")
    (store / "data" / "raw.npy").rename(store / "data" / f"{raw.sha256}.npy")
    validation, _ = load_validation(FOLDER)
    step = Preprocess(**validation.input["image"].model_dump())

    def digest(n: int) -> str:
        return preprocess.digest([{"image": preprocess.apply(test.inputs["image"][:n], step)}])

    context = CaseContext(
        variant="float32", reference=False, quantized=False, task="classification", settings={},
        sets=(SetInfo("clean", "clean", 0, SAMPLES, digest),), batch=None, inputs=(),
    )  # fmt: skip
    target = Target("cpu", "", ("onnxruntime",))
    batch = Batch(
        target="cpu",
        backend="onnxruntime",
        variant="float32",
        suite="accuracy",
        artifact=Artifact("float32", "onnx", (describe_file(FOLDER / "model.onnx"),), FOLDER),
        options=target.options(),
        preprocess={"image": step},
        data={"clean": DataRef({"image": raw.sha256}, SAMPLES, raw.size_byte)},
        cases=AccuracySuite().cases(context),
    )
    events = LocalExecutor(target, store).run([batch])
    return batch, [event for event in events if isinstance(event, JobResult)], test


def test_a_worker_keeps_what_the_runtime_says(results: tuple[Batch, list[JobResult], Any]) -> None:
    batch, (deploy, parity), test = results
    assert (deploy.status, parity.status) == (Status.OK, Status.OK), deploy.reason + parity.reason
    bare = onnxruntime.InferenceSession(batch.artifact.path, providers=["CPUExecutionProvider"])
    x = preprocess.apply(test.inputs["image"], batch.preprocess["image"])
    (expected,) = bare.run(None, {"image": x})
    for result in (deploy, parity):
        np.testing.assert_allclose(result.samples.arrays["output:0"], expected, atol=1e-4)
        assert len(result.samples.arrays["run_ns"]) == 4
        assert (result.samples.arrays["run_ns"] > 0).all()


def test_its_rows_are_those_of_a_good_model(results: tuple[Batch, list[JobResult], Any]) -> None:
    batch, (deploy, parity), test = results
    context = SummaryContext(
        artifact=batch.artifact,
        options=batch.options["deploy"],
        task="classification",
        labels=test.labels,
        reference=lambda variant, case, severity: parity.samples if variant == "float32" else None,
        emulated=False,
        settings={},
    )
    rows: dict[str, Measurement] = {}
    for job, result in zip(batch.jobs, (deploy, parity), strict=True):
        rows |= {row.metric: row for row in AccuracySuite().summarise(job, result, context)}
    assert rows.pop("difference_over_rounding").status is Status.SKIPPED, "no bound was derived"
    assert rows.pop("worst_class_accuracy_loss").status is Status.SKIPPED, "the classes are small"
    assert {row.status for row in rows.values()} == {Status.OK}
    assert rows["accuracy"].value >= 0.97
    assert rows["accuracy_loss"].value == 0
    assert rows["agreement"].value == 1
    assert rows["bit_exact"].value == 1
    assert rows["input_digest_equal"].value == 1
