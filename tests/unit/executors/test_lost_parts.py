"""A connection is lost during a job in parts: what was sent stays, and the job does not begin again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from harness.core.artifact import Artifact, File
from harness.core.cause import Cause
from harness.core.job import Batch, Case, Event, JobResult, Options, Part, Samples, Started, Status
from harness.executors import device

ARTIFACT = Artifact("float32", "onnx", (File("m", "0" * 64, 1),), Path())
BATCH = Batch(
    "pi", "null", "float32", "s", ARTIFACT, {"deploy": Options()}, {}, {},
    (Case("long", in_parts=True), Case("other")),
)  # fmt: skip
LONG, OTHER = (job.key for job in BATCH.jobs)


class Session:
    """The first one is lost after two parts; the next ones run everything."""

    begun: list[list[str]]

    def __init__(self, batch: Batch, *_: object) -> None:
        self.begun.append([case.name for case in batch.cases])
        self._batch, self.lost = batch, "the board does not answer" if len(self.begun) == 1 else ""

    def events(self) -> Iterator[Event]:
        if self.lost:
            yield Started(LONG)
            for number in range(2):
                yield Part(LONG, Samples({"slices": np.full((1, 1), number)}))
            return
        for job in self._batch.jobs:
            yield JobResult(job.key, Status.OK)


class Connection:
    def connect(self) -> None: ...
    def close(self) -> None: ...


def test_a_lost_job_in_parts_can_be_resumed_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Session.begun = []
    monkeypatch.setattr(device, "WorkerSession", Session)
    executor = device.DeviceExecutor(cast("Any", Connection()), tmp_path, pauses_s=(0.0,))
    results = [event for event in executor.run([BATCH]) if isinstance(event, JobResult)]
    assert [result.key for result in results] == [LONG, OTHER]
    lost, other = results
    assert (lost.status, lost.cause) == (Status.ERROR, Cause.RUNTIME_UNAVAILABLE)
    assert "which can be resumed" in lost.reason
    assert lost.samples.arrays["slices"][:, 0].tolist() == [0, 1]
    assert other.status is Status.OK
    assert Session.begun == [["long", "other"], ["other"]]
