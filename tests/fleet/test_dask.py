"""A real scheduler and three workers with resources on the loopback address, over TLS."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.core.commands import install_elsewhere
from harness.core.errors import TargetUnavailable
from harness.core.job import DataRef, EnvironmentRecord, Event, JobResult, Started, Status
from harness.core.preprocess import Preprocess
from harness.executors.dask import executor as dask_
from harness.executors.dask.cluster import Cluster
from harness.executors.dask.executor import DaskExecutor
from harness.store.cache import Cache
from tests.fleet.cluster import DaskCluster, dask_cluster
from tests.fleet.conftest import MakeBatch, Reach, do, target
from tests.processes import processes, wait_until_gone

ROOT = Path(__file__).parents[2]
#: A host that says when its case has begun, which never ends.
HOST = """
import json, sys
from pathlib import Path
from harness.core.artifact import Artifact, describe_file
from harness.core.job import Batch, Case, Options, Started
from harness.core.target import Target
from harness.executors.dask import executor as dask_
dask_.SILENCE_S = 4.0
folder = Path(sys.argv[1])
artifact = Artifact("float32", "onnx", (describe_file(folder / "model.onnx"),), folder)
options = {"deploy": Options(), "parity": Options()}
case = Case("a", params={"do": "hang"})
batch = Batch("pis", "null", "float32", "planted", artifact, options, {}, {}, (case,))
target = Target("pis", "", ("null",), json.loads((folder / "target.json").read_text()))
executor = dask_.DaskExecutor(target, Path(sys.argv[2]))
executor.probe(["null"])
for event in executor.run([batch]):
    if isinstance(event, Started):
        print("hangs", flush=True)
"""
X = np.arange(20, dtype=np.uint8).reshape(5, 4)


def by_case(events: Iterable[Event]) -> dict[str, JobResult]:
    """Results by case; every case has one at most."""
    results = [event for event in events if isinstance(event, JobResult)]
    assert len({result.key for result in results}) == len(results)
    return {result.key.case: result for result in results}


def hosts(events: Iterable[Event]) -> list[str]:
    return [event.facts["host"] for event in events
            if isinstance(event, EnvironmentRecord) and event.phase == "before"]  # fmt: skip


def test_equal_boards_share_the_work(
    cluster: DaskCluster, reach: Reach, batch: MakeBatch, store: Path, tmp_path: Path
) -> None:
    executor = reach()
    assert executor.probe(["null"])["null"].version == "1"
    (tmp_path / "meet").mkdir()
    meet = [batch(do(name, "meet", folder=str(tmp_path / "meet"), count=3), variant=name) for name in "abc"]
    read = replace(
        batch(replace(do("read", "read"), data="clean", samples=5), do("large", "large", count=3_000_000)),
        preprocess={"x": Preprocess(scale=0.5)},
        data={"clean": DataRef({"x": Cache(store).put_array(X)}, 5, X.nbytes)},
    )
    events = list(executor.run([*meet, read, batch(do("killed", "killed"), do("next"), variant="d")]))
    by_name = by_case(events)
    assert {name: result.status for name, result in by_name.items() if name != "killed"} == dict.fromkeys(
        ("a", "b", "c", "read", "large", "next"), Status.OK
    ), by_name
    # Each waited for the two others, and no board runs two at the same time.
    homes = {str(cluster.folder / name) for name in cluster.workers}
    assert {by_name[name].samples.values["home"] for name in "abc"} == homes
    assert sorted(hosts(events)[:3]) == ["one", "three", "two"]
    assert "was killed by SIGKILL" in by_name["killed"].reason
    np.testing.assert_array_equal(by_name["read"].samples.arrays["sum"], X.sum(axis=1) * 0.5)
    np.testing.assert_array_equal(by_name["large"].samples.arrays["large"], np.arange(3_000_000))

    again = reach()
    again.probe(["null"])
    (before, *_) = again.run([batch(do("a"))])
    assert isinstance(before, EnvironmentRecord)
    assert before.facts["shipped_byte"] == 0


def test_another_board_finishes_the_work_of_a_lost_one(
    cluster: DaskCluster, reach: Reach, batch: MakeBatch, tmp_path: Path
) -> None:
    executor = reach()
    executor.probe(["null"])
    flag = str(tmp_path / "flag")
    batches = [batch(do("first"), do("cut", "hang once", flag=flag), do("last"), variant="x")]
    batches += [batch(do(name), variant=name) for name in "abcd"]
    events, lost = [], ""
    for event in executor.run(batches):
        events.append(event)
        if isinstance(event, EnvironmentRecord) and event.variant == "x":
            lost = lost or event.facts["host"]
        if isinstance(event, Started) and event.key.case == "cut" and lost in cluster.workers:
            word = f"HARNESS_CACHE={cluster.folder / lost}"
            left = processes(word)
            cluster.kill(lost)
            wait_until_gone(left)
    by_name = by_case(events)
    assert {result.status for result in by_name.values()} == {Status.OK}, by_name
    assert {result.key for result in by_name.values()} == {job.key for one in batches for job in one.jobs}
    first, second = hosts(event for event in events
                          if isinstance(event, EnvironmentRecord) and event.variant == "x")  # fmt: skip
    assert (first, second != lost) == (lost, True)
    cluster.start(lost)


def test_closing_the_events_leaves_no_process(cluster: DaskCluster, reach: Reach, batch: MakeBatch) -> None:
    executor = reach()
    executor.probe(["null"])
    idle = {process.pid for process in cluster.workers.values()}
    with closing(executor.run([batch(do(name, "hang"), variant=name) for name in "abc"])) as events:
        assert any(isinstance(event, Started) for event in events)
        assert board_processes(cluster) > idle
    assert board_processes(cluster) == idle
    assert not any(board.tasks for board in executor._pool.connect())


def board_processes(cluster: DaskCluster) -> set[int]:
    return set(processes(f"HARNESS_CACHE={cluster.folder}/"))


def test_a_host_that_was_killed_leaves_nothing(
    cluster: DaskCluster, batch: MakeBatch, store: Path, site: Path, tmp_path: Path
) -> None:
    idle = {process.pid for process in cluster.workers.values()}
    script = tmp_path / "host.py"
    script.write_text(HOST)
    (tmp_path / "target.json").write_text(json.dumps(dict(target(cluster).executor)))
    path = os.pathsep.join([str(site), str(ROOT)])
    host = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), str(store)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert host.stdout is not None
    assert host.stdout.readline() == "hangs\n"
    left = board_processes(cluster) - idle
    assert left
    host.kill()
    host.communicate()
    wait_until_gone(list(left))


@pytest.mark.full
def test_a_run_waits_for_a_board_when_all_are_lost(
    cluster: DaskCluster, reach: Reach, batch: MakeBatch, tmp_path: Path
) -> None:
    executor = reach()
    executor.probe(["null"])
    names = tuple(cluster.workers)
    back = threading.Thread(target=cluster.start, args=names)
    events = []
    for event in executor.run([batch(do("a"), do("b", "hang once", flag=str(tmp_path / "flag")), do("c"))]):
        events.append(event)
        if isinstance(event, Started) and event.key.case == "b" and back.ident is None:
            for name in names:
                cluster.kill(name)
            back.start()
    back.join()
    by_name = by_case(events)
    assert {name: result.status for name, result in by_name.items()} == dict.fromkeys("abc", Status.OK), (
        by_name
    )


@pytest.mark.full
def test_a_silent_board_counts_as_lost(
    cluster: DaskCluster, reach: Reach, batch: MakeBatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cluster.call, "__kwdefaults__", {"within_s": 4.0})
    monkeypatch.setattr(dask_, "SILENCE_S", 6.0)
    executor = reach()
    executor.probe(["null"])
    events, silent = [], ""
    for event in executor.run([batch(do("a"), do("b", "hang once", flag=str(tmp_path / "flag")), do("c"))]):
        events.append(event)
        if isinstance(event, Started) and event.key.case == "b" and not silent:
            (silent,) = hosts(events)
            os.kill(cluster.workers[silent].pid, signal.SIGSTOP)
    by_name = by_case(events)
    assert {name: result.status for name, result in by_name.items()} == dict.fromkeys("abc", Status.OK), (
        by_name
    )
    assert hosts(events)[-1] != silent
    left = board_processes(cluster) - {process.pid for process in cluster.workers.values()}
    assert left
    os.kill(cluster.workers[silent].pid, signal.SIGCONT)
    wait_until_gone(list(left))


@pytest.mark.full
def test_a_lost_scheduler(batch: MakeBatch, store: Path, tmp_path: Path) -> None:
    with dask_cluster(tmp_path / "dask") as other:
        other.start("alone")
        executor = DaskExecutor(target(other), store)
        executor.probe(["null"])
        (device,) = executor._devices
        device._pauses_s = (0.1,)
        events = []
        for event in executor.run([batch(do("a"), do("b", "hang"), do("c"))]):
            events.append(event)
            if isinstance(event, Started) and event.key.case == "b":
                other.end()
        executor.close()
    by_name = by_case(events)
    assert [result.status for result in by_name.values()] == [Status.OK, Status.ERROR, Status.ERROR]
    assert "no scheduler can be reached" in by_name["c"].reason


@pytest.mark.full
@pytest.mark.parametrize("where", ["worker", "scheduler"])
def test_a_python_without_the_harness(where: str, store: Path, tmp_path: Path) -> None:
    (tmp_path / "bare" / "harness").mkdir(parents=True)
    (tmp_path / "bare" / "harness" / "__init__.py").write_text("raise ImportError('No module named harness')")
    bare = {"PYTHONPATH": str(tmp_path / "bare")}
    with dask_cluster(tmp_path / "dask", bare if where == "scheduler" else {}) as other:
        other.start("one", path=bare["PYTHONPATH"] if where == "worker" else str(ROOT))
        executor = DaskExecutor(target(other), store)
        try:
            with pytest.raises(TargetUnavailable, match="cannot run the harness's functions") as caught:
                executor.probe(["null"])
        finally:
            executor.close()
    assert "No module named harness" in caught.value.cause
    assert install_elsewhere("dask") in caught.value.next_step
