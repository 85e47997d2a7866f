"""Plug-ins that cannot be imported: what does not need them runs, the rest is SKIPPED with the reason."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd

from harness.testing.fakes import register
from tests.e2e.shell import ACCURACY, MakeModel, Shell

GROUPS = ("backends", "suites", "measures", "executors", "passes", "sections")


def test_only_what_needs_a_broken_plug_in_is_missing(
    harness: Shell, model: MakeModel, tmp_path: Path
) -> None:
    entries = {f"harness.{group}": {"broken": "broken_plug_in:Thing"} for group in GROUPS}
    site = register(tmp_path / "site", entries, distribution="broken-plug-in")
    (site / "broken_plug_in.py").write_text("raise RuntimeError('boom')\n")
    (harness.folder / "targets").mkdir()
    target = 'description = "mine"\nbackends = ["broken"]\n[deploy]\nthreads = 1\n'
    (harness.folder / "targets" / "mine.toml").write_text(target)
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "harness.cli.main", *argv],
            cwd=harness.folder, env={**harness.env, "PYTHONPATH": path}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip

    alone = run("validate", "--model", str(model()), "--target", "cpu", *ACCURACY)
    assert alone.returncode == 0, alone.stderr
    both = run("validate", "--model", "model", "--target", "cpu,mine", *ACCURACY)
    assert both.returncode == 3, both.stderr
    assert "the plug-in broken of broken-plug-in cannot be loaded: boom" in both.stdout
    rows = pd.read_csv(harness.results / "latest" / "measurements.csv", keep_default_na=False)
    assert set(rows[rows.target == "cpu"].status) == {"OK"}
    assert set(rows[rows.target == "mine"].status) == {"SKIPPED"}
    report = run("report", "latest")
    assert report.returncode == 0, report.stderr
    assert "the plug-in broken of broken-plug-in cannot be loaded: boom" in report.stdout
