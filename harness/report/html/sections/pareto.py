"""Variants: size against the main result."""

from __future__ import annotations

from harness.core.job import DEPLOY, Status
from harness.core.metric import Metric, Role
from harness.report.html.data import Plot, ReportData, Section


def pareto(data: ReportData) -> Section | None:
    """One plot per main result: a point per target, backend and variant with a result and a size."""
    sizes = data.metrics.with_role(Role.SIZE)
    plots = [
        plot
        for suite, name, metric in data.metrics.with_role(Role.RESULT)
        for size_suite, size_name, size in sizes
        if (plot := _plot(data, (suite, name, metric), (size_suite, size_name, size))) is not None
    ]
    return Section("Variants", 50, "", tuple(plots)) if plots else None


def _plot(data: ReportData, result: tuple[str, str, Metric], size: tuple[str, str, Metric]) -> Plot | None:
    results, sizes = _values(data, *result), _values(data, *size)
    both = [who for who in sizes if who in results]
    if not both:
        return None
    name, unit = result[1], "bytes" if size[2].unit == "byte" else size[2].unit
    traces = [
        {
            "type": "scatter", "mode": "markers+text", "name": device, "textposition": "top center",
            "text": [variant for _, variant in mine], "x": [sizes[who] for who in mine],
            "y": [round(results[who], 6) for who in mine],
        }
        for device in dict.fromkeys(device for device, _ in both)
        for mine in [[who for who in both if who[0] == device]]
    ]  # fmt: skip
    text = "; ".join(f"{d} {v}: {sizes[d, v]:.0f} {unit}, {name} {results[d, v]:.4f}" for d, v in both)
    axes = {"xaxis": {"title": {"text": unit}}, "yaxis": {"title": {"text": name}}}
    better = {"higher": ": up and to the left is better", "lower": ": down and to the left is better"}
    way = better.get(str(result[2].better), "")
    return Plot(f"Size against {result[2].case} {name}{way}", text, traces, axes)


def _values(data: ReportData, suite: str, name: str, metric: Metric) -> dict[tuple[str, str], float]:
    """Values in the case that stands for a variant as a whole, by device and variant."""
    return {
        (f"{row.key.target}/{row.key.backend}", row.key.variant): row.measurement.value
        for row in data.device_rows
        if (row.key.suite, row.measurement.metric, row.key.setting) == (suite, name, DEPLOY)
        and row.measurement.status is Status.OK
        and metric.case in ("", row.case)
    }
