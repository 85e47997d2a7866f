"""A row is one line of the contract."""

from __future__ import annotations

import math

from harness.core.job import JobKey, Status
from harness.core.measurement import COLUMNS, KEY_COLUMNS, Measurement, Row

KEY = JobKey("cpu", "onnxruntime", "deploy", "int8", "accuracy", "fog", 3)
IDENTITY = {"run_id": "r", "device": "d", "model_sha256": "0", "started_utc": "now", "unknown": "left out"}


def test_a_record_has_each_column_in_order() -> None:
    m = Measurement("accuracy_loss", "pt", 0.5, 0.1, 0.9, 100, "float32@host", Status.INVALID, "too few")
    record = Row(KEY, m, IDENTITY).to_record()
    assert tuple(record) == COLUMNS
    assert record == {
        "run_id": "r", "target": "cpu", "device": "d", "arch": "", "backend": "onnxruntime",
        "backend_version": "", "provider": "", "precision": "", "setting": "deploy", "model": "",
        "model_sha256": "0", "variant": "int8", "artifact_sha256": "", "suite": "accuracy", "case": "fog",
        "severity": 3, "metric": "accuracy_loss", "unit": "pt", "value": 0.5, "ci_low": 0.1, "ci_high": 0.9,
        "n": 100, "reference": "float32@host", "status": "INVALID", "reason": "too few", "started_utc": "now",
    }  # fmt: skip


def test_a_measurement_may_name_another_case() -> None:
    row = Row(KEY, Measurement("m", "1", math.nan, case="batch_8", severity=0))
    assert (row.case, row.severity) == ("batch_8", 0)
    record = row.to_record()
    assert (record["case"], record["severity"]) == ("batch_8", 0)


def test_key_columns_are_columns_and_nothing_of_the_measurement_but_its_name() -> None:
    assert set(KEY_COLUMNS) <= set(COLUMNS)
    assert not {"value", "status", "run_id", "started_utc", "provider"} & set(KEY_COLUMNS)


def test_identity_never_overrides_the_key() -> None:
    row = Row(KEY, Measurement("m", "1", 1.0), {"target": "other", "metric": "other"})
    assert (row.to_record()["target"], row.to_record()["metric"]) == ("cpu", "m")
