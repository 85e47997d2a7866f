"""Devices that share the work of one target, played by this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from harness.core.contracts import Availability
from harness.core.errors import TargetUnavailable
from harness.core.job import JobResult, Started, Status
from harness.executors.device import DeviceExecutor
from harness.executors.shared import SharedExecutor
from tests.processes import processes
from tests.unit.executors.batches import MakeBatch, do
from tests.unit.executors.test_shipping import RemoteConnection


def shared(*connections: RemoteConnection, store: Path) -> SharedExecutor:
    return SharedExecutor([DeviceExecutor(connection, store, pauses_s=(0.0,)) for connection in connections])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    return tmp_path / "host"


def test_every_batch_runs_once_and_an_executor_runs_again(batch: MakeBatch, marker: str, store: Path) -> None:
    executor = shared(RemoteConnection(store / "a"), RemoteConnection(store / "b"), store=store)
    for _ in range(2):
        results = [event for event in executor.run([batch(do(name)) for name in "abcd"])
                 if isinstance(event, JobResult)]  # fmt: skip
        assert sorted(result.key.case for result in results) == ["a", "b", "c", "d"]
        assert {result.status for result in results} == {Status.OK}


def test_another_device_finishes_the_work_of_one_that_is_gone(
    batch: MakeBatch, marker: str, store: Path
) -> None:
    gone = RemoteConnection(store / "a", lost="gone", away=9)
    batches = [batch(do("killed", "killed once", flag=str(store.parent / "flag")), do("next"))]
    batches += [batch(do(name)) for name in "abc"]
    # The other one has the same fault, and comes back.
    other = RemoteConnection(store / "b", lost="cut")
    results = [
        event for event in shared(gone, other, store=store).run(batches) if isinstance(event, JobResult)
    ]
    assert sorted(result.key.case for result in results) == ["a", "b", "c", "killed", "next"]
    assert {result.status for result in results} == {Status.OK}


def test_when_all_are_gone_the_rest_are_errors(batch: MakeBatch, marker: str, store: Path) -> None:
    connections = [RemoteConnection(store / name, lost="gone", away=9) for name in "ab"]
    batches = [batch(do(f"{name}1", "killed"), do(f"{name}2")) for name in "abc"]
    results = [
        event for event in shared(*connections, store=store).run(batches) if isinstance(event, JobResult)
    ]
    assert sorted(result.key.case for result in results) == ["a1", "a2", "b1", "b2", "c1", "c2"]
    assert all("no route to the board" in result.reason for result in results)


def test_closing_the_events_leaves_no_process(batch: MakeBatch, marker: str, store: Path) -> None:
    executor = shared(RemoteConnection(store / "a"), RemoteConnection(store / "b"), store=store)
    with closing(executor.run([batch(do(name, "hang")) for name in "abc"])) as events:
        assert any(isinstance(event, Started) for event in events)
        assert processes(marker)
    assert not processes(marker)


def test_one_that_cannot_be_reached_releases_the_others(store: Path) -> None:
    connections = [RemoteConnection(store / "a"), RemoteConnection(store / "b", away=9)]
    closed: list[RemoteConnection] = []
    for connection in connections:
        connection.close = lambda connection=connection: closed.append(connection)  # type: ignore[method-assign,misc]
    with pytest.raises(TargetUnavailable, match="no route"):
        shared(*connections, store=store).probe([])
    assert closed == connections


def test_devices_that_differ_are_refused(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = shared(RemoteConnection(store / "a"), RemoteConnection(store / "b"), store=store)
    answers = iter((Availability("1"), Availability("2")))
    monkeypatch.setattr(DeviceExecutor, "probe", lambda self, names: {"null": next(answers)})
    with pytest.raises(TargetUnavailable, match="are not alike") as caught:
        executor.probe(["null"])
    assert {"null 1" in caught.value.cause, "null 2" in caught.value.cause} == {True}
