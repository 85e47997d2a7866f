from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from harness.core.job import JobKey, Status
from harness.core.measurement import COLUMNS, Measurement, Row
from harness.core.verdict import State, Verdict
from harness.store import tables

KEY = JobKey("cpu", "onnxruntime", "deploy", "int8", "accuracy", "fog", 3)
VALUES = (1, 0.1, np.float64(1 / 3), 1e-7, 1e22, -0.0, math.inf, -math.inf, math.nan, 443205)


def rows() -> list[Row]:
    identity = {"run_id": "r", "device": 'a "quoted", name', "model": "digits"}
    return [
        Row(
            KEY,
            Measurement("m", "1", value, ci_low=value, n=7, status=Status.ERROR, reason="two\nlines"),
            identity,
        )
        for value in VALUES
    ]


def test_the_files_are_what_pandas_would_write(tmp_path: Path) -> None:
    verdict = Verdict("g", "cpu", "onnxruntime", "int8", "accuracy", "m", State.INCONCLUSIVE, "block", "warn",
                      "undecided, more", 0.5, math.nan, 0.75, 1, "pt", 3)  # fmt: skip
    tables.write(tmp_path, rows(), [verdict], [])
    frame = pd.DataFrame([row.to_record() for row in rows()], columns=list(COLUMNS))
    frame = frame.astype({"value": "float64", "ci_low": "float64"})
    expected = frame.to_csv(index=False, lineterminator="\n")
    assert (tmp_path / "measurements.csv").read_text() == expected
    assert (tmp_path / "cpu" / "measurements.csv").read_text() == expected
    record = {name: getattr(verdict, name) for name in tables.VERDICT_COLUMNS}
    assert (tmp_path / "verdicts.csv").read_text() == pd.DataFrame(
        [record | {"state": "INCONCLUSIVE", "limit": 1.0}]
    ).to_csv(index=False, lineterminator="\n")


def test_numbers_come_back_bit_by_bit(tmp_path: Path) -> None:
    tables.write(tmp_path, rows(), [], [])
    read = tables.read(tmp_path / "measurements.csv")
    expected = np.array(VALUES, np.float64)
    np.testing.assert_array_equal(read["value"], expected)
    np.testing.assert_array_equal(np.signbit(read["value"]), np.signbit(expected))


def test_a_run_is_judged_without_pandas() -> None:
    code = "import sys; sys.modules['pandas'] = None; import harness.run.stages, harness.report.screen"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
