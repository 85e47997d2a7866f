"""The executor of docs/adding-an-executor.md takes hosts, waits for a lock and is emulated."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from harness.testing.fakes import register
from tests.e2e.shell import MakeModel, Shell

PAGE = (Path(__file__).parents[2] / "docs" / "adding-an-executor.md").read_text()
RECORDING = """
class RecordingExecutor(BenchExecutor):
    def __init__(self, target, store):
        import json, os
        Path(os.environ["BENCH_TABLE"]).write_text(json.dumps(dict(target.executor)))
        super().__init__(target, store)
"""
TARGET = """\
description = "a bench"
backends = ["onnxruntime"]
without_host = "cpu"
[executor]
kind = "bench"
simulated = true
"""
GATE = """
[[gate]]
name = "latency"
suite = "performance"
metric = "latency_p50"
variant = "float32"
max = "1 s"
"""


@pytest.fixture
def command(harness: Shell, tmp_path: Path) -> list[str]:
    """Environment assignments and the start of a command, with the executor installed."""
    site = register(
        tmp_path / "site",
        {"harness.executors": {"bench": "bench_executor:RecordingExecutor"}},
        distribution="bench-executor",
    )
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (site / "bench_executor.py").write_text(code + RECORDING)
    (harness.folder / "targets").mkdir()
    (harness.folder / "targets" / "bench.toml").write_text(TARGET)
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))
    return ["env", f"PYTHONPATH={path}", f"BENCH_TABLE={tmp_path / 'table.json'}",
            sys.executable, "-P", "-m", "harness.cli.main"]  # fmt: skip


def run(command: list[str], harness: Shell, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *arguments],
        cwd=harness.folder,
        env=harness.env,
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_takes_hosts_waits_and_is_emulated(
    command: list[str], harness: Shell, model: MakeModel, tmp_path: Path
) -> None:
    done = run(
        command, harness, "validate", "--target", "bench", "--host", "me@bench", "--wait", "5m",
        "--model", str(model(added=GATE)), "--variant", "float32", "--suite", "performance,accuracy",
        "--json",
    )  # fmt: skip
    table = json.loads((tmp_path / "table.json").read_text())
    assert table["hosts"] == ["me@bench"]
    assert table["wait_s"] == 300
    verdicts = {verdict["gate"]: verdict["state"] for verdict in json.loads(done.stdout)["verdicts"]}
    assert verdicts["latency"] == "NOT_APPLICABLE", done.stdout
    assert verdicts["accuracy"] == "PASS"
    rows = pd.read_csv(harness.run() / "measurements.csv", keep_default_na=False)
    latency = rows[(rows.target == "bench") & (rows.metric == "latency_p50")]
    assert set(latency.status) == {"INVALID"}
    assert all("emulated clock" in reason for reason in latency.reason)


def test_without_a_host_its_substitute_runs_and_targets_lists_it(command: list[str], harness: Shell) -> None:
    listed = run(command, harness, "targets").stdout
    (line,) = [line for line in listed.splitlines() if line.startswith("bench ")]
    assert "no host" in line or "emulated" in line
    refused = run(command, harness, "validate", "--target", "cpu", "--host", "me@bench")
    assert refused.returncode == 2
    assert "no target uses the host me@bench" in refused.stderr
