"""The planted faults strike, and only when they should."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.core.job import Options
from harness.testing import fakes
from harness.testing.models import AFFINE, write_artifact

SCRIPT = """
import sys
from pathlib import Path
from harness.core.job import Options
from harness.testing import fakes
from harness.testing.models import AFFINE, write_artifact
artifact = write_artifact(AFFINE.to_onnx().SerializeToString(), Path(sys.argv[2]), "model.onnx")
session = getattr(fakes, sys.argv[1])().open(artifact, Options(extra={"after": "2"}))
for count in range(4):
    session.run(AFFINE.feeds(1))
    print(count, flush=True)
"""


@pytest.mark.parametrize(
    ("name", "code"),
    [("SegfaultBackend", -signal.SIGSEGV), ("KilledBackend", -signal.SIGKILL), ("RaisingBackend", 1)],
)
def test_crash_comes_after_the_good_runs(name: str, code: int, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, name, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert run.stdout.split() == ["0", "1"]
    assert run.returncode == code


def test_hang_comes_after_the_good_runs(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "HangingBackend", str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert [child.stdout.readline(), child.stdout.readline()] == ["0\n", "1\n"]
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.2)
        child.kill()


def test_wrong_numbers_are_wrong_by_a_thousandth(tmp_path: Path) -> None:
    artifact = write_artifact(AFFINE.to_onnx().SerializeToString(), tmp_path, "model.onnx")
    feeds = AFFINE.feeds(2)
    session = fakes.WrongNumbersBackend().open(artifact, Options(extra={"after": "1"}))
    np.testing.assert_allclose(session.run(feeds)["y"], AFFINE.oracle(feeds), atol=1e-6)
    np.testing.assert_allclose(session.run(feeds)["y"], AFFINE.oracle(feeds) + 1e-3, atol=1e-6)


def test_falling_back_says_so_only_in_effective(tmp_path: Path) -> None:
    artifact = write_artifact(AFFINE.to_onnx().SerializeToString(), tmp_path, "model.onnx")
    session = fakes.FallingBackBackend().open(artifact, Options(provider="CUDAExecutionProvider"))
    assert session.effective["provider"] == fakes.PROVIDER


def test_null_backend_returns_the_same_object(tmp_path: Path) -> None:
    artifact = write_artifact(b"", tmp_path, "model.onnx")
    session = fakes.NullBackend().open(artifact, Options())
    feeds = {"x": np.zeros((1, 4), np.float32)}
    assert session.run(feeds)["y"] is session.run(feeds)["y"]
