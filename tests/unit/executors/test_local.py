"""The local executor with real workers that crash, hang and send invalid data."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.core.artifact import Artifact, describe_file, sha256_file
from harness.core.job import Batch, Case, DataRef, EnvironmentRecord, JobResult, Started, Status
from harness.core.preprocess import Preprocess
from harness.device import process_end
from harness.testing.models import AFFINE
from tests.processes import processes, wait_until_gone
from tests.unit.executors.batches import OPTIONS, MakeBatch, do, results, run


def test_events_come_in_order(batch: MakeBatch, marker: str, tmp_path: Path) -> None:
    events = list(run(batch(do("a"), do("b")), tmp_path))
    kinds = [type(event) for event in events]
    assert kinds == [EnvironmentRecord, Started, JobResult, Started, JobResult, EnvironmentRecord]
    first = events[2]
    assert isinstance(first, JobResult)
    assert first.status is Status.OK
    np.testing.assert_array_equal(first.samples.arrays["x"], np.arange(5))
    assert first.samples.values["done"] is True
    assert first.duration_ns > 0
    assert first.host_ns > 0
    assert not processes(marker)


def test_each_fault_affects_only_its_own_job(batch: MakeBatch, marker: str, tmp_path: Path) -> None:
    by_name = results(
        batch(
            do("good 1"), do("s", "segfault"), do("good 2"), do("k", "killed"), do("e", "exit"),
            do("h", "hang", deadline_s=0.5), do("good 3"), do("r", "raise"), do("f", "refuse"),
            do("u", "unsupported"), do("j", "no json"), do("x", "system exit"), do("good 4"),
        ),
        tmp_path,
    )  # fmt: skip
    for name in ("good 1", "good 2", "good 3", "good 4"):
        assert by_name[name].status is Status.OK, by_name[name].reason
    says = {
        "s": ("was killed by SIGSEGV", "planted.py"),  # faulthandler names the line
        "k": ("was killed by SIGKILL (out of memory?)", "before k"),
        "e": ("ended with exit status 7", "before e"),
        "h": ("passed its deadline of 0.5 s", "before h"),
        "r": ("RuntimeError: planted fault (planted.py:",),
        "f": ("planted refusal", "fix it"),
        "j": ("not JSON serializable",),
        "x": ("ended with exit status 5",),
    }
    for name, texts in says.items():
        assert by_name[name].status is Status.ERROR, name
        for text in texts:
            assert text in by_name[name].reason, (name, by_name[name].reason)
    assert by_name["u"].status is Status.SKIPPED
    assert by_name["u"].reason == "the session cannot do this"
    # A worker continues after an exception; only a crash needs a new one.
    assert by_name["good 3"].samples.values["pid"] != by_name["good 2"].samples.values["pid"]
    assert not processes(marker)


@pytest.mark.parametrize(
    ("suite", "backend", "says"),
    [
        ("dies", "null", ("exit status 9", "dying")),
        ("absent", "null", ("the plug-in absent of fakes cannot be loaded", "No module named 'absent'")),
        ("nowhere", "null", ("unknown measure 'nowhere'",)),
        ("planted", "nul", ("unknown backend 'nul'; did you mean 'null'",)),
    ],
)
def test_a_worker_that_never_begins_fails_every_job_once(
    batch: MakeBatch, marker: str, tmp_path: Path, suite: str, backend: str, says: tuple[str, ...]
) -> None:
    by_name = results(batch(do("a"), do("b"), suite=suite, backend=backend), tmp_path)
    for result in by_name.values():
        assert result.status is Status.ERROR
        for text in says:
            assert text in result.reason


def test_a_changed_artifact_is_never_opened(batch: MakeBatch, marker: str, tmp_path: Path) -> None:
    made = batch(do("a"))
    made.artifact.path.write_bytes(b"mod3l")
    assert "was recorded" in results(made, tmp_path)["a"].reason


@pytest.mark.parametrize(
    ("inner", "says"),
    [
        ("segfault", "was killed by SIGSEGV"),
        ("killed", "was killed by SIGKILL"),
        ("raise", "RuntimeError: planted fault"),
        ("exit", "exit status 7"),
    ],
)
def test_a_spawned_process_that_dies(
    batch: MakeBatch, marker: str, tmp_path: Path, inner: str, says: str
) -> None:
    by_name = results(batch(do("outer", "spawn", inner=inner), do("good")), tmp_path)
    assert by_name["outer"].status is Status.ERROR
    assert says in by_name["outer"].reason
    assert by_name["good"].status is Status.OK
    assert not processes(marker)


def test_a_spawned_process_that_hangs_ends_with_its_worker(
    batch: MakeBatch, marker: str, tmp_path: Path
) -> None:
    by_name = results(batch(do("outer", "spawn", inner="hang", deadline_s=2.0), do("good")), tmp_path)
    assert "passed its deadline of 2 s" in by_name["outer"].reason
    assert by_name["good"].status is Status.OK
    assert not processes(marker)


def test_closing_the_events_leaves_no_process(batch: MakeBatch, marker: str, tmp_path: Path) -> None:
    events = run(batch(do("a", "spawn", inner="hang"), do("b")), tmp_path)
    for event in events:
        if isinstance(event, Started):
            break
    assert processes(marker)
    events.close()
    assert not processes(marker)


HOST = """
import json, sys
from pathlib import Path
from harness.core.artifact import Artifact
from harness.core.job import Batch
from harness.core.target import Target
from harness.executors.local import LocalExecutor

value, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
batch = Batch.from_json(value, Artifact.from_json(value["artifact"], folder))
list(LocalExecutor(Target("cpu", "", ("null",)), folder).run([batch]))
"""


def test_workers_end_when_their_host_is_killed(batch: MakeBatch, marker: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    made = batch(do("a", "spawn", inner="say and hang", fifo=str(tmp_path / "fifo")))
    host = subprocess.Popen([sys.executable, "-c", HOST, json.dumps(made.to_json()), str(tmp_path)])
    assert (tmp_path / "fifo").read_text() == "ready"
    alive = [pid for pid in processes(marker) if pid != host.pid]
    assert len(alive) == 2  # the worker, and the process that it spawned
    host.kill()
    host.wait()
    wait_until_gone(alive)


def test_exit_text_names_signals() -> None:
    assert process_end.exit_text(0) == "ended with exit status 0"
    assert process_end.exit_text(-signal.SIGKILL) == "was killed by SIGKILL (out of memory?)"
    assert process_end.exit_text(-64) == "was killed by SIGRTMAX"
    assert process_end.exit_text(-40) == "was killed by signal 40"


def test_a_worker_needs_only_numpy_and_one_runtime(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Accuracy on ONNX Runtime; every package that only the host has is blocked."""

    for name in ("pandas", "scipy", "pydantic", "onnx", "rich", "sklearn", "PIL", "flatbuffers", "psutil"):
        (tmp_path / "stubs" / name).mkdir(parents=True)
        (tmp_path / "stubs" / name / "__init__.py").write_text(f"raise ImportError('{name} is blocked')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "stubs"))
    (tmp_path / "affine.onnx").write_bytes(AFFINE.to_onnx().SerializeToString())
    model = Artifact("float32", "onnx", (describe_file(tmp_path / "affine.onnx"),), tmp_path)
    x = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "x.npy", x)
    digest = sha256_file(tmp_path / "x.npy")
    (tmp_path / "x.npy").rename(tmp_path / "data" / f"{digest}.npy")
    case = Case(
        "clean",
        data="clean",
        samples=10,
        params={"batch": 4, "keep": "outputs", "task": "regression", "reference": False},
    )
    made = Batch(
        "cpu", "onnxruntime", "float32", "accuracy", model, OPTIONS, {"x": Preprocess()},
        {"clean": DataRef({"x": digest}, 10, x.nbytes)}, (case,),
    )  # fmt: skip
    result = results(made, tmp_path)["clean"]
    assert result.status is Status.OK, result.reason
    np.testing.assert_allclose(result.samples.arrays["output:0"], AFFINE.oracle({"x": x}), rtol=1e-6)
    assert set(result.effective) == {"provider", "precision", "threads"}
