"""Probes run in separate processes; a fault in one is a reason, never a crash of the host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.core.artifact import Artifact, describe_file
from harness.core.errors import WorkerError
from harness.device import probe
from harness.testing.fakes import register
from harness.testing.models import AFFINE

BACKENDS = """
import os, signal
from harness.core.contracts import Availability
class Absent:
    def probe(self): return Availability(reason="not here", install="get it")
class Ready:
    def probe(self):
        os.write(1, b"printed beneath Python"); print("printed")
        return Availability(
            "1.2", ("CPU", "GPU"), unusable={"NPU": ("no driver", "get it")}, device_memory=("GPU",)
        )
class Crashing:
    def probe(self): os.kill(os.getpid(), signal.SIGSEGV)
class Raises:
    def probe(self): raise RuntimeError("planted fault")
"""


@pytest.fixture(autouse=True)
def _backends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"absent": "Absent", "ready": "Ready", "crashing": "Crashing", "raises": "Raises", "gone": "Gone"}
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
