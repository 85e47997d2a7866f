"""A device that does not see the host's files, played by this machine with a folder of its own."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.core.artifact import Artifact, describe_file, sha256_file
from harness.core.errors import TargetUnavailable
from harness.core.job import Batch, DataRef, EnvironmentRecord, JobResult, Started, Status
from harness.core.preprocess import Preprocess
from harness.device import worker
from harness.executors.connection import CommandConnection
from harness.executors.device import DeviceExecutor
from tests.processes import processes
from tests.unit.executors.batches import MakeBatch, do

X = np.arange(20, dtype=np.uint8).reshape(5, 4)


class RemoteConnection(CommandConnection):
    """This machine's Python, but files are sent, and a dead worker counts as a lost connection.

    ``away``: how many attempts to connect fail.
    """

    ships, silence_s, slowdown = True, 30.0, 1.0

    def __init__(self, store: Path, *, lost: str = "", away: int = 0, room_byte: int | None = None) -> None:
        self.store, self.room_byte, self.attempts = str(store), room_byte, 0
        self.facts = {"host": "far"}
        self._lost, self._away = lost, away

    def connect(self) -> None:
        self.attempts += 1
        if self.attempts <= self._away:
            raise TargetUnavailable("no route to the board")

    def command(self, module: str, *arguments: str) -> list[str]:
        return worker.command([sys.executable], module, *arguments)

    def why_lost(self, status: int) -> str:
        return self._lost

    def close(self) -> None:
        pass


@pytest.fixture
def far(batch: MakeBatch, marker: str, tmp_path: Path) -> Batch:
    """A batch whose case reads a set that only the host has."""
    (tmp_path / "host" / "data").mkdir(parents=True)
    np.save(tmp_path / "x.npy", X)
    digest = sha256_file(tmp_path / "x.npy")
    (tmp_path / "x.npy").rename(tmp_path / "host" / "data" / f"{digest}.npy")
    return replace(
        batch(do("a", "read"), do("b", "read")),
        preprocess={"x": Preprocess(scale=0.5)},
        data={"clean": DataRef({"x": digest}, 5, X.nbytes)},
    )


def run(batch: Batch, connection: RemoteConnection, tmp_path: Path, **more: object) -> list[JobResult]:
    executor = DeviceExecutor(connection, tmp_path / "host", **more)  # type: ignore[arg-type]
    return [event for event in executor.run([batch]) if isinstance(event, JobResult)]


def test_files_are_sent_by_hash(far: Batch, tmp_path: Path) -> None:
    for result in run(far, RemoteConnection(tmp_path / "device"), tmp_path):
        assert result.status is Status.OK, result.reason
        np.testing.assert_array_equal(result.samples.arrays["rows"], X[1:3] * 0.5)
    sent = sorted(path.name for path in (tmp_path / "device").rglob("*") if path.is_file())
    assert sent == sorted([f"{far.data['clean'].inputs['x']}.npy", "model.onnx"])


def test_targets_and_the_file_beside_are_sent_too(far: Batch, tmp_path: Path) -> None:
    np.save(tmp_path / "targets.npy", X.astype(np.int32))
    digest = sha256_file(tmp_path / "targets.npy")
    (tmp_path / "targets.npy").rename(tmp_path / "host" / "data" / f"{digest}.npy")
    (tmp_path / "beside.onnx").write_bytes(b"reference")
    beside = Artifact("float32", "onnx", (describe_file(tmp_path / "beside.onnx"),), tmp_path)
    clean = replace(far.data["clean"], targets=digest)
    both = replace(far, cases=(do("a", "read beside"),), data={"clean": clean}, beside=beside)
    (result,) = run(both, RemoteConnection(tmp_path / "device"), tmp_path)
    assert result.status is Status.OK, result.reason
    np.testing.assert_array_equal(result.samples.arrays["targets"], X[1:3])
    assert result.samples.arrays["content"].tobytes() == b"reference"


def test_a_device_gets_nothing_that_its_batch_does_not_name(far: Batch, tmp_path: Path) -> None:
    other = replace(far, data={"clean": DataRef({"x": "../../../etc/passwd"}, 5, 0)})
    result = run(other, RemoteConnection(tmp_path / "device"), tmp_path)[0]
    assert result.status is Status.ERROR


def test_no_room(far: Batch, tmp_path: Path) -> None:
    result = run(far, RemoteConnection(tmp_path / "device", room_byte=100), tmp_path)[0]
    assert result.status is Status.ERROR
    assert "raise disk_mb" in result.reason


def test_an_interrupted_job_is_started_again_after_a_reconnect(
    batch: MakeBatch, marker: str, tmp_path: Path
) -> None:
    connection = RemoteConnection(tmp_path / "device", lost="the board went away", away=1)
    cut = batch(do("a"), do("b", "killed once", flag=str(tmp_path / "flag")), do("c"))
    results = run(cut, connection, tmp_path, pauses_s=(0.0, 0.0))
    assert [(result.key.case, result.status) for result in results] == [
        ("a", Status.OK), ("b", Status.OK), ("c", Status.OK),
    ]  # fmt: skip
    assert connection.attempts == 2


def test_a_job_that_takes_its_device_down_each_time_is_an_error(
    batch: MakeBatch, marker: str, tmp_path: Path
) -> None:
    connection = RemoteConnection(tmp_path / "device", lost="the board went away")
    results = run(batch(do("a", "killed"), do("b")), connection, tmp_path, pauses_s=(0.0,), retries=1)
    assert [result.status for result in results] == [Status.ERROR, Status.OK]
    assert results[0].reason.startswith(
        "the connection was lost 2 times during this job\nthe board went away"
    )


def test_the_environment_has_the_host_s_facts_of_the_device(
    batch: MakeBatch, marker: str, tmp_path: Path
) -> None:
    executor = DeviceExecutor(RemoteConnection(tmp_path / "device"), tmp_path)
    records = [event for event in executor.run([batch(do("a"))]) if isinstance(event, EnvironmentRecord)]
    assert [(record.phase, record.facts["host"]) for record in records] == [
        ("before", "far"),
        ("after", "far"),
    ]


def test_a_device_that_stays_away(batch: MakeBatch, marker: str, tmp_path: Path) -> None:
    connection = RemoteConnection(tmp_path / "device", lost="the board went away", away=9)
    results = run(batch(do("a"), do("b", "killed"), do("c")), connection, tmp_path, pauses_s=(0.0, 0.0))
    assert [result.status for result in results] == [Status.OK, Status.ERROR, Status.ERROR]
    assert "no route to the board (attempt 2 after the connection was lost)" in results[1].reason


def test_stop_from_another_thread(batch: MakeBatch, marker: str, tmp_path: Path) -> None:
    executor = DeviceExecutor(RemoteConnection(tmp_path / "device"), tmp_path / "host")
    events = []
    for event in executor.run([batch(do("a"), do("b", "hang"), do("c"))]):
        events.append(event)
        if isinstance(event, Started) and event.key.case == "b":
            threading.Thread(target=executor.stop).start()
    assert [event.key.case for event in events if isinstance(event, JobResult)] == ["a"]
    assert not processes(marker)
