"""Share of ``harness validate`` that is not measurement, and the time of ``--help``."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.paired import Goal, heading, line
from harness.stats.intervals import over_processes

RUNS, HELPS = 3, 10


def report() -> None:
    heading("harness validate with default options and a warm cache")
    # A warm start includes compiled Python; some machines are configured not to store it.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as folder:
        command = ["validate", "--results", folder]
        _run(command, environment)
        shares = [_validate(command, environment, Path(folder)) for _ in range(RUNS)]
    line("share of the wall time outside measurement", over_processes(np.array(shares)), Goal(0.2))
    helps = [_run(["validate", "--help"], environment)[0] for _ in range(HELPS)]
    line("harness validate --help, seconds", over_processes(np.array(helps)), Goal(0.4))


def _run(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float]:
    """Seconds of wall and of CPU time, children included."""
    before, start = _children_s(), time.monotonic()
    command = [sys.executable, "-m", "harness.cli.main", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1, 4):  # the verdict is not what is measured here
        sys.exit(f"harness {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    return time.monotonic() - start, _children_s() - before


def _validate(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> float:
    wall_s, cpu_s = _run(command, environment)
    measured_s: dict[str, float] = {}
    for text in (folder / "latest" / "journal.jsonl").read_text().splitlines():
        body = json.loads(text)["body"]
        if body["type"] == "result":
            suite = str(body["key"][4])
            measured_s[suite] = measured_s.get(suite, 0.0) + body["duration_ns"] / 1e9
    outside_s = wall_s - sum(measured_s.values())
    parts = ", ".join(f"{suite} {seconds:.1f}" for suite, seconds in measured_s.items())
    print(
        f"  {wall_s:.1f} s wall, {cpu_s:.1f} s CPU, load {os.getloadavg()[0]:.1f}: "
        f"{parts}, outside {outside_s:.1f} s = {outside_s / wall_s:.1%}",
        flush=True,
    )
    return outside_s / wall_s


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
