"""Two environments of one board take turns under one lock."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version

import pytest

from harness.core.errors import TargetUnavailable
from harness.core.job import JobResult, Status
from harness.executors.shared import SharedExecutor
from tests.board.board import Board
from tests.board.conftest import MakeBatch, MakeBoard, Reach, do
from tests.processes import wait_until_gone

NUMPY = f"numpy=={version('numpy')}"


@pytest.fixture
def turns(one_board: Board, reach: Reach) -> tuple[SharedExecutor, SharedExecutor]:
    first = reach(one_board, lock_name="pair")
    second = reach(one_board, lock_name="pair", requirements=[NUMPY, "psutil"])
    for executor in (first, second):
        executor.probe(["null"])
    return first, second


def states(executor: SharedExecutor, batch: MakeBatch) -> list[Status]:
    return [event.status for event in executor.run([batch(do("a"))]) if isinstance(event, JobResult)]


def test_both_run_and_no_other_process_may(
    turns: tuple[SharedExecutor, SharedExecutor], one_board: Board, reach: Reach, batch: MakeBatch
) -> None:
    for executor in (*turns, *turns):
        assert states(executor, batch) == [Status.OK]
    with pytest.raises(TargetUnavailable, match="one is in use"):
        reach(one_board, lock_name="another pair").probe(["null"])
    turns[0].close()
    assert states(turns[1], batch) == [Status.OK]
    with pytest.raises(TargetUnavailable, match="one is in use"):
        reach(one_board).probe(["null"])
    turns[1].close()
    wait_until_gone(one_board.running())
    reach(one_board).probe(["null"])


def test_the_next_user_connects_again_after_a_lost_connection(
    turns: tuple[SharedExecutor, SharedExecutor], one_board: Board, batch: MakeBatch
) -> None:
    one_board.cut()
    assert states(turns[1], batch) == [Status.OK]
    assert states(turns[0], batch) == [Status.OK]


def test_an_upload_for_one_user_keeps_what_the_other_needs(make_board: MakeBoard, reach: Reach) -> None:
    """With room for one environment, the second is refused; the first stays while it is in use."""
    board = make_board("small")
    first = reach(board, lock_name="pair")
    first.probe(["null"])
    connection = first._devices[0].connection
    folder = board.home / ".cache" / "deployment-validation-harness"
    (first_venv,) = folder.glob("venvs/*")
    second = reach(board, lock_name="pair", requirements=[NUMPY, "psutil"])
    other = second._devices[0].connection
    used_mb = sum(path.lstat().st_size for path in folder.rglob("*")) // 10**6
    other._target = replace(other._target, disk_mb=used_mb + 25)
    with pytest.raises(TargetUnavailable, match="the runtimes alone take"):
        second.probe(["null"])
    assert first_venv.is_dir()
    assert connection._archives[0].endswith(first_venv.name)
