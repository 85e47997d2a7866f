"""Lies over a real ssh connection: each costs the rows of its own job, and no process stays on the board."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.job import JobResult
from tests.board.board import Board
from tests.board.conftest import MakeBatch, Reach
from tests.hostile.batches import CHILD, cases, is_caught
from tests.hostile.planted import LIES, SLOW
from tests.site import planted_site

SOURCE = Path(__file__).parents[1] / "hostile" / "planted.py"
#: One of each kind: a text, an array, a key, a process; the others are the same to the host.
QUICK = ("bad JSON", "structured dtype", "key that is a path", "child that stays")
#: Deadline of those that end only there.
SLOW_S = 2.0


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lying measure in place of that of the other tests."""
    return planted_site(tmp_path_factory.mktemp("hostile"), SOURCE, "hostile_on_board")


@pytest.mark.parametrize(
    "lies", [QUICK, pytest.param(tuple(LIES), marks=pytest.mark.full)], ids=["quick", "all"]
)
def test_lies_cost_their_own_jobs(
    one_board: Board, reach: Reach, batch: MakeBatch, lies: tuple[str, ...]
) -> None:
    executor = reach(one_board)
    executor.probe(["null"])
    events = executor.run([batch(*cases(lies, SLOW_S, (*SLOW, CHILD)))])
    results = {event.key.case: event for event in events if isinstance(event, JobResult)}
    for lie in lies:
        is_caught(results, lie)
    executor.close()
    assert not one_board.running()
