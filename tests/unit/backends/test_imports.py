"""A backend module costs nothing to import, and says why its runtime cannot be used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BACKENDS = {
    "backends.onnxruntime_:OnnxRuntimeBackend": ("onnxruntime", "onnxruntime"),
    "backends.openvino_:OpenVinoBackend": ("openvino", "openvino"),
    "backends.tflite_:TfliteBackend": ("ai_edge_litert", "tflite"),
    "backends.tflm_:TflmBackend": ("tflite_micro", "tflm"),
}

SCRIPT = """
import importlib, json, sys
module, _, name = sys.argv[1].partition(":")
backend = getattr(importlib.import_module(module), name)()
runtimes = {"onnxruntime", "openvino", "ai_edge_litert", "tflite_runtime", "tflite_micro", "onnx"}
heavy = sorted(runtimes & sys.modules.keys())
found = backend.probe()
print(json.dumps([heavy, found.version, found.reason, found.install]))
"""


def _probe(reference: str, folder: Path) -> list[str]:
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, reference],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=True,
    )
    result: list[str] = json.loads(run.stdout)
    return result


@pytest.mark.parametrize("reference", BACKENDS)
def test_runtime_is_imported_only_where_it_is_needed(reference: str, tmp_path: Path) -> None:
    heavy, version, reason, _ = _probe(reference, tmp_path)
    assert heavy == []
    assert version
    assert reason == ""


@pytest.mark.parametrize(
    "error", ["ImportError('libfoo.so.1: cannot open')", "RuntimeError('libfoo.so.1 broke')"]
)
@pytest.mark.parametrize("reference", BACKENDS)
def test_runtime_that_cannot_be_imported_is_unavailable(reference: str, error: str, tmp_path: Path) -> None:
    package, extra = BACKENDS[reference]
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(f"raise {error}\n")
    _, version, reason, install = _probe(reference, tmp_path)
    assert version == ""
    assert "libfoo.so.1" in reason
    assert " install " in install
    assert f"[{extra}]" in install


@pytest.mark.parametrize("reference", BACKENDS)
def test_runtime_without_its_names_is_unavailable(reference: str, tmp_path: Path) -> None:
    # What is left where one of two wheels that share a folder was uninstalled.
    package, _ = BACKENDS[reference]
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("")
    _, version, reason, _ = _probe(reference, tmp_path)
    assert version == ""
    assert reason
