"""Extra cost of a batch over ssh to the loopback address, against a child of this process."""

from __future__ import annotations

import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.paired import Goal, heading, line
from harness.core.artifact import Artifact, describe_file
from harness.core.executor import Executor
from harness.core.job import Batch, Case, DataRef, JobResult, Options, Status
from harness.core.preprocess import Preprocess
from harness.core.target import Target
from harness.executors.local import LocalExecutor
from harness.executors.ssh.executor import SshExecutor
from harness.stats.intervals import over_processes
from harness.store.cache import Cache
from harness.testing.models import AFFINE
from tests.board.board import board, why_not

ROUNDS = 8


def report() -> None:
    heading("A batch of one case over ssh, with all of its files on the board")
    if reason := why_not():
        print(f"  not measured: {reason}")
        return
    with tempfile.TemporaryDirectory() as name, board(Path(name) / "board") as made:
        store = Path(name) / "store"
        wheels = [f"{package}=={version(package)}" for package in ("numpy", "onnxruntime")]
        table = {
            "kind": "ssh", "hosts": [made.name], "ssh_config": str(made.config), "requirements": wheels,
        }  # fmt: skip
        far = SshExecutor(Target("board", "", ("onnxruntime",), table), store)
        near = LocalExecutor(Target("cpu", "", ("onnxruntime",)), store)
        try:
            contacts = []
            for _ in range(2):
                start = time.monotonic()
                far.probe(["onnxruntime"])
                contacts.append(time.monotonic() - start)
            first, second = contacts
            print(f"  first contact {first:.1f} s (wheels fetched, packed, shipped), second {second:.1f} s")
            batch = _batch(Path(name), store)
            _seconds(far, batch)
            took: dict[str, list[float]] = {"ssh": [], "local": []}
            for i in range(ROUNDS):
                sides: list[tuple[str, Executor]] = [("ssh", far), ("local", near)]
                for side, executor in sides if i % 2 else reversed(sides):
                    took[side].append(_seconds(executor, batch))
        finally:
            far.close()
    for side, seconds in took.items():
        line(f"{side}: a batch, s", over_processes(np.array(seconds)))
    added = np.subtract(took["ssh"], took["local"])
    line("added by ssh, s", over_processes(np.maximum(added, 1e-3)), Goal(1.0))


def _seconds(executor: Executor, batch: Batch) -> float:
    start = time.monotonic()
    results = [event for event in executor.run([batch]) if isinstance(event, JobResult)]
    took = time.monotonic() - start
    if [result.status for result in results] != [Status.OK]:
        sys.exit(f"the batch failed: {results[0].reason}")
    return took


def _batch(folder: Path, store: Path) -> Batch:
    (folder / "affine.onnx").write_bytes(AFFINE.to_onnx().SerializeToString())
    artifact = Artifact("float32", "onnx", (describe_file(folder / "affine.onnx"),), folder)
    x = np.zeros((10, 4), np.float32)
    digest = Cache(store).put_array(x)
    case = Case(
        "clean",
        data="clean",
        samples=10,
        params={"batch": 4, "keep": "outputs", "task": "regression", "reference": False},
    )
    return Batch(
        "cpu", "onnxruntime", "float32", "accuracy", artifact, {"deploy": Options(), "parity": Options()},
        {"x": Preprocess()}, {"clean": DataRef({"x": digest}, 10, x.nbytes)}, (case,),
    )  # fmt: skip
