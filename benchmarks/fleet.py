"""Throughput of eight boards of a fleet against one, on jobs that sleep."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.paired import Goal, heading, line
from harness.core.artifact import Artifact, describe_file
from harness.core.job import Batch, Case, JobResult, Options, Status
from harness.core.target import Target
from harness.executors.dask.executor import DaskExecutor
from harness.stats.intervals import over_processes
from harness.testing.fakes import register
from tests.fleet import planted
from tests.fleet.cluster import DaskCluster, dask_cluster, why_not

BOARDS, BATCHES, JOBS, SECONDS, ROUNDS = 8, 16, 4, 1.0, 3


def report() -> None:
    heading(f"{BATCHES} batches of {JOBS} jobs that sleep {SECONDS:g} s, on {BOARDS} boards and on one")
    if reason := why_not():
        print(f"  not measured: {reason}")
        return
    with tempfile.TemporaryDirectory() as name, dask_cluster(Path(name) / "dask") as cluster:
        folder = Path(name)
        _plant(folder / "site")
        # Eight boards share one resource; one board has a resource of its own.
        cluster.start(*(f"board-{i}" for i in range(BOARDS)))
        cluster.start("alone", resource="one")
        executors = {
            name: DaskExecutor(_target(cluster, name), folder / "store") for name in ("board", "one")
        }
        try:
            start = time.monotonic()
            for executor in executors.values():
                executor.probe(["null"])
            print(f"  {BOARDS + 1} boards made ready and compared in {time.monotonic() - start:.1f} s")
            batches = _batches(folder)
            rates: dict[str, list[float]] = {name: [] for name in executors}
            for _ in range(ROUNDS):
                rates["board"].append(BATCHES / _seconds(executors["board"], batches))
                rates["one"].append(2 / _seconds(executors["one"], batches[:2]))
        finally:
            for executor in executors.values():
                executor.close()
    line("one board: batches a minute", over_processes(60 * np.array(rates["one"])))
    line(f"{BOARDS} boards: batches a minute", over_processes(60 * np.array(rates["board"])))
    line("throughput, ratio", over_processes(np.divide(rates["board"], rates["one"])), Goal(6.0, least=True))


def _seconds(executor: DaskExecutor, batches: list[Batch]) -> float:
    start = time.monotonic()
    results = [event for event in executor.run(batches) if isinstance(event, JobResult)]
    took = time.monotonic() - start
    if bad := [result.reason for result in results if result.status is not Status.OK]:
        sys.exit(f"{len(bad)} jobs failed: {bad[0]}")
    return took


def _target(cluster: DaskCluster, resource: str) -> Target:
    files = {key: str(path) for key, path in cluster.files.items()}
    table = {"kind": "dask", "scheduler": cluster.address, "resource": resource, **files}
    return Target("fleet", "", ("null",), table)


def _plant(site: Path) -> None:
    """Install the sleeping measure as a distribution, so that it is shipped to the boards."""
    register(
        site,
        {
            "harness.measures": {"planted": "planted_on_fleet:measure"},
            "harness.backends": {"null": "harness.testing.fakes:NullBackend"},
        },
        distribution="planted",
    )
    shutil.copy(planted.__file__, site / "planted_on_fleet.py")
    files = (
        "planted_on_fleet.py",
        "planted-1.0.dist-info/METADATA",
        "planted-1.0.dist-info/entry_points.txt",
    )
    (site / "planted-1.0.dist-info" / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    sys.path.insert(0, str(site))


def _batches(folder: Path) -> list[Batch]:
    (folder / "model.onnx").write_bytes(b"model")
    artifact = Artifact("float32", "onnx", (describe_file(folder / "model.onnx"),), folder)
    options = {"deploy": Options(), "parity": Options()}
    cases = tuple(Case(f"sleep{i}", params={"do": "sleep", "seconds": SECONDS}) for i in range(JOBS))
    return [
        Batch("fleet", "null", f"v{i}", "planted", artifact, options, {}, {}, cases) for i in range(BATCHES)
    ]
