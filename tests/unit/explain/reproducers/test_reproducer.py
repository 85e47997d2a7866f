"""Reproducers: the part that shows a difference, run by its own script with numpy and one runtime."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from harness.core.errors import ModelError
from harness.core.job import Options
from harness.explain.reproducers import reproducer, scripts
from harness.explain.scene import Finding, State
from harness.explain.search.explanation import Explanation
from harness.explain.sides.side import Side
from tests.unit.explain import scenes
from tests.unit.explain.scenes import PARITY, Files, with_constant

LAYER = "conv5"


def changed(files: Files, backend: str, options: Options = PARITY) -> tuple[Side, Side]:
    """The same variant with other weights in one layer, on another runtime."""
    other = with_constant(files.float32, f"{LAYER}.w", lambda w: 1.5 * w)
    return files.side(files.float32), files.side(other, backend, options)


def kernels(files: Files, backend: str, options: Options) -> tuple[Side, Side]:
    """The same file on other kernels."""
    content = files.tflite()
    return files.side(content, "tflite"), files.side(content, backend, options)


LEVEL = {"graph_optimization_level": "ORT_DISABLE_ALL", "session.x64quantprecision": "1"}
SIDES: dict[str, Callable[[Files], tuple[Side, Side]]] = {
    "onnxruntime": lambda files: changed(files, "onnxruntime", replace(PARITY, extra=LEVEL)),
    "openvino": lambda files: changed(files, "openvino"),
    "tflite": lambda files: kernels(files, "tflite", replace(PARITY, provider="reference")),
    "tflm": lambda files: kernels(files, "tflm", PARITY),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return scenes.make(tmp_path_factory.mktemp("files"))


def made(files: Files, name: str, folder: Path) -> Path:
    """The folder of a reproducer of the layer."""
    scene = files.scene(*SIDES[name](files))
    layer = LAYER if name in ("onnxruntime", "openvino") else differing(scene)
    finding = Finding("planted", State.CONFIRMED, "", cause='a "planted" cause', layer=layer)
    explanation = Explanation(scene, causes=[finding])
    reproducer.attempt(explanation, folder, time.monotonic() + 600.0)
    assert explanation.reproducer == folder, scene.refused
    return folder


def differing(scene: object) -> str:
    """The layer that differs most by itself."""
    rows = [row for row in scene.table if row.isolated is not None]  # type: ignore[attr-defined]
    layer: str = max(rows, key=lambda row: row.isolated.relative).point.layer
    return layer


def run(python: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-P", "reproduce.py"], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "tflite" else pytest.mark.full) for name in SIDES]
)
def test_the_script_exits_with_1_where_the_difference_is_there(
    files: Files, name: str, tmp_path: Path
) -> None:
    folder = made(files, name, tmp_path / "reproducer")
    ended = run(sys.executable, folder)
    assert ended.returncode == 1, ended.stderr
    package = scripts.RUNTIMES[name].package
    first, second = ended.stdout.splitlines()
    assert package in first
    assert version(package).split("+")[0] in first
    assert second.endswith(f"when this was made with {package} of an unknown version")
    with np.load(folder / "tensors.npz") as tensors:
        stored = dict(tensors)
    assert first.split()[2] == second.split()[0]
    readme = (folder / "README.md").read_text()
    assert f"pip install numpy {package}" in readme
    np.savez(folder / "tensors.npz", **{**stored, "expected": stored["seen"]})
    assert run(sys.executable, folder).returncode == 0


@pytest.mark.full
@pytest.mark.parametrize("name", SIDES)
def test_the_script_runs_in_a_venv_with_that_runtime_alone(files: Files, name: str, tmp_path: Path) -> None:
    folder = made(files, name, tmp_path / "reproducer")
    package = scripts.RUNTIMES[name].package
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    wanted = ["numpy", f"{package}=={version(package)}"]
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
    installed = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert installed.returncode == 0, installed.stderr
    ended = run(python, folder)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "largest difference" in ended.stdout


def test_no_run_begins_after_the_time_is_used_up(files: Files, tmp_path: Path) -> None:
    scene = files.scene(*changed(files, "onnxruntime"))
    finding = Finding("planted", State.CONFIRMED, "", layer=LAYER)
    explanation = Explanation(scene, causes=[finding])
    reproducer.attempt(explanation, tmp_path / "reproducer", time.monotonic() - 1.0)
    assert scene.refused == {"reproducer": "the time is used up"}
    assert not (tmp_path / "reproducer").exists()


def test_there_is_no_script_for_a_backend_that_is_not_known(files: Files) -> None:
    with pytest.raises(ModelError, match="no script for the backend mine"):
        scripts.script(
            replace(files.side(files.float32), backend="mine"), "part.onnx", "t.npz", "cause", 1.0, "1.0"
        )
