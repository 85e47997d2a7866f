"""Rows and sides of comparisons."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from harness.core.measurement import COLUMNS, KEY_COLUMNS
from harness.run.declared import installed
from harness.stats.difference import Values
from harness.stats.table_changes import Side, compare

NAN = math.nan


def record(**more: Any) -> dict[str, Any]:
    fields = {
        "run_id": "r", "target": "cpu", "backend": "onnxruntime", "setting": "deploy", "model": "m",
        "model_sha256": "a", "variant": "int8", "suite": "accuracy", "case": "clean", "severity": 0,
        "metric": "accuracy", "unit": "1", "value": 0.9, "ci_low": NAN, "ci_high": NAN, "n": 100,
        "reference": "", "status": "OK", "reason": "",
    }  # fmt: skip
    return {**dict.fromkeys(COLUMNS, ""), **fields, **more}


def side(*rows: dict[str, Any], **more: Any) -> Side:
    frame = pd.DataFrame(list(rows), columns=list(COLUMNS))
    return Side(more.pop("label", "side"), frame, **{"metrics": installed(), **more})


def only(base: dict[str, Any], new: dict[str, Any], **more: Any) -> pd.Series:
    ((_, row),) = compare(side(record(**base)), side(record(**new)), **more).iterrows()
    return row


def at(value: float, low: float = NAN, high: float = NAN) -> dict[str, Any]:
    return {"value": value, "ci_low": low, "ci_high": high}


BYTES = {"suite": "compression", "metric": "file_byte", "unit": "byte"}
MEMORY = {"suite": "performance", "metric": "peak_memory", "unit": "byte"}
LATENCY = {"suite": "performance", "metric": "latency_p50", "unit": "ns"}


def samples_of(*rows: tuple[dict[str, Any], Values]) -> Side:
    keyed = {tuple(row[column] for column in KEY_COLUMNS): values for row, values in rows}
    return side(*(row for row, _ in rows), per_sample=keyed)
