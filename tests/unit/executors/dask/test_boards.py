"""Which board a lane takes, with boards that are only told of."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.core.contracts import Availability
from harness.core.errors import TargetUnavailable
from harness.core.target import Target
from harness.executors.dask import boards as fleet
from harness.executors.dask.boards import BoardPool, Ready
from harness.executors.dask.cluster import Board

KIND = "aarch64"


def board(name: str, *tasks: str, pi: float = 1) -> Board:
    return Board(f"tls://{name}", name, {"pi": pi} if pi else {}, tasks)


class TellTale:
    """A cluster that tells one list of boards after the other."""

    address = "tls://scheduler"

    def __init__(self, *told: list[Board]) -> None:
        self._told: Iterator[list[Board]] = iter(told)

    def connect(self) -> None:
        pass

    def boards(self) -> list[Board]:
        return next(self._told)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "LOOK_AGAIN_S", 0.0)
    monkeypatch.setattr(fleet, "bundle_archive", lambda store: None)
    monkeypatch.setattr(BoardPool, "_made_ready", made_ready)


def made_ready(self: BoardPool, board: Board) -> Ready:
    if board.name.startswith("broken"):
        raise TargetUnavailable("it could not take the harness")
    kind = "armv7l" if board.name.startswith("other") else KIND
    return Ready(kind, {"null": Availability("1")}, {"host": board.name}, "/", 0)


def started(*told: list[Board]) -> BoardPool:
    made = BoardPool(Target("pis", "", ("null",), {"scheduler": "tls://a:1", "resource": "pi"}), Path())
    made.cluster = TellTale(*told)  # type: ignore[assignment]
    made.probe(["null"])
    return made


def test_each_lane_takes_a_board_of_its_own() -> None:
    both = [board("a"), board("b"), board("c", pi=0)]
    made = started(both, both, both, both, both)
    with ExitStack() as stack:
        names = [stack.enter_context(made.taken(threading.Event()))[0].name for _ in range(2)]
    assert names == ["a", "b"]
    with made.taken(threading.Event()) as (again, ready):
        assert (again.name, ready.facts["host"]) == ("a", "a")


def test_a_busy_board_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    busy = [board("a", "somebody's")]
    made = started(busy, busy, busy, [board("a")])
    assert "waiting for a: harness fleet says" in capsys.readouterr().err
    with made.taken(threading.Event()) as (free, _):
        assert free.name == "a"


def test_whoever_waits_can_be_stopped() -> None:
    busy = [board("a", "somebody's")]
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(TargetUnavailable), started(busy, busy).taken(stopped):
        pass


def test_one_that_joins_is_used_if_it_is_like_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    later = [board("broken"), board("other"), board("z")]
    made = started([board("a")], later, later, [*later[:2], board("z", "busy")], [])
    with made.taken(threading.Event()) as (first, _):
        assert first.name == "z"
    said = capsys.readouterr().err
    assert "broken came and is not used: it could not take the harness" in said
    assert "other came and is not used: the boards of this target are not alike" in said
    with made.taken(threading.Event()):
        pass
    assert "came" not in capsys.readouterr().err, "said once"
    with pytest.raises(TargetUnavailable, match="has the resource pi"), made.taken(threading.Event()):
        pass


def test_unlike_boards_are_refused_at_the_start() -> None:
    with pytest.raises(TargetUnavailable, match="not alike"):
        started([board("a"), board("other")])


def test_no_board_says_who_is_connected() -> None:
    with pytest.raises(TargetUnavailable, match="no worker of tls://scheduler has the resource pi") as caught:
        started([board("x", pi=0), Board("tls://y", "y", {"gpu": 2}, ())])
    assert caught.value.cause == "connected are x (no resource), y (gpu=2)"
    assert "--resources pi=1" in caught.value.next_step
    with pytest.raises(TargetUnavailable) as caught:
        started([])
    assert caught.value.cause == "nobody is connected"
