"""Accuracy by severity of each shift, and the drift of a variant from its float reference."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

from harness.config.validation import FLOAT32
from harness.core.measurement import Row
from harness.core.metric import Metric, Role
from harness.core.plan import HOST
from harness.report.html.data import Plot, ReportData, Section, Table, error_bars

DRIFT_COLUMNS = ("target", "backend", "variant", "setting", "case", "severity", "metric", "unit", "value",
                 "low", "high", "n", "reference", "status", "reason")  # fmt: skip


#: Name of the reference's own line.
REFERENCE = f"{FLOAT32}@{HOST}, the reference"
Record = dict[str, Any]


class Who(NamedTuple):
    """A line of a plot: whether it belongs to the base, and its name."""

    base: bool
    name: str


def accuracy(data: ReportData) -> Section | None:
    """One plot per family of shifts: the main result against severity, one line per device and variant."""
    records: list[Record] = [row.to_record() for row in data.device_rows]
    records += [row.to_record() | {"setting": "deploy"} for row in data.rows if _is_reference(row)]
    shown = len(records)
    if data.base is not None:
        records += [{str(k): v for k, v in record.items()} for record in data.base.frame.to_dict("records")]
    marked = [(number >= shown, record) for number, record in enumerate(records)]
    drawn = [
        (name, _plots(data, name, metric, _of_metric(marked, suite, name)))
        for suite, name, metric in data.metrics.with_role(Role.RESULT)
    ]
    titles = [name for name, plots in drawn if plots]
    plots = tuple(plot for _, part in drawn for plot in part)
    return Section(f"{' and '.join(titles).capitalize()} under shift", 30, "", plots) if plots else None


def _is_reference(row: Row) -> bool:
    """Whether it is of the float model on the host, which runs pinned: what losses are relative to."""
    return row.key.target == HOST and row.key.variant == FLOAT32


def _of_metric(records: list[tuple[bool, Record]], suite: str, name: str) -> list[tuple[bool, Record]]:
    return [
        (base, row)
        for base, row in records
        if (row["suite"], row["metric"], row["setting"], row["status"]) == (suite, name, "deploy", "OK")
    ]


def _plots(
    data: ReportData, name: str, metric: Metric, records: list[tuple[bool, Record]]
) -> tuple[Plot, ...]:  # fmt: skip
    lines: dict[str, dict[Who, list[Record]]] = defaultdict(lambda: defaultdict(list))
    unshifted: dict[Who, Record] = {}
    for base, row in records:
        who = Who(base, f"{row['target']}/{row['backend']} {row['variant']}")
        if row["target"] == HOST and not base:
            who = Who(base, REFERENCE)
        if row["case"] == metric.case:
            unshifted[who] = row
        else:
            lines[row["case"]][who].append(row)
    samples = {row["n"] for cases in lines.values() for rows in cases.values() for row in rows}
    return tuple(
        Plot(
            f"{name.capitalize()} under {family}",
            f"{name.capitalize()} by severity of {family}; the table of measurements has every number.",
            [
                _line(
                    who,
                    [*([unshifted[who]] if who in unshifted else []), *rows],
                    data.base.label if data.base is not None else "",
                    counted=len(samples) > 1,
                )
                for who, rows in sorted(subjects.items())
            ],
            {"xaxis": {"title": {"text": "severity"}, "dtick": 1}, "yaxis": {"title": {"text": name}}},
        )
        for family, subjects in sorted(lines.items())
        if set(subjects) != {Who(False, REFERENCE)}  # alone it is no result
    )


def _line(who: Who, rows: list[Record], base: str, *, counted: bool) -> dict[str, Any]:
    """One line, dotted for the base; with the number of samples where devices ran different numbers."""
    rows = sorted(rows, key=lambda row: int(row["severity"]))
    name = f"{who.name} of {base}" if who.base else who.name
    if counted:
        name += f" ({rows[-1]['n']} samples)"
    is_reference = who == Who(False, REFERENCE)
    return {
        "type": "scatter", "mode": "lines+markers", "name": name,
        "line": {"dash": "dot" if who.base else "dash" if is_reference else "solid"},
        "x": [int(row["severity"]) for row in rows], "y": [round(row["value"], 6) for row in rows],
        "error_y": error_bars([(row["value"], row["ci_low"], row["ci_high"]) for row in rows]),
    }  # fmt: skip


def drift(data: ReportData) -> Section | None:
    """Agreement, flips and distance of each variant to its reference."""
    rows = [
        (r.key.target, r.key.backend, r.key.variant, r.key.setting, r.case, r.severity, m.metric, m.unit,
         m.value, m.ci_low, m.ci_high, m.n, m.reference, m.status.value, m.reason)
        for r in data.device_rows
        for m in [r.measurement]
        if m.reference and (metric := data.metrics.find(r.key.suite, m.metric)) is not None and metric.drift
    ]  # fmt: skip
    if not rows:
        return None
    return Section("Drift from float", 40, "", (), (Table("drift", "Drift", DRIFT_COLUMNS, rows),))
