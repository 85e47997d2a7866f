"""Plug-ins that cannot be imported: what does not need them runs, the rest is SKIPPED with the reason."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from harness.testing.fakes import register
from tests.e2e.shell import ACCURACY, Ended, MakeModel, Shell

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

    def run(*argv: str) -> Ended:
        return harness(*argv, env={"PYTHONPATH": path})

    alone = run("validate", "--model", str(model()), "--target", "cpu", *ACCURACY)
    assert alone.code == 0, alone.err
    both = run("validate", "--model", "model", "--target", "cpu,mine", *ACCURACY)
    assert both.code == 3, both.err
    assert "the plug-in broken of broken-plug-in cannot be loaded: boom" in both.out
    rows = pd.read_csv(harness.results / "latest" / "measurements.csv", keep_default_na=False)
    assert set(rows[rows.target == "cpu"].status) == {"OK"}
    assert set(rows[rows.target == "mine"].status) == {"SKIPPED"}
    report = run("report", "latest")
    assert report.code == 0, report.err
    assert "the plug-in broken of broken-plug-in cannot be loaded: boom" in report.out
