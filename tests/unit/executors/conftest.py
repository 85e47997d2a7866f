"""Workers that run a planted measure on a backend that does nothing."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from harness.core.artifact import Artifact, describe_file
from harness.core.job import Batch, Case
from harness.testing.fakes import register
from tests.unit.executors.batches import OPTIONS, MakeBatch

HERE = Path(__file__).parent


@pytest.fixture
def marker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The environment of workers: the planted measure, and a word that identifies their processes."""
    plugins = register(
        tmp_path / "site",
        {
            "harness.measures": {
                "planted": "planted:measure", "dies": "dies_at_import:measure", "absent": "absent:measure",
            },
            "harness.backends": {"null": "harness.testing.fakes:NullBackend"},
        },
    )  # fmt: skip
    (plugins / "dies_at_import.py").write_text(
        "import os, sys\nprint('dying', file=sys.stderr, flush=True)\nos._exit(9)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(plugins), str(HERE)]))
    word = str(uuid.uuid4())
    monkeypatch.setenv("HARNESS_TEST", word)
    return word


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    (tmp_path / "model.onnx").write_bytes(b"model")
    return Artifact("float32", "onnx", (describe_file(tmp_path / "model.onnx"),), tmp_path)


@pytest.fixture
def batch(artifact: Artifact) -> MakeBatch:
    def make(*cases: Case, suite: str = "planted", backend: str = "null") -> Batch:
        return Batch("cpu", backend, "float32", suite, artifact, OPTIONS, {}, {}, cases)

    return make
