"""A soak whose harness or worker is killed at any moment is one continuous series after --resume."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.core.job import Samples, Status
from harness.store.run_folder import RunFolder
from tests.e2e.shell import Shell
from tests.processes import processes, wait_until_gone

SECONDS, SLICE_S = 10.0, 0.25
SOAK = ("--suite", "reliability", "--variant", "float32", "--profile", "soak", "--duration", f"{SECONDS:g}s")
#: A part is stored before its line is printed.
PART = b'"event": "trends"'
Kill = Callable[[subprocess.Popen[bytes], str], None]


def soak_of(run: Path) -> tuple[Samples, Status | None]:
    """What is stored of the soak, and how it ended."""
    facts = RunFolder(run).facts()
    assert not facts.damaged
    (key,) = [job.key for batch in facts.plan.batches for job in batch.jobs if job.case.in_parts]
    result, parts = facts.results.get(key), facts.parts.get(key)
    if result is None:
        return parts or Samples(), None
    return result.samples, result.status


def slices_of(samples: Samples) -> pd.DataFrame:
    return pd.DataFrame(samples.arrays["slices"], columns=samples.values["columns"])


def kill_harness(process: subprocess.Popen[bytes], marker: str) -> None:
    process.kill()


def kill_worker(process: subprocess.Popen[bytes], marker: str) -> None:
    for pid in processes(marker):
        with contextlib.suppress(OSError, ProcessLookupError):
            if b"harness.device.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)


def interrupt(harness: Shell, tiny: Path, kill: Kill, parts: int) -> int:
    """Begin a soak, kill when so many parts are stored, and return the exit code."""
    marker = str(uuid.uuid4())
    with subprocess.Popen(
        [sys.executable, "-m", "harness.cli.main", "validate", "--model", str(tiny), *SOAK, "--json-lines"],
        cwd=harness.folder, env={**harness.env, "HARNESS_TEST": marker}, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        printed = (line for line in process.stdout if PART in line)
        for _ in range(parts):
            next(printed)
        kill(process, marker)
    wait_until_gone(processes(marker))
    return process.returncode


@pytest.mark.parametrize(
    ("kill", "seed"),
    [
        (kill_worker, 0),
        *(
            pytest.param(kill, seed, marks=pytest.mark.full)
            for kill in (kill_harness, kill_worker)
            for seed in range(1, 6)
        ),
    ],
)
def test_a_soak_that_was_killed_goes_on_as_one_series(
    harness: Shell, tiny: Path, kill: Kill, seed: int
) -> None:
    parts = random.Random(seed).randrange(2, 20)  # noqa: S311 - no secret
    code = interrupt(harness, tiny, kill, parts)
    assert code == (-signal.SIGKILL if kill is kill_harness else 3)
    run = harness.run()
    before, status = soak_of(run)
    assert status is (None if kill is kill_harness else Status.ERROR)
    stored = slices_of(before)
    assert len(stored) >= parts, "what was stored is lost"
    ended = harness("validate", "--resume", "latest")
    if kill is kill_harness:
        assert "verdict: NOT_RUN (3)" in ended.out, ended.out  # no gate: only checks, which passed
        assert "FAIL" not in ended.out
    else:
        assert ended.code == 1, ended.out + ended.err
        assert "soak-no-crash" in ended.out
    samples, status = soak_of(run)
    assert status is Status.OK
    whole = slices_of(samples)
    pd.testing.assert_frame_equal(whole.iloc[: len(stored)], stored)
    assert whole["process"].nunique() == 2
    assert whole["elapsed_ns"].sum() / 1e9 == pytest.approx(SECONDS, abs=3 * SLICE_S)
    for _, process in whole.groupby("process"):
        assert process["uptime_ns"].is_monotonic_increasing
        assert process["uptime_ns"].iloc[0] < 20 * SLICE_S * 1e9, "uptime is that of the process"
    table = pd.read_csv(run / "measurements.csv")
    rows = table[table["case"] == "soak"].set_index("metric")
    assert "in 2 processes, with gaps of" in rows.loc["soak_time", "reason"]
    assert np.isfinite(rows.loc["soak_memory_trend", ["value", "ci_low", "ci_high"]].astype(float)).all()
