"""Places that cannot be written, and disks that are full: one message, and a run that can be resumed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.shell import ACCURACY, Shell, check


def test_results_that_cannot_be_written(harness: Shell, tiny: Path) -> None:
    (harness.folder / "file").write_text("")
    results = harness.folder / "file" / "results"
    ended = harness("validate", "--model", tiny, *ACCURACY, "--results", results)
    check(ended, 3, f"cannot write {results}", "Not a directory", "--results DIR")


def test_cache_that_cannot_be_written(harness: Shell, tiny: Path) -> None:
    (harness.folder / "file").write_text("")
    env = {"HARNESS_CACHE": str(harness.folder / "file" / "cache")}
    check(harness("validate", "--model", tiny, *ACCURACY, env=env), 3, "cannot write", "HARNESS_CACHE=DIR")
    assert not harness.results.exists()


# What is cut when: nothing of the data set fits; all but the last bytes of it; the run's own table.
@pytest.mark.parametrize("limit_byte", [2000, 8100, None])
def test_files_that_may_not_grow(harness: Shell, tiny: Path, limit_byte: int | None) -> None:
    cache = harness.folder / "cache"
    env = {"HARNESS_CACHE": str(cache)}
    selection = ACCURACY
    if limit_byte is None:
        selection = (*ACCURACY, "--target", "cpu,tflite")  # whose table is the largest file
        assert harness("validate", "--model", tiny, *selection, "--results", "whole").code == 0
        sizes = {path.name: path.stat().st_size for path in (harness.folder / "whole" / "latest").iterdir()}
        limit_byte = sizes["run.json"] + 1000  # which is written first
        assert limit_byte < sizes["measurements.csv"]
    ended = harness("validate", "--model", tiny, *selection, env=env, limit_byte=limit_byte)
    assert "Traceback" not in ended.err
    assert ended.code == 3, ended.err
    assert "larger than this account may write" in ended.err
    for file in (cache / "data").glob("*"):
        np.load(file, allow_pickle=False)
    if harness.results.exists():
        resumed = harness("validate", "--resume", "latest", env=env)
        assert resumed.code == 0, resumed.err
        assert "verdict: PASS (0)" in resumed.out


FULL_DISK = """
set -e
mount -t tmpfs -o size=$SIZE tmpfs results
code=0
"$PYTHON" -m harness.cli.main validate --model "$MODEL" \
  --suite accuracy --variant float32 2>first.err || code=$?
echo $code >first.code
mount -o remount,size=64m results
"$PYTHON" -m harness.cli.main validate --resume latest
"""


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="no user namespaces: a small file system cannot be mounted")
def test_full_disk(harness: Shell, tiny: Path) -> None:
    harness.results.mkdir()
    # Pages are counted: the run's own files fit, and some of what is measured does not.
    env = {**harness.env, "MODEL": str(tiny), "PYTHON": sys.executable, "SIZE": "64k"}
    run = subprocess.run(
        ["unshare", "-rm", "bash", "-c", FULL_DISK],
        cwd=harness.folder, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    first = (harness.folder / "first.err").read_text()
    assert (harness.folder / "first.code").read_text() == "3\n", first
    assert "Traceback" not in first
    assert "the disk is full" in first
    assert "--resume" in first
    assert run.returncode == 0, run.stderr
    assert "verdict: PASS (0)" in run.stdout
