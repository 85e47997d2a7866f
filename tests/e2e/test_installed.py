"""The wheel in an empty environment, started in a folder whose modules have the names of ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.core.artifact import Artifact, describe_file
from harness.core.job import Batch, Case, JobResult, Options, Status
from harness.device import worker
from harness.executors.connection import LocalConnection
from harness.executors.device import DeviceExecutor
from harness.testing.fakes import register
from tests.e2e.installed import NAMESAKES, Installed, build_wheel, install

PLANTED = Path(__file__).parents[1] / "unit" / "executors"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def board(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(wheel, tmp_path_factory.mktemp("board"))


@pytest.fixture(scope="module")
def host(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(wheel, tmp_path_factory.mktemp("host"), ["host"])


@pytest.fixture(scope="module")
def everything(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(wheel, tmp_path_factory.mktemp("all"), ["all"])


def test_the_modules_of_the_folder_are_found_by_a_python_without_p(board: Installed) -> None:
    """Otherwise the other tests could not fail."""
    for name in NAMESAKES:
        assert "imported from the working folder" in board.run("python", "-c", f"import {name}").stderr


def test_a_board_with_numpy_only_probes_and_measures(
    board: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = worker.command([board.python], "harness.device.probe", json.dumps({"probe": "onnxruntime"}))
    probed = json.loads(board.run("python", *command[1:]).stdout)
    assert "No module named 'onnxruntime'" in probed["reason"]

    site = register(
        tmp_path / "site",
        {
            "harness.measures": {"planted": "planted:measure"},
            "harness.backends": {"null": "harness.testing.fakes:NullBackend"},
        },
    )
    (site / "planted.py").write_bytes((PLANTED / "planted.py").read_bytes())
    (tmp_path / "model.onnx").write_bytes(b"model")
    artifact = Artifact("float32", "onnx", (describe_file(tmp_path / "model.onnx"),), tmp_path)
    cases = (Case("once", params={}), Case("fresh", params={"do": "spawn", "inner": ""}))
    options = {"deploy": Options(), "parity": Options()}
    batch = Batch("board", "null", "float32", "planted", artifact, options, {}, {}, cases)
    monkeypatch.chdir(board.folder)
    connection = LocalConnection(str(tmp_path), [board.python], {"PYTHONPATH": str(site)})
    results = [
        event for event in DeviceExecutor(connection, tmp_path).run([batch]) if isinstance(event, JobResult)
    ]
    assert [(result.status, result.reason) for result in results] == [(Status.OK, "")] * 2


def test_a_board_without_the_hosts_packages_says_how_to_install_them(board: Installed) -> None:
    done = board.run("harness", "validate")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "[host]" in done.stderr


def test_a_host_runs_the_default_target(host: Installed) -> None:
    done = host.run("harness", "doctor", "--target", "cpu")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "inferences ran" in done.stdout
    assert "nothing is wrong" in done.stdout


def test_with_all_packages_every_local_target_runs_and_pytest_finds_the_gates(everything: Installed) -> None:
    for target in ("openvino", "tflite"):
        done = everything.run("harness", "doctor", "--target", target)
        assert done.returncode == 0, done.stdout + done.stderr
    done = everything.run("harness", "validate", "--suite", "accuracy", "--variant", "float32")
    assert done.returncode == 0, done.stdout + done.stderr
    items = everything.run("pytest", "-q", "--pyargs", "suites", "--harness-run", "latest")
    assert items.returncode == 0, items.stdout + items.stderr
    assert " passed" in items.stdout
