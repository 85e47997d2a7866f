"""The example of docs/adding-a-backend.md: tract, as a distribution of its own, passes the kit and agrees."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from harness.testing.models import write_artifact
from tests.unit.explain import scenes

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "tract"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which pip installed it, from a copy: building leaves files behind."""
    folder, source = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("source")
    for path in EXAMPLE.glob("*.*"):
        (source / path.name).write_bytes(path.read_bytes())
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder))
    run = _python(source, "-m", "pip", "install", *options, str(source))
    assert run.returncode == 0, run.stderr
    return folder


def _python(folder: Path, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    if path is not None:
        environment["PYTHONPATH"] = os.pathsep.join([str(path), environment.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=folder, check=False
    )


def test_the_example_passes_the_kit(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "kit.py").write_bytes((EXAMPLE / "test_tract_backend.py").read_bytes())
    kit = ("-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "kit.py")
    run = _python(tmp_path, *kit, path=installed)
    assert run.returncode == 0, run.stdout
    assert " passed" in run.stdout
    assert "xfailed" not in run.stdout
    skipped = [line for line in run.stdout.splitlines() if line.startswith("SKIPPED")]
    assert all(line.endswith(("has no bind", "has no bind_device", "has no profile")) for line in skipped)


def test_answers_are_those_of_the_runtime_but_for_rounding(installed: Path, tmp_path: Path) -> None:
    """The small int8 model of the explain tests, on tract and on ONNX Runtime: at most one step apart."""
    small = scenes.make(tmp_path).int8
    artifact = write_artifact(small.SerializeToString(), tmp_path, "small.onnx")
    x = (scenes.images().transpose(0, 3, 1, 2).astype(np.float32) - 120) / 64
    np.save(tmp_path / "x.npy", x)
    script = (
        "import sys, numpy as np\nfrom pathlib import Path\nfrom tract_backend import TractBackend\n"
        "from harness.core.job import Options\nfrom harness.testing.models import write_artifact\n"
        "folder = Path(sys.argv[1])\n"
        "artifact = write_artifact((folder / 'small.onnx').read_bytes(), folder, 'small.onnx')\n"
        "with TractBackend().open(artifact, Options()) as session:\n"
        "    np.save(folder / 'y.npy', session.run({'x': np.load(folder / 'x.npy')})['scores'])\n"
    )
    run = _python(tmp_path, "-c", script, str(tmp_path), path=installed)
    assert run.returncode == 0, run.stderr
    expected = onnxruntime.InferenceSession(str(artifact.path)).run(["scores"], {"x": x})[0]
    node = next(node for node in small.graph.node if "scores" in node.output)
    step = float(scenes.constant(small, node.input[1]))
    gap = np.abs(np.load(tmp_path / "y.npy") - expected)
    assert gap.max() <= 1.001 * step
    assert (gap.max(axis=1) == 0).mean() > 0.8
