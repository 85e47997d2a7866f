"""A batch of the onnxruntime backend on a real ONNX file, run by the local executor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from harness.core.artifact import Artifact, TensorSpec, describe_file, sha256_file
from harness.core.job import Batch, DataRef, JobResult, Options, Status
from harness.core.measurement import Measurement
from harness.core.preprocess import Preprocess
from harness.core.suite import CaseContext, SetInfo, SummaryContext
from harness.core.target import Target
from harness.executors.local import LocalExecutor

DIGITS = Path(__file__).parents[3] / "models" / "digits" / "model.onnx"


def run_suite(
    suite: Any, model: Path, input_spec: TensorSpec, store: Path, settings: dict[str, Any]
) -> tuple[dict[str, JobResult], list[Measurement]]:
    """All cases of `suite` on `model`: results by ``case/setting``, and every row with its case filled in."""
    n = 16
    raw = np.random.default_rng(0).random(
        (n, *(size or 1 for size in input_spec.shape[1:])), dtype=np.float32
    )
    folder = store / "data"
    folder.mkdir()
    np.save(folder / "x.npy", raw)
    digest = sha256_file(folder / "x.npy")
    (folder / "x.npy").rename(folder / f"{digest}.npy")
    sets = (SetInfo("clean", "clean", 0, n, lambda count: ""),)
    context = CaseContext("float32", False, False, "classification", settings, sets, None, (input_spec,))
    options = Options(threads=1, precision="f32", provider="CPUExecutionProvider")
    artifact = Artifact("float32", "onnx", (describe_file(model),), model.parent)
    batch = Batch(
        "cpu",
        "onnxruntime",
        "float32",
        suite.name,
        artifact,
        {"parity": options, "deploy": options},
        {input_spec.name: Preprocess()},
        {"clean": DataRef({input_spec.name: digest}, n, raw.nbytes)},
        suite.cases(context),
    )
    jobs = {job.key: job for job in batch.jobs}
    results, rows = {}, []
    for event in LocalExecutor(Target("cpu", "", ("onnxruntime",)), store).run([batch]):
        if isinstance(event, JobResult):
            assert event.status is Status.OK, event.reason
            results[f"{event.key.case}/{event.key.setting}"] = event
            summary = SummaryContext(
                artifact, options, "classification", None, lambda *_: None, False, settings
            )
            rows += suite.summarise(jobs[event.key], event, summary)
    return results, rows
