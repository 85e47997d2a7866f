"""Accuracy by severity of each shift, and the drift of a variant from its float reference."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any, NamedTuple

from harness.report.html.data import Plot, ReportData, Section, Table

DRIFT = ("agreement", "accuracy_loss", "flips_harmful", "flips_beneficial", "sqnr", "max_abs_difference",
         "bit_exact")  # fmt: skip
DRIFT_COLUMNS = ("target", "backend", "variant", "setting", "case", "severity", "metric", "unit", "value",
                 "low", "high", "n", "reference", "status", "reason")  # fmt: skip


Record = dict[str, Any]


class Who(NamedTuple):
    """A line of a plot: whether it belongs to the base, and its name."""

    base: bool
    name: str


def accuracy(data: ReportData) -> Section | None:
    """One plot per family of shifts: accuracy against severity, one line per device and variant."""
    records = [row.to_record() for row in data.device_rows]
    shown = len(records)
    if data.base is not None:
        records += [{str(k): v for k, v in record.items()} for record in data.base.frame.to_dict("records")]
    lines: dict[str, dict[Who, list[Record]]] = defaultdict(lambda: defaultdict(list))
    clean: dict[Who, Record] = {}
    for number, row in enumerate(records):
        if row["metric"] != "accuracy" or row["setting"] != "deploy" or row["status"] != "OK":
            continue
        who = Who(number >= shown, f"{row['target']}/{row['backend']} {row['variant']}")
        if row["case"] == "clean":
            clean[who] = row
        else:
            lines[row["case"]][who].append(row)
    if not lines:
        return None
    samples = {row["n"] for cases in lines.values() for rows in cases.values() for row in rows}
    plots = tuple(
        Plot(
            f"Accuracy under {family}",
            f"Accuracy by severity of {family}, with intervals; the measurements have every number.",
            [
                _line(
                    who,
                    [*([clean[who]] if who in clean else []), *rows],
                    data.base.label if data.base is not None else "",
                    counted=len(samples) > 1,
                )
                for who, rows in sorted(subjects.items())
            ],
            {"xaxis": {"title": {"text": "severity"}, "dtick": 1}, "yaxis": {"title": {"text": "accuracy"}}},
        )
        for family, subjects in sorted(lines.items())
    )
    return Section("Accuracy under shift", 30, "", plots)


def _line(who: Who, rows: list[Record], base: str, *, counted: bool) -> dict[str, Any]:
    """One line, dotted for the base; with the number of samples where devices ran different numbers."""
    rows = sorted(rows, key=lambda row: int(row["severity"]))
    name = f"{who.name} of {base}" if who.base else who.name
    if counted:
        name += f" ({rows[-1]['n']} samples)"
    return {
        "type": "scatter", "mode": "lines+markers", "name": name,
        "line": {"dash": "dot" if who.base else "solid"},
        "x": [int(row["severity"]) for row in rows], "y": [round(row["value"], 6) for row in rows],
        "error_y": {
            "type": "data", "symmetric": False, "thickness": 1,
            "array": [_whisker(row["ci_high"] - row["value"]) for row in rows],
            "arrayminus": [_whisker(row["value"] - row["ci_low"]) for row in rows],
        },
    }  # fmt: skip


def _whisker(length: float) -> float | None:
    return round(length, 6) if math.isfinite(length) else None


def drift(data: ReportData) -> Section | None:
    """Agreement, flips and distance of each variant to its reference."""
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
