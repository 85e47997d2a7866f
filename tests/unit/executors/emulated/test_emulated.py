"""The table of an emulated target, and which wheels it gets; the emulation itself is in tests/e2e."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from harness.config.targets import load_target
from harness.core.errors import ConfigurationError, TargetUnavailable
from harness.core.target import Target
from harness.executors.abilities import abilities_of
from harness.executors.emulated import executor, userland
from harness.executors.emulated.executor import EmulatedExecutor, requirements

PI = {"kind": "emulated", "arch": "aarch64", "cpu": "cortex-a72"}


def test_every_problem_at_once(tmp_path: Path) -> None:
    table = {"kind": "emulated", "arch": "arm64", "cpu": 72, "wheel": "x", "packages": [1]}
    with pytest.raises(ConfigurationError) as caught:
        EmulatedExecutor(Target("pi", "", ("tflite",), table), tmp_path)
    assert {problem.path for problem in caught.value.problems} == {
        "executor.arch", "executor.cpu", "executor.wheel", "executor.packages",
    }  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_wheels_are_those_of_the_host_unless_named() -> None:
    assert requirements(Target("pi", "", ("tflite",), PI)) == [
        f"numpy=={version('numpy')}", f"ai-edge-litert=={version('ai-edge-litert')}",
    ]  # fmt: skip
    named = {**PI, "requirements": ["tflite-runtime==2.14.0"]}
    assert requirements(Target("pi", "", ("tflite",), named)) == ["tflite-runtime==2.14.0"]


def test_an_older_cpu_of_this_family_takes_packages_of_a_venv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def venv(python: str, requirements: list[str], store: Path) -> Path:
        calls.append((python, requirements, store))
        return tmp_path / "own" / "python"

    monkeypatch.setattr(executor, "venv", venv)
    monkeypatch.setattr(executor, "emulator", lambda machine, store: Path("qemu"))
    monkeypatch.setattr(executor, "bundle", lambda store: Path("bundle"))
    table = {"kind": "emulated", "arch": "x86_64", "cpu": "Haswell"}
    connection = executor.EmulatedConnection(Target("old", "", ("onnxruntime",), table), tmp_path)
    assert connection.prepare().python == ["qemu", "-cpu", "Haswell", sys.executable]
    assert not calls
    named = {**table, "requirements": ["onnxruntime==1.23.2"]}
    connection = executor.EmulatedConnection(Target("old", "", ("onnxruntime",), named), tmp_path)
    assert connection.prepare().python == ["qemu", "-cpu", "Haswell", str(tmp_path / "own" / "python")]
    assert calls == [(sys.executable, ["onnxruntime==1.23.2"], tmp_path)]


@pytest.mark.parametrize(
    ("program", "message"), [("apt-get", "there is no apt-get"), ("dpkg", "there is no dpkg")]
)
def test_a_machine_without_debians_tools_names_the_alternatives(
    program: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in {"apt-get", "dpkg"} - {program}:
        (programs / name).write_text("#!/bin/sh\necho amd64\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr(userland, "KEYRING", Path(__file__))
    with pytest.raises(TargetUnavailable) as caught:
        userland.emulator("aarch64", tmp_path / "store")
    assert message in caught.value.cause
    assert "--host" in caught.value.next_step
    assert not list((tmp_path / "store").rglob("*.deb"))


def test_another_distribution_is_asked_for_a_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "apt-get").write_text("#!/bin/sh\n")
    (tmp_path / "dpkg").write_text("#!/bin/sh\necho amd64\n")
    for name in ("apt-get", "dpkg"):
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(userland.MIRROR, raising=False)
    monkeypatch.setattr(userland, "KEYRING", Path(__file__))
    with pytest.raises(TargetUnavailable) as caught:
        userland.emulator("aarch64", tmp_path / "store")
    assert userland.MIRROR in caught.value.next_step


def test_without_a_host_a_pi_is_emulated_under_another_name() -> None:
    assert load_target("raspberrypi").name == "raspberrypi4-emulated"
    assert abilities_of(load_target("raspberrypi")).emulated
    board = load_target("raspberrypi", ("pi@board",))
    assert (board.name, abilities_of(board).emulated) == ("raspberrypi", False)
    assert board.executor["hosts"] == ["pi@board"]
