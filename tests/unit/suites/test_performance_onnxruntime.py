from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.core.artifact import TensorSpec
from harness.core.job import Status
from suites.performance.summarise import PerformanceSuite
from tests.unit.suites.real_onnx import DIGITS, run_suite

pytest.importorskip("onnxruntime")

SETTINGS = {
    "processes": 2,
    "seconds": 0.01,
    "warm_up_seconds": 0.01,
    "batch_sizes": [1, 4, 64],
    "rounds": 2,
    "offline_seconds": 0.01,
}


def test_digits_give_every_row(tmp_path: Path) -> None:
    spec = TensorSpec("image", (None, 1, 32, 32), "float32")
    results, rows = run_suite(PerformanceSuite(), DIGITS, spec, tmp_path, SETTINGS)
    facts = results["single_stream/deploy"].samples
    assert facts.values == {"batch": 1, "call": "bound"}
    assert facts.arrays["requests"].sum() == len(facts.arrays["latency_ns"]) >= 662
    assert facts.arrays["latency_ns"].dtype == np.int64
    assert (facts.arrays["latency_ns"] > 0).all()
    by_metric = {row.metric: row for row in rows if not row.case}
    p50, p90, p99 = (by_metric[f"latency_p{p}"] for p in (50, 90, 99))
    assert 0 < p50.value <= p90.value <= p99.value
    assert {p.status for p in (p50, p90, p99)} == {Status.OK}
    assert by_metric["model_bytes"].value == DIGITS.stat().st_size
    # A process that has loaded Python, numpy and the runtime; and less than a machine has.
    assert 20 * 2**20 < by_metric["peak_memory"].value < 4 * 2**30
    throughput = {row.case: row for row in rows if row.case}
    assert {case: row.status for case, row in throughput.items()} == {
        "offline_b1": Status.OK,
        "offline_b4": Status.OK,
        "offline_b64": Status.SKIPPED,
    }
    assert results["single_stream/deploy"].effective["provider"] == "CPUExecutionProvider"
