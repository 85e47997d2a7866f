"""Metrics by group and by window of time, as ``[data] group`` and ``time`` divide the samples."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from harness.core.job import Status
from harness.core.measurement import Row
from harness.report.html.data import Plot, ReportData, Section, error_bars


def groups(data: ReportData) -> Section | None:
    """One plot per metric and column: a point with its interval for each group, per device and variant."""
    rows: dict[tuple[str, str], list[tuple[str, Row]]] = defaultdict(list)
    for row in data.device_rows:
        metric = data.metrics.find(row.key.suite, row.measurement.metric)
        _, _, group = row.case.partition("/")
        column, equals, name = group.partition("=")
        if metric is None or not metric.needs or not equals or row.key.setting != "deploy":
            continue
        rows[row.measurement.metric, column].append((name, row))
    plots = tuple(
        _plot(metric, column, measured)
        for (metric, column), measured in rows.items()
        if any(math.isfinite(row.measurement.value) for _, row in measured)
    )
    intro = "Groups with too few samples are left out; the table of measurements says which."
    return Section("By group", 35, intro, plots) if plots else None


def _plot(metric: str, column: str, measured: list[tuple[str, Row]]) -> Plot:
    by_device: dict[str, list[tuple[str, Row]]] = defaultdict(list)
    for name, row in measured:
        key = row.key
        by_device[f"{key.target}/{key.backend} {key.variant}"].append((name, row))
    unit = next(row.measurement.unit for _, row in measured)
    quantity = metric.replace("_", " ")
    bounds = [
        bound
        for _, row in measured
        for bound in (row.measurement.value, row.measurement.ci_low, row.measurement.ci_high)
        if math.isfinite(bound)
    ]
    margin = 0.05 * (max(bounds) - min(bounds)) or 0.05
    return Plot(
        f"{quantity.capitalize()} by {column}",
        f"{quantity.capitalize()} of each {column}, with its interval.",
        [_points(device, rows) for device, rows in sorted(by_device.items())],
        {
            "xaxis": {"title": {"text": column}, "type": "category"},
            "scattermode": "group",  # equal points of several variants side by side
            "yaxis": {
                "title": {"text": quantity if unit == "1" else f"{quantity}, {unit}"},
                "range": [min(bounds) - margin, max(bounds) + margin],  # else from zero, in this mode
            },
        },
    )


def _points(device: str, rows: list[tuple[str, Row]]) -> dict[str, Any]:
    """One point a group, in the order of the rows: by name, or by time."""
    points = [(name, row.measurement) for name, row in rows if row.measurement.status is Status.OK]
    return {
        "type": "scatter", "mode": "markers", "name": device,
        "x": [name for name, _ in points], "y": [round(point.value, 6) for _, point in points],
        "error_y": error_bars([(point.value, point.ci_low, point.ci_high) for _, point in points]),
    }  # fmt: skip
