"""Metrics by group and by window of time, as ``[data] group`` and ``time`` divide the samples."""

from __future__ import annotations

import math
from collections import defaultdict

from harness.core.measurement import Row
from harness.report.html.data import Plot, ReportData, Section
from harness.report.html.sections import points


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
    quantity = metric.replace("_", " ")
    caption = f"{quantity.capitalize()} by {column}"
    text = f"{quantity.capitalize()} of each {column}, with its interval."
    return points.plot(caption, text, column, quantity, measured)
