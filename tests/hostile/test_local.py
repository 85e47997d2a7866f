"""Whatever a worker writes costs the rows of its own job. tests/board and tests/fleet have the same list."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core.artifact import Artifact, describe_file
from harness.core.job import Batch, JobResult, Options, Status
from harness.core.target import Target
from harness.executors.local import LocalExecutor
from harness.testing.fakes import register
from tests.hostile.batches import CHILD, cases, is_caught, is_good
from tests.hostile.planted import LIES
from tests.processes import processes

HERE = Path(__file__).parent
#: Sends a hundred megabytes, to the same end as others.
LEFT_OUT = ("large header",)
HONEST = {"zero size": Status.OK, "objects": Status.ERROR, "structures": Status.ERROR}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, JobResult]]:
    """Results by case of one batch that has every lie, and an honest job behind each."""
    folder = tmp_path_factory.mktemp("hostile")
    plugins = {
        "harness.measures": {"planted": "tests.hostile.planted:measure"},
        "harness.backends": {"null": "harness.testing.fakes:NullBackend"},
    }
    site = register(folder / "site", plugins)
    marker = str(uuid.uuid4())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(HERE.parent.parent)]))
        patch.setenv("HARNESS_TEST", marker)
        yield {result.key.case: result for result in run(folder)}
    assert not processes(marker), "a process of a worker lives on"


def run(folder: Path) -> list[JobResult]:
    (folder / "model.onnx").write_bytes(b"model")
    artifact = Artifact("float32", "onnx", (describe_file(folder / "model.onnx"),), folder)
    options = {"deploy": Options(), "parity": Options()}
    lies = [*(lie for lie in LIES if lie not in LEFT_OUT), *HONEST]
    batch = Batch("cpu", "null", "float32", "planted", artifact, options, {}, {}, cases(lies, 1.0))
    events = LocalExecutor(Target("cpu", "", ("null",)), folder).run([batch])
    ended = [event for event in events if isinstance(event, JobResult)]
    assert [result.key for result in ended] == [job.key for job in batch.jobs], "each job has one result"
    return ended


def test_a_child_that_stays_costs_nothing_here(results: dict[str, JobResult]) -> None:
    assert "ended with exit status 0" in results[CHILD].reason


@pytest.mark.parametrize("lie", [lie for lie in LIES if lie not in LEFT_OUT])
def test_a_lie_costs_its_own_job(results: dict[str, JobResult], lie: str) -> None:
    is_caught(results, lie)


@pytest.mark.parametrize("kind", HONEST)
def test_what_an_honest_measure_may_send(results: dict[str, JobResult], kind: str) -> None:
    assert results[kind].status is HONEST[kind]
    if HONEST[kind] is Status.OK:
        assert results[kind].samples.arrays["empty"].shape == (0, 3)
    else:
        assert "'y' has the dtype" in results[kind].reason
    is_good(results[f"after {kind}"])
