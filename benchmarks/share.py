"""Shares of ``harness validate`` outside jobs and outside calls of a runtime, and the time of ``--help``."""

from __future__ import annotations

import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from benchmarks.paired import Goal, heading, line
from harness.stats.intervals import over_processes
from harness.store.run_folder import RunFolder

RUNS, HELPS = 3, 10


def report() -> None:
    heading("harness validate with default options and a warm cache")
    # A warm start includes compiled Python; some machines are configured not to store it.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as folder:
        command = ["validate", "--results", folder]
        _run(command, environment)
        shares = np.array([_validate(command, environment, Path(folder)) for _ in range(RUNS)])
    line("share of the wall time outside all jobs", over_processes(shares[:, 0]), Goal(0.2))
    line("share of the wall time outside calls of a runtime", over_processes(shares[:, 1]))
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


def _validate(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> tuple[float, float]:
    """Shares of the wall time outside jobs, their processes' starts included, and outside runtime calls."""
    wall_s, cpu_s = _run(command, environment)
    results = RunFolder((folder / "latest").resolve()).facts().results.values()
    spans: list[tuple[float, float]] = []
    by_suite: dict[str, float] = {}
    called_s = 0.0
    for result in results:
        if not result.duration_ns:
            continue
        start_s = datetime.fromisoformat(result.started_utc).timestamp()
        spans.append((start_s, start_s + result.duration_ns / 1e9))
        by_suite[result.key.suite] = by_suite.get(result.key.suite, 0.0) + result.duration_ns / 1e9
        called_s += sum(
            float(array.sum()) / 1e9 for name, array in result.samples.arrays.items() if name.endswith("_ns")
        )
    jobs_s = _union_s(spans)
    parts = ", ".join(f"{suite} {seconds:.1f}" for suite, seconds in by_suite.items())
    print(
        f"  {wall_s:.1f} s wall, {cpu_s:.1f} s CPU, load {os.getloadavg()[0]:.1f}: {parts}, "
        f"jobs {jobs_s:.1f} s of the wall time, calls of a runtime {called_s:.1f} s",
        flush=True,
    )
    return 1 - jobs_s / wall_s, 1 - called_s / wall_s


def _union_s(spans: list[tuple[float, float]]) -> float:
    """Length of the union of intervals: jobs of several targets run at once."""
    total, end = 0.0, -math.inf
    for start, stop in sorted(spans):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
