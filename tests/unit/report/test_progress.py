"""What a log says while a run goes on."""

from __future__ import annotations

import io
from pathlib import Path

from harness.core.artifact import Artifact, File
from harness.core.job import Batch, Case, JobResult, Options, Started, Status
from harness.plan import Plan
from harness.report.progress import Plain

CASES = tuple(Case(name) for name in ("clean", "fog", "snow"))
ARTIFACT = Artifact("float32", "onnx", (File("m", "0" * 64, 1),), Path())
BATCH = Batch("cpu", "null", "float32", "accuracy", ARTIFACT, {"deploy": Options()}, {}, {}, CASES)


def said(*results: tuple[Status, str]) -> list[str]:
    stream = io.StringIO()
    plain = Plain(stream)
    plain.begin(Plan((BATCH,)), {job.key: 60.0 for job in BATCH.jobs})
    for job, (status, reason) in zip(BATCH.jobs, results, strict=True):
        plain.event(Started(job.key))
        plain.event(JobResult(job.key, status, reason))
    return stream.getvalue().splitlines()


def test_a_line_a_batch_with_the_time_left() -> None:
    assert said(*[(Status.OK, "")] * 3) == [
        "3 jobs, about 3 m 00 s",
        "cpu null float32 accuracy  (3 m 00 s left)",
    ]


def test_jobs_that_one_cause_ended_take_one_line_with_what_the_worker_said() -> None:
    died = (Status.ERROR, "the worker ended with exit status 2\nmy.onnx is missing\n  where  there")
    assert said(died, died, (Status.ERROR, "another"))[2:] == [
        "ERROR cpu null deploy float32 accuracy clean 0: the worker ended with exit status 2; my.onnx is missing",  # noqa: E501
        "ERROR cpu null deploy float32 accuracy snow 0: another",
    ]
    assert len(said(died, (Status.OK, ""), died)) == 4
