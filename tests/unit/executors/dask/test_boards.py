"""Which board a lane takes, with a cluster that only lists boards."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.core.contracts import Availability
from harness.core.errors import TargetUnavailable
from harness.core.target import Target
from harness.executors.dask import boards as dask_boards
from harness.executors.dask.boards import BoardPool, PreparedBoard
from harness.executors.dask.cluster import Board

KIND = "aarch64"


def board(name: str, *tasks: str, pi: float = 1) -> Board:
    return Board(f"tls://{name}", name, {"pi": pi} if pi else {}, tasks)


class FakeCluster:
    """A cluster that reports one list of boards after the other."""

    address = "tls://scheduler"

    def __init__(self, *lists: list[Board]) -> None:
        self._lists: Iterator[list[Board]] = iter(lists)

    def connect(self) -> None:
        pass

    def boards(self) -> list[Board]:
        return next(self._lists)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_boards, "POLL_S", 0.0)
    monkeypatch.setattr(dask_boards, "bundle_archive", lambda store: None)
    monkeypatch.setattr(BoardPool, "_prepare", prepare)


def prepare(self: BoardPool, board: Board) -> PreparedBoard:
    if board.name.startswith("broken"):
        raise TargetUnavailable("the upload failed")
    kind = "armv7l" if board.name.startswith("other") else KIND
    return PreparedBoard(kind, {"null": Availability("1")}, {"host": board.name}, "/", 0)


def started(*lists: list[Board]) -> BoardPool:
    pool = BoardPool(Target("pis", "", ("null",), {"scheduler": "tls://a:1", "resource": "pi"}), Path())
    pool.cluster = FakeCluster(*lists)  # type: ignore[assignment]
    pool.probe(["null"])
    return pool


def test_each_lane_takes_a_board_of_its_own() -> None:
    both = [board("a"), board("b"), board("c", pi=0)]
    pool = started(both, both, both, both, both)
    with ExitStack() as stack:
        names = [stack.enter_context(pool.taken(threading.Event()))[0].name for _ in range(2)]
    assert names == ["a", "b"]
    with pool.taken(threading.Event()) as (again, prepared):
        assert (again.name, prepared.facts["host"]) == ("a", "a")


def test_a_busy_board_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    busy = [board("a", "somebody's")]
    pool = started(busy, busy, busy, [board("a")])
    assert "waiting for a; to see what runs there: harness fleet" in capsys.readouterr().err
    with pool.taken(threading.Event()) as (free, _):
        assert free.name == "a"


def test_a_lane_that_waits_can_be_stopped() -> None:
    busy = [board("a", "somebody's")]
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(TargetUnavailable), started(busy, busy).taken(stopped):
        pass


def test_one_that_joins_is_used_if_it_is_like_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    later = [board("broken"), board("other"), board("z")]
    pool = started([board("a")], later, later, [*later[:2], board("z", "busy")], [])
    with pool.taken(threading.Event()) as (first, _):
        assert first.name == "z"
    messages = capsys.readouterr().err
    assert "broken was connected during the run and is not used: the upload failed" in messages
    assert "other was connected during the run and is not used: the boards of this target are not" in messages
    with pool.taken(threading.Event()):
        pass
    assert "is not used" not in capsys.readouterr().err, "reported once"
    with pytest.raises(TargetUnavailable, match="has the resource pi"), pool.taken(threading.Event()):
        pass


def test_unlike_boards_are_refused_at_the_start() -> None:
    with pytest.raises(TargetUnavailable, match="not alike"):
        started([board("a"), board("other")])


def test_without_a_board_the_message_lists_the_connected_workers() -> None:
    with pytest.raises(TargetUnavailable, match="no worker of tls://scheduler has the resource pi") as caught:
        started([board("x", pi=0), Board("tls://y", "y", {"gpu": 2}, ())])
    assert caught.value.cause == "connected are x (no resource), y (gpu=2)"
    assert "--resources pi=1" in caught.value.next_step
    with pytest.raises(TargetUnavailable) as caught:
        started([])
    assert caught.value.cause == "no worker is connected"
