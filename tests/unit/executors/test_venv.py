"""Local targets with their own Python: the table, and the environment that is made."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.config.targets import load_target
from harness.core.errors import ConfigurationError, TargetUnavailable
from harness.core.target import Target
from harness.executors import venv
from harness.executors.local import LocalExecutor


def executor(tmp_path: Path, **table: object) -> LocalExecutor:
    return LocalExecutor(Target("own", "", ("onnxruntime",), {"kind": "local", **table}), tmp_path / "store")


def program(tmp_path: Path, text: str) -> str:
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_every_problem_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        executor(tmp_path, python=3, requirements="onnxruntime", hosts=["a"])
    assert {problem.path for problem in caught.value.problems} == {
        "executor.python", "executor.requirements", "executor.hosts",
    }  # fmt: skip


def test_another_python_finds_the_bundle(tmp_path: Path) -> None:
    availability = executor(tmp_path, python=sys.executable).probe(["onnxruntime"])
    assert availability["onnxruntime"].reason == ""
    assert (tmp_path / "store" / "bundles").is_dir()


@pytest.mark.parametrize(
    ("text", "says"),
    [("echo 3 9", "is 3.9; 3.11 or newer is required"), ("exit 1", "not a Python that starts")],
)
def test_a_python_that_cannot_be_used(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(TargetUnavailable, match=says):
        executor(tmp_path, python=program(tmp_path, text)).probe(["onnxruntime"])


def test_a_missing_python(tmp_path: Path) -> None:
    with pytest.raises(TargetUnavailable) as caught:
        executor(tmp_path, python=str(tmp_path / "absent")).probe(["onnxruntime"])
    assert caught.value.cause == "No such file or directory"


def test_a_failed_installation_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TargetUnavailable) as caught:
        executor(tmp_path, requirements=[str(tmp_path / "absent.whl")]).probe(["onnxruntime"])
    assert "absent.whl" in caught.value.cause
    assert not list((tmp_path / "store" / "venvs").iterdir())


def test_nothing_is_made_for_a_missing_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(venv, "DEVICES", tmp_path / "dev")
    cuda = load_target("cuda")
    with pytest.raises(TargetUnavailable, match="there is no NVIDIA GPU here"):
        LocalExecutor(cuda, tmp_path / "store").probe(["onnxruntime"])
    assert not (tmp_path / "store").exists()
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidiactl").touch()
    assert venv.missing_gpu(cuda)
    (tmp_path / "dev" / "nvidia0").touch()
    assert venv.missing_gpu(cuda) == ""
    assert venv.missing_gpu(load_target("cpu")) == ""


@pytest.mark.full
def test_an_older_runtime_in_its_own_venv(tmp_path: Path) -> None:
    other = executor(tmp_path, requirements=["onnxruntime==1.23.2"])
    assert other.probe(["onnxruntime"])["onnxruntime"].version == "1.23.2"
    made = list((tmp_path / "store" / "venvs").iterdir())
    again = executor(tmp_path, requirements=["onnxruntime==1.23.2"])
    assert again.probe(["onnxruntime"])["onnxruntime"].version == "1.23.2"
    assert list((tmp_path / "store" / "venvs").iterdir()) == made
