"""Boards, and an executor that reaches them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import pytest

from harness.core.artifact import Artifact, describe_file
from harness.core.job import Batch, Case, Options
from harness.core.target import Target
from harness.executors import settings
from harness.executors.device import DeviceExecutor
from harness.executors.shared import SharedExecutor
from harness.executors.ssh.executor import SETTINGS, SshConnection
from tests.board.board import Board, board, why_not
from tests.site import planted_site

HERE = Path(__file__).parent
MakeBoard = Callable[[str], Board]
Reach = Callable[..., SharedExecutor]
MakeBatch = Callable[..., Batch]


@pytest.fixture(scope="session", autouse=True)
def _can_be_made() -> None:
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The host's folder: wheels are fetched and packed once."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed distribution that brings the planted measure and a backend that does nothing."""
    return planted_site(tmp_path_factory.mktemp("site"), HERE / "planted.py", "planted_on_board")


@pytest.fixture(autouse=True)
def _planted(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(site))


@pytest.fixture(scope="session")
def one_board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """A board that many tests use one after the other."""
    with board(tmp_path_factory.mktemp("boards") / "one") as made:
        yield made


@pytest.fixture
def make_board(tmp_path: Path) -> Iterator[MakeBoard]:
    """Make boards for one test; they are switched on."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(board(tmp_path / name))


def pi(*boards: Board, **more: object) -> Target:
    """A target on these boards, with numpy alone."""
    config = boards[0].config.with_name("all_ssh_config")
    config.write_text("".join(board.config.read_text() for board in boards))
    table = {
        "kind": "ssh", "hosts": [board.name for board in boards], "ssh_config": str(config),
        "requirements": [f"numpy=={version('numpy')}"], **more,
    }  # fmt: skip
    return Target("pi", "", ("null",), table)


@pytest.fixture
def reach(store: Path) -> Iterator[Reach]:
    """Make executors; release their boards in the end."""
    made: list[SharedExecutor] = []

    def make(*boards: Board, pauses_s: tuple[float, ...] = (0.1,) * 50, **more: object) -> SharedExecutor:
        target = pi(*boards, **more)
        settings.check(target, SETTINGS)
        connections = [SshConnection(host, target, store) for host in target.executor["hosts"]]
        devices = [DeviceExecutor(connection, store, pauses_s) for connection in connections]
        made.append(SharedExecutor(devices))
        return made[-1]

    yield make
    for executor in made:
        executor.close()


@pytest.fixture
def batch(tmp_path: Path) -> MakeBatch:
    """Make a batch of planted cases for the backend that does nothing."""
    (tmp_path / "model.onnx").write_bytes(b"model")
    artifact = Artifact("float32", "onnx", (describe_file(tmp_path / "model.onnx"),), tmp_path)
    options = {"deploy": Options(), "parity": Options()}

    def make(*cases: Case, variant: str = "float32") -> Batch:
        return Batch("pi", "null", variant, "planted", artifact, options, {}, {}, cases)

    return make


def do(name: str, what: str = "", **more: object) -> Case:
    return Case(name, params={"do": what, **more})
