"""Probes run in separate processes; a fault in one is a reason, never a crash of the host."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from harness.core.artifact import Artifact, describe_file
from harness.core.errors import WorkerError
from harness.device import probe
from harness.testing.fakes import register
from harness.testing.models import AFFINE
from tests.processes import wait_until_gone

BACKENDS = """
import os, signal
from harness.core.contracts import Availability
class Backend:
    name, formats = "planted", ("onnx",)
    def probe(self): ...
    def open(self, artifact, options): ...
class Absent(Backend):
    def probe(self): return Availability(reason="not here", install="get it")
class Ready(Backend):
    def probe(self):
        os.write(1, b"printed beneath Python"); print("printed")
        return Availability(
            "1.2", ("CPU", "GPU"), unusable={"NPU": ("no driver", "get it")}, device_memory=("GPU",)
        )
class Crashing(Backend):
    def probe(self): os.kill(os.getpid(), signal.SIGSEGV)
class Raises(Backend):
    def probe(self): raise RuntimeError("planted fault")
class Dying(Ready):
    def open(self, artifact, options): os.kill(os.getpid(), signal.SIGABRT)
class Refusing(Ready):
    def open(self, artifact, options): raise RuntimeError("no such operator")
"""


def ready(**more: object) -> dict[str, object]:
    """The answer of a backend that can run, with other fields."""
    whole = {"version": "1", "devices": [], "reason": "", "install": "", "unusable": {}, "device_memory": []}
    return {**whole, **more}


@pytest.fixture(autouse=True)
def _backends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"absent": "Absent", "ready": "Ready", "crashing": "Crashing", "raises": "Raises", "gone": "Gone"}
    names |= {"dying": "Dying", "refusing": "Refusing"}
    entries = {name: f"planted_backends:{kind}" for name, kind in names.items()}
    folder = register(tmp_path / "site", {"harness.backends": entries})
    (folder / "planted_backends.py").write_text(BACKENDS)
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_each_backend_has_its_own_answer() -> None:
    answers = probe.probe(["ready", "absent", "crashing", "raises", "gone", "unknown"])
    assert list(answers) == ["ready", "absent", "crashing", "raises", "gone", "unknown"]
    assert (
        answers["ready"].version,
        answers["ready"].devices,
        answers["ready"].reason,
    ) == (
        "1.2",
        ("CPU", "GPU"),
        "",
    )
    assert answers["ready"].unusable == {"NPU": ("no driver", "get it")}
    assert answers["ready"].device_memory == ("GPU",)
    assert (answers["absent"].reason, answers["absent"].install) == (
        "not here",
        "get it",
    )
    assert "SIGSEGV" in answers["crashing"].reason
    assert "planted fault" in answers["raises"].reason
    assert "the plug-in gone of fakes cannot be loaded" in answers["gone"].reason
    assert "unknown backend 'unknown'" in answers["unknown"].reason
    assert all("\n" not in availability.reason for availability in answers.values())


def test_a_probe_that_hangs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(probe, "TIMEOUT_S", 0.05)
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nexec sleep 600\n")
    script.chmod(0o755)
    assert (
        "did not answer within 0.05 s"
        in probe.probe(["ready"], lambda *rest: [str(script), *rest])["ready"].reason
    )


def test_inspect(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(AFFINE.to_onnx().SerializeToString())
    artifact = Artifact("float32", "onnx", (describe_file(tmp_path / "m.onnx"),), tmp_path)
    inputs, outputs = probe.inspect("onnxruntime", artifact)
    assert [(spec.name, spec.shape, spec.dtype) for spec in inputs] == [("x", (None, 4), "float32")]
    assert [(spec.name, spec.shape, spec.dtype) for spec in outputs] == [("y", (None, 3), "float32")]
    (tmp_path / "m.onnx").write_bytes(os.urandom(100))
    with pytest.raises(WorkerError, match=r"cannot open m\.onnx"):
        probe.inspect("onnxruntime", artifact)


def affine(folder: Path) -> Artifact:
    (folder / "m.onnx").write_bytes(AFFINE.to_onnx().SerializeToString())
    return Artifact("float32", "onnx", (describe_file(folder / "m.onnx"),), folder)


@pytest.mark.parametrize("rows", [None, 1, 3])
def test_a_file_that_runs_is_proven(tmp_path: Path, rows: int | None) -> None:
    feeds = None
    if rows is not None:
        feeds = tmp_path / "sample.npz"
        np.savez(feeds, np.array(["x"]), np.ones((rows, 4), np.float32))
    proof = probe.prove("onnxruntime", affine(tmp_path), feeds)
    assert proof is not None
    assert (proof.reason, proof.died) == ("", False)
    assert proof.effective["provider"] == "CPUExecutionProvider"


def test_a_sample_that_does_not_fit_is_no_death(tmp_path: Path) -> None:
    np.savez(tmp_path / "sample.npz", np.array(["x"]), np.ones((1, 5), np.float32))
    proof = probe.prove("onnxruntime", affine(tmp_path), tmp_path / "sample.npz")
    assert proof is not None
    assert proof.reason
    assert not proof.died


@pytest.mark.parametrize(
    ("backend", "died", "words"), [("dying", True, "SIGABRT"), ("refusing", False, "no such operator")]
)
def test_a_runtime_that_dies_and_one_that_refuses(
    tmp_path: Path, backend: str, died: bool, words: str
) -> None:
    proof = probe.prove(backend, affine(tmp_path))
    assert proof is not None
    assert proof.died is died
    assert words in proof.reason


def test_a_runtime_that_is_not_installed_proves_nothing(tmp_path: Path) -> None:
    assert probe.prove("absent", affine(tmp_path)) is None


def test_a_proof_that_takes_too_long_is_no_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "TIMEOUT_S", 0.05)
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nexec sleep 600\n")
    script.chmod(0o755)
    monkeypatch.setattr(probe, "_local_command", lambda *rest: [str(script), *rest])
    proof = probe.prove("ready", affine(tmp_path))
    assert proof is not None
    assert "did not answer" in proof.reason
    assert not proof.died


def test_a_process_that_a_probe_leaves_behind_costs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "left"
    backend = f"""
import subprocess, sys
from planted_backends import Ready
class Leaving(Ready):
    def probe(self):
        code = "import threading; threading.Event().wait()"
        left = subprocess.Popen([sys.executable, "-c", code])
        open({str(marker)!r}, "w").write(str(left.pid))
        return super().probe()
"""
    (tmp_path / "site" / "leaving.py").write_text(backend)
    register(tmp_path / "site", {"harness.backends": {"leaving": "leaving:Leaving"}}, distribution="leaving")
    assert probe.probe(["leaving"])["leaving"].version == "1.2"
    wait_until_gone([int(marker.read_text())])


@pytest.mark.parametrize(
    "answer",
    [
        [], None, "x", {}, {"version": 5}, ready(version=None), ready(devices=[5]),
        ready(reason="x" * 20_000), ready(unusable={"NPU": ["one"]}), ready(unusable=[]),
        ready(device_memory=None), ready(version="1" * 10**5),
    ],
)  # fmt: skip
def test_an_answer_that_is_none(answer: object) -> None:
    with pytest.raises(WorkerError, match="which is no answer"):
        probe.availability(answer)


def test_text_of_a_probe_can_be_stored() -> None:
    assert probe.availability(ready(reason="\udc80")).reason == "\\udc80"


@pytest.mark.parametrize("printed", ["[]", "5", "{", "[" * 100_000, '{"error": 5}', '{"inputs": 5}', "{}",
                                     '{"inputs": [{"name": 5}], "outputs": []}'])  # fmt: skip
def test_a_program_that_answers_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str
) -> None:
    (tmp_path / "answer").write_text(printed)
    monkeypatch.setattr(probe, "_local_command", lambda *_: ["cat", str(tmp_path / "answer")])
    with pytest.raises(WorkerError):
        probe.inspect("ready", affine(tmp_path))
