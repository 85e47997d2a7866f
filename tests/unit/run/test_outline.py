"""A plan of what is not built has the jobs of the run that follows, and makes no file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from harness.report.progress import Quiet
from harness.run.prepare import Prepared, prepare
from harness.run.request import Request

VALIDATION = """
[model]
name = "small"
file = "model.onnx"
task = "classification"
[data]
path = "data.npz"
calibration_samples = 20
[shifts]
kind = "features"
severities = [1, 3]
[variants.int8]
recipe = [{ pass = "quantize" }]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(8, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "model.onnx",
    )
    x = rng.normal(size=(120, 8)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, labels=(x @ weight).argmax(axis=1))
    (tmp_path / "validation.toml").write_text(VALIDATION)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path


def planned(folder: Path, *, builds: bool) -> Prepared:
    prepared = prepare(Request.parse(model=folder, target="cpu"), Quiet(), builds=builds)
    prepared.close()
    return prepared


def jobs(prepared: Prepared) -> set[tuple[Any, ...]]:
    return {(job.key, job.case.samples) for batch in prepared.plan.batches for job in batch.jobs}


def test_the_jobs_are_those_of_the_run_that_follows(folder: Path) -> None:
    outlined = planned(folder, builds=False)
    assert set(outlined.not_made) == {"float32", "int8"}
    cache = folder / "cache"
    assert not list(cache.glob("data/*.npy"))
    # The given file is copied, and no other is made.
    assert {path.name for path in cache.glob("artifacts/*/*")} <= {"model.onnx", "lineage.json"}
    built = planned(folder, builds=True)
    assert jobs(outlined) == jobs(built)
    assert built.not_made == ()
    assert outlined.size["samples"] == built.size["samples"]
    assert 0.5 < outlined.size["input_byte"] / built.size["input_byte"] < 2
    again = planned(folder, builds=False)
    assert again.not_made == ()
    assert [batch.artifact for batch in again.plan.batches] == [
        batch.artifact for batch in built.plan.batches
    ]
