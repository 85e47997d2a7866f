"""Accuracy as a shift grows, and how far a variant moved from its float reference."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from harness.core.job import Status
from harness.core.measurement import Row
from harness.report.html.data import Plot, ReportData, Section, Table

DRIFT = ("agreement", "accuracy_loss", "flips_harmful", "flips_beneficial", "sqnr", "max_abs_difference",
         "bit_exact")  # fmt: skip
DRIFT_COLUMNS = ("target", "backend", "variant", "setting", "case", "severity", "metric", "unit", "value",
                 "low", "high", "n", "reference", "status", "reason")  # fmt: skip


def accuracy(data: ReportData) -> Section | None:
    """One plot a family of shifts: accuracy against severity, a line a target and variant."""
    lines: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    clean = {}
    for row in data.device_rows:
        m = row.measurement
        if m.metric != "accuracy" or row.key.setting != "deploy" or m.status is not Status.OK:
            continue
        who = f"{row.key.target}/{row.key.backend} {row.key.variant}"
        if row.case == "clean":
            clean[who] = row
        else:
            lines[row.case][who].append(row)
    if not lines:
        return None
    plots = tuple(
        Plot(
            f"Accuracy under {family}",
            f"Accuracy by severity of {family}, with intervals; the measurements have every number.",
            [
                _line(who, [*([clean[who]] if who in clean else []), *rows])
                for who, rows in sorted(subjects.items())
            ],
            {"xaxis": {"title": {"text": "severity"}, "dtick": 1}, "yaxis": {"title": {"text": "accuracy"}}},
        )
        for family, subjects in sorted(lines.items())
    )
    return Section("Accuracy under shift", 30, "", plots)


def _line(who: str, rows: list[Row]) -> dict[str, Any]:
    rows = sorted(rows, key=lambda row: row.severity)
    found = [row.measurement for row in rows]
    return {
        "type": "scatter", "mode": "lines+markers", "name": who,
        "x": [row.severity for row in rows], "y": [round(m.value, 6) for m in found],
        "error_y": {
            "type": "data", "symmetric": False, "thickness": 1,
            "array": [_whisker(m.ci_high - m.value) for m in found],
            "arrayminus": [_whisker(m.value - m.ci_low) for m in found],
        },
    }  # fmt: skip


def _whisker(length: float) -> float | None:
    return round(length, 6) if math.isfinite(length) else None


def drift(data: ReportData) -> Section | None:
    """Agreement, flips and distance of each variant from its reference."""
    rows = [
        (r.key.target, r.key.backend, r.key.variant, r.key.setting, r.case, r.severity, m.metric, m.unit,
         m.value, m.ci_low, m.ci_high, m.n, m.reference, m.status.value, m.reason)
        for r in data.device_rows
        for m in [r.measurement]
        if r.key.suite == "accuracy" and m.reference and m.metric in DRIFT
    ]  # fmt: skip
    if not rows:
        return None
    return Section("Drift from float", 40, "", (), (Table("drift", "Drift", DRIFT_COLUMNS, rows),))
