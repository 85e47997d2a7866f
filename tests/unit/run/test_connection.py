"""Executors of a run: made for all targets and the host, closed when one of them fails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from harness.config.load import check
from harness.config.validation import Validation
from harness.core.contracts import Availability
from harness.core.errors import TargetUnavailable
from harness.core.plan import HOST
from harness.core.target import Target
from harness.report.progress import Quiet
from harness.run import connection
from harness.run.connection import connect
from harness.run.selection import Selection

READY = Availability("1", ("CPU",))


class Executor:
    """Gives a fixed answer, and notes that it was closed."""

    def __init__(self, name: str, answer: Availability | Exception = READY) -> None:
        self.name, self._answer, self.closed = name, answer, False

    def probe(self, names: Iterable[str]) -> Mapping[str, Availability]:
        if isinstance(self._answer, Exception):
            raise self._answer
        return dict.fromkeys(names, self._answer)

    def close(self) -> None:
        self.closed = True


def selection(*targets: Target) -> Selection:
    tables = {"model": {"name": "m", "file": "m.onnx"}, "data": {"path": "d"}}
    return Selection(check(tables, Validation, where=""), Path("validation.toml"), targets, {}, ("float32",))


@pytest.fixture
def board() -> Target:
    executor = {"kind": "ssh", "hosts": ["user@board"]}
    return Target("board", "", ("onnxruntime",), executor=executor)


@pytest.fixture
def executors(monkeypatch: pytest.MonkeyPatch) -> dict[str, Executor]:
    """Executors by target; a target that has none gets one that is ready."""
    made: dict[str, Executor] = {}
    monkeypatch.setattr(
        connection, "make_executor", lambda target, *_: made.setdefault(target.name, Executor(target.name))
    )
    monkeypatch.setattr(connection, "probe", lambda names: dict.fromkeys(names, READY))
    return made


def test_every_target_and_the_host_have_an_executor(executors: dict[str, Executor], board: Target) -> None:
    made = connect(selection(board), Path(), 0.0, Quiet())
    assert set(made.executors) == {"board", HOST}
    assert made.available["board", "onnxruntime"] == READY
    assert made.available[HOST, "onnxruntime"] == READY
    assert not any(executor.closed for executor in executors.values())
    made.close()
    assert all(executor.closed for executor in executors.values())


def test_a_board_that_cannot_be_reached_can_run_nothing(
    executors: dict[str, Executor], board: Target
) -> None:
    error = TargetUnavailable("no route", where="user@board", next_step="ssh user@board")
    executors["board"] = Executor("board", error)
    available = connect(selection(board), Path(), 0.0, Quiet()).available["board", "onnxruntime"]
    assert (available.reason, available.install) == ("no route; user@board", "ssh user@board")


def test_whatever_fails_every_executor_is_closed(executors: dict[str, Executor], board: Target) -> None:
    executors["board"] = Executor("board", RuntimeError("planted"))
    with pytest.raises(RuntimeError, match="planted"):
        connect(selection(board), Path(), 0.0, Quiet())
    assert set(executors) == {"board", HOST}
    assert all(executor.closed for executor in executors.values())
