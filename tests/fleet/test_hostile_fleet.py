"""Lies over a real Dask cluster: each costs the rows of its own job, and no process stays on a board."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.job import JobResult
from tests.fleet.conftest import WORD, MakeBatch, Reach
from tests.hostile.batches import cases, is_caught
from tests.hostile.planted import LIES
from tests.processes import processes
from tests.site import planted_site

SOURCE = Path(__file__).parents[1] / "hostile" / "planted.py"
#: One of each kind: a text, an array, a key, a process; the others are the same to the host.
QUICK = ("bad JSON", "structured dtype", "key that is a path", "child that stays")
#: Deadline of those that end only there.
SLOW_S = 2.0


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lying measure in place of that of the other tests."""
    return planted_site(tmp_path_factory.mktemp("hostile"), SOURCE, "hostile_on_fleet")


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(
    "lies", [QUICK, pytest.param(tuple(LIES), marks=pytest.mark.full)], ids=["quick", "all"]
)
def test_lies_cost_their_own_jobs(reach: Reach, batch: MakeBatch, lies: tuple[str, ...]) -> None:
    executor = reach()
    executor.probe(["null"])
    events = executor.run([batch(*cases(lies, SLOW_S))])
    results = {event.key.case: event for event in events if isinstance(event, JobResult)}
    for lie in lies:
        is_caught(results, lie)
    assert not [pid for pid in processes(WORD) if b"threading.Event().wait()" in command_of(pid)]
