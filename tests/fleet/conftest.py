"""A fleet of three, and an executor that reaches it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.core.artifact import Artifact, describe_file
from harness.core.job import Batch, Case, Options
from harness.core.target import Target
from harness.executors.dask.executor import DaskExecutor
from tests.e2e.conftest import cache, forge, harness, model, tiny  # noqa: F401 - fixtures
from tests.fleet.cluster import DaskCluster, dask_cluster, why_not
from tests.site import planted_site

HERE = Path(__file__).parent
Reach = Callable[..., DaskExecutor]
MakeBatch = Callable[..., Batch]
#: Identifies the processes of these tests.
WORD = str(uuid.uuid4())


@pytest.fixture(scope="session", autouse=True)
def _can_be_made() -> None:
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed distribution with the planted measure, which no worker has."""
    return planted_site(tmp_path_factory.mktemp("site"), HERE / "planted.py", "planted_on_fleet")


@pytest.fixture(autouse=True)
def _planted(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(site))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """Three boards that the tests use one after the other; a test that kills one starts another."""
    with dask_cluster(tmp_path_factory.mktemp("dask") / "cluster", {"HARNESS_TEST": WORD}) as made:
        made.start("one", "two", "three")
        yield made


def target(cluster: DaskCluster, **more: object) -> Target:
    files = {name: str(path) for name, path in cluster.files.items()}
    table = {"kind": "dask", "scheduler": cluster.address, "resource": "board", **files, **more}
    return Target("pis", "", ("null",), table)


@pytest.fixture
def reach(cluster: DaskCluster, store: Path) -> Iterator[Reach]:
    """Make executors; close the connection to the cluster in the end."""
    made: list[DaskExecutor] = []

    def make(**more: object) -> DaskExecutor:
        made.append(DaskExecutor(target(cluster, **more), store))
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
        return Batch("pis", "null", variant, "planted", artifact, options, {}, {}, cases)

    return make


def do(name: str, what: str = "", **more: object) -> Case:
    return Case(name, params={"do": what, **more})
