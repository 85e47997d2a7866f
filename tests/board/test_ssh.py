"""A real sshd on the loopback address: contact, lost connections, reboots, dead hosts, the lock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from harness.core.errors import TargetUnavailable
from harness.core.job import Batch, EnvironmentRecord, Event, JobResult, Started, Status
from harness.executors import board_side
from harness.executors.ssh import executor as ssh
from harness.executors.ssh import lock
from harness.executors.ssh.executor import SshExecutor
from tests.board.board import Board
from tests.board.conftest import MakeBatch, MakeBoard, Reach, do, pi
from tests.processes import processes, wait_until_gone


def by_case(events: Iterable[Event]) -> dict[str, JobResult]:
    """Results by case; every case has one at most."""
    results = [event for event in events if isinstance(event, JobResult)]
    assert len({result.key for result in results}) == len(results)
    return {result.key.case: result for result in results}


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


def test_first_and_second_contact(make_board: MakeBoard, reach: Reach, batch: MakeBatch, store: Path) -> None:
    board = make_board("fresh")
    executor = reach(board)
    assert executor.probe(["null"])["null"].version == "1"
    events = list(executor.run([batch(do("a"), do("b"))]))
    (before, _) = [event for event in events if isinstance(event, EnvironmentRecord)]
    assert before.facts["host"] == "fresh"
    assert before.facts["shipped_byte"] > 1e6
    assert abs(before.facts["clock_error_s"]) < 5
    results = by_case(events)
    assert [result.status for result in results.values()] == [Status.OK] * 2
    assert results["a"].samples.values["home"] == str(board.home)
    np.testing.assert_array_equal(results["a"].samples.arrays["x"], np.arange(5))
    executor.close()
    assert not board.running()

    folder = board.home / ".cache" / "deployment-validation-harness"
    (packages,) = folder.glob("venvs/*/lib/python3*/site-packages")
    there = {path.name.partition("-")[0] for path in packages.iterdir()}
    assert there - {"__pycache__", "bin"} <= {"numpy", "numpy.libs"}
    written = {path: path.stat().st_ino for path in folder.rglob("*") if "__pycache__" not in path.parts}

    again = reach(board)
    again.probe(["null"])
    (before, *_) = again.run([batch(do("a"))])
    assert isinstance(before, EnvironmentRecord)
    assert before.facts["shipped_byte"] == 0
    assert {path: path.stat().st_ino for path in written} == written


def test_a_killed_worker_is_not_a_lost_connection(one_board: Board, reach: Reach, batch: MakeBatch) -> None:
    executor = reach(one_board)
    executor.probe(["null"])
    results = by_case(executor.run([batch(do("a", "killed"), do("b"))]))
    assert "was killed by SIGKILL" in results["a"].reason
    assert results["b"].status is Status.OK


@pytest.mark.parametrize("fault", ["cut", "reboot"])
def test_an_interrupted_job_is_started_again(
    one_board: Board, reach: Reach, batch: MakeBatch, fifo: Path, fault: str
) -> None:
    executor = reach(one_board)
    executor.probe(["null"])
    cases = (do("done"), do("cut", "say and hang once", fifo=str(fifo)), do("after"))
    events: list[Event] = []
    first: list[int] = []
    for event in executor.run([batch(*cases)]):
        events.append(event)
        if isinstance(event, Started) and event.key.case == "cut" and not first:
            assert fifo.read_text() == "ready"
            first = one_board.running()
            if fault == "cut":
                one_board.cut()
            else:
                one_board.off()
                one_board.on()
    assert [result.status for result in by_case(events).values()] == [Status.OK] * 3
    started = [event.key.case for event in events if isinstance(event, Started)]
    assert started == ["done", "cut", "cut", "after"]
    assert first
    assert not set(first) & set(one_board.running())


def test_a_connection_that_is_lost_between_batches(one_board: Board, reach: Reach, batch: MakeBatch) -> None:
    executor = reach(one_board)
    executor.probe(["null"])
    for _ in range(2):
        assert by_case(executor.run([batch(do("a"))]))["a"].status is Status.OK
        one_board.cut()


@pytest.mark.full
def test_a_board_that_stays_away_gives_errors(
    make_board: MakeBoard, reach: Reach, batch: MakeBatch, fifo: Path
) -> None:
    board = make_board("away")
    executor = reach(board, pauses_s=(0.01, 0.01))
    executor.probe(["null"])
    events = executor.run([batch(do("a", "say and hang", fifo=str(fifo)), do("b")), batch(do("c"))])
    results = []
    for event in events:
        results.append(event)
        if isinstance(event, Started):
            fifo.read_text()
            board.off()
    results = by_case(results)
    assert list(results) == ["a", "b", "c"]
    for result in results.values():
        assert result.status is Status.ERROR
        assert "away cannot be reached; nothing listens there (attempt 2" in result.reason


@pytest.mark.full
def test_a_job_that_breaks_the_connection_each_time_is_an_error(
    one_board: Board, reach: Reach, batch: MakeBatch
) -> None:
    executor = reach(one_board)
    executor.probe(["null"])
    results = by_case(executor.run([batch(do("poison", "cut the link"), do("good"))]))
    assert "the connection was lost 3 times during this job" in results["poison"].reason
    assert results["good"].status is Status.OK


@pytest.mark.full
def test_boards_share_the_work_and_a_dead_ones_share_goes_to_the_others(
    make_board: MakeBoard, reach: Reach, batch: MakeBatch, fifo: Path
) -> None:
    boards = {str(board.home): board for board in (make_board("a"), make_board("b"))}
    executor = reach(*boards.values(), pauses_s=(0.01,))
    executor.probe(["null"])
    batches = [
        batch(do("waits", "say and hang once", fifo=str(fifo)), do("next")),
        *(batch(do(f"more {i}")) for i in range(3)),
    ]
    dead, results = "", []
    for event in executor.run(batches):
        results.append(event)
        if isinstance(event, JobResult) and event.key.case.startswith("more") and not dead:
            fifo.read_text()
            (dead,) = set(boards) - {event.samples.values["home"]}
            boards[dead].off()
    results = by_case(results)
    assert {result.status for result in results.values()} == {Status.OK}
    assert set(results) == {"waits", "next", "more 0", "more 1", "more 2"}
    assert dead not in {results[name].samples.values["home"] for name in ("waits", "next")}


@pytest.mark.full
def test_boards_that_differ_do_not_share_a_target(
    make_board: MakeBoard, reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = make_board("a"), make_board("b")
    executor = reach(one, other)
    acquire, cpus = lock.BoardLock.acquire, iter(("Cortex-A72", "Cortex-A76"))
    monkeypatch.setattr(lock.BoardLock, "acquire", lambda *given: {**acquire(*given), "cpu": next(cpus)})
    with pytest.raises(TargetUnavailable, match="are not alike") as caught:
        executor.probe(["null"])
    assert "Cortex-A72 with Python" in caught.value.cause
    assert "Cortex-A76 with Python" in caught.value.cause


def test_a_connection_that_breaks_silently_leaves_nothing_on_the_board(
    one_board: Board, reach: Reach, batch: MakeBatch, fifo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "SILENCE_S", 2.0)
    executor = reach(one_board)
    executor.probe(["null"])
    events = executor.run([batch(do("a", "say and hang", fifo=str(fifo)))])
    for event in events:
        if isinstance(event, Started):
            fifo.read_text()
            break
    alive = one_board.running()
    assert len(alive) == 2  # the process with the lock, and the worker
    one_board.freeze()
    wait_until_gone(alive)
    one_board.cut()
    events.close()


HOST = """
import json, sys
from pathlib import Path
from harness.core.artifact import Artifact
from harness.core.job import Batch
from harness.core.target import Target
from harness.executors.ssh.executor import SshExecutor

target, value, folder, store = (json.loads(text) for text in sys.argv[1:])
batch = Batch.from_json(value, Artifact.from_json(value["artifact"], Path(folder)))
executor = SshExecutor(Target("pi", "", ("null",), target), Path(store))
executor.probe(["null"])
list(executor.run([batch]))
"""


def test_nothing_is_left_when_the_host_is_killed(
    one_board: Board, batch: MakeBatch, fifo: Path, store: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("HARNESS_TEST", str(fifo))
    made = batch(do("a", "say and hang", fifo=str(fifo)))
    value = [pi(one_board).executor, made.to_json(), str(made.artifact.folder), str(store)]
    host = subprocess.Popen([sys.executable, "-c", HOST, *map(json.dumps, value)])
    assert fifo.read_text() == "ready"
    alive = [*one_board.running(), *(pid for pid in processes(str(fifo)) if pid != host.pid)]
    assert len(alive) == 4  # two on the board, two ssh here
    host.kill()
    host.wait()
    wait_until_gone(alive)


def test_a_board_is_locked_while_it_is_used(
    one_board: Board, reach: Reach, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = reach(one_board)
    first.probe(["null"])
    with pytest.raises(TargetUnavailable, match="one is in use") as caught:
        reach(one_board).probe(["null"])
    assert lock.lock_owner() in caught.value.cause
    assert "has locked it since 20" in caught.value.cause

    queued = reach(one_board, wait_s=60)
    waiting = threading.Thread(target=queued.probe, args=(["null"],))
    reported = threading.Event()
    for device in queued._devices:
        device.connection.board._report_busy = lambda by, since: reported.set()
    waiting.start()
    assert reported.wait(30)
    first.close()
    waiting.join(30)
    assert not waiting.is_alive()
    assert queued._devices[0].connection.facts


@pytest.mark.full
def test_unused_bundles_and_venvs_are_deleted(make_board: MakeBoard, reach: Reach, batch: MakeBatch) -> None:
    board = make_board("small")
    folder = board.home / ".cache" / "deployment-validation-harness"
    for name, age in (("venvs/old", 1), ("venvs/newer", 2)):
        (folder / name).mkdir(parents=True)
        (folder / name / board_side.SIZE_FILE).write_text(json.dumps({"byte": 60_000_000_000 * (3 - age)}))
        os.utime(folder / name / board_side.SIZE_FILE, (age, age))
    executor = reach(board)
    executor.probe(["null"])  # the target grants 2 GB
    assert not (folder / "venvs" / "old").exists()
    assert not (folder / "venvs" / "newer").exists()
    assert by_case(executor.run([batch(do("a"))]))["a"].status is Status.OK


def test_what_a_batch_reads_is_shipped_once(
    one_board: Board, reach: Reach, batch: MakeBatch, store: Path, tmp_path: Path
) -> None:
    from dataclasses import replace

    from harness.core.job import Case, DataRef
    from harness.core.preprocess import Preprocess
    from harness.store.cache import Cache

    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    digest = Cache(store).put_array(x)
    case = Case("read", data="clean", samples=3, params={"do": "read"})
    made: Batch = replace(
        batch(case), preprocess={"x": Preprocess()}, data={"clean": DataRef({"x": digest}, 3, x.nbytes)}
    )
    executor = reach(one_board)
    executor.probe(["null"])
    path = one_board.home / ".cache" / "deployment-validation-harness" / "data" / f"{digest}.npy"
    for _ in range(2):
        result = by_case(executor.run([made]))["read"]
        np.testing.assert_array_equal(result.samples.arrays["sum"], x.sum(axis=1))
        inode = path.stat().st_ino
    assert path.stat().st_ino == inode


def test_the_plug_in_makes_one_device_a_host(one_board: Board, store: Path) -> None:
    executor = SshExecutor(pi(one_board), store)
    assert executor.parallel_batches == 1
    executor.close()


@pytest.mark.full  # ssh takes 15 s to give up a silent connection
def test_a_job_is_started_again_when_ssh_gives_up_a_silent_connection(
    make_board: MakeBoard, reach: Reach, batch: MakeBatch, fifo: Path
) -> None:
    board = make_board("silent")
    executor = reach(board)
    executor.probe(["null"])
    events = []
    for event in executor.run([batch(do("a", "say and hang once", fifo=str(fifo)), do("b"))]):
        events.append(event)
        if isinstance(event, Started) and len(events) == 2:
            fifo.read_text()
            board.freeze()
    assert [result.status for result in by_case(events).values()] == [Status.OK] * 2
    assert [event.key.case for event in events if isinstance(event, Started)] == ["a", "a", "b"]
