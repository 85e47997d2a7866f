"""Latency: distribution of the stored samples of each target, with its tail."""

from __future__ import annotations

import numpy as np

from harness.core.job import Status
from harness.report.html.data import Plot, ReportData, Section, Table

#: Quantiles at which a distribution is drawn: evenly spaced, finer in the tail.
SHARES = np.concatenate([np.linspace(0, 0.9, 91), np.linspace(0.905, 0.99, 18), np.linspace(0.991, 1, 10)])
SAMPLES = "latency_ns"
NS_PER_MS = 1e6


def latency(data: ReportData) -> Section | None:
    """Cumulative distributions, and the percentiles that the suite computed from them."""
    # Invalid times are drawn too, and marked.
    percentiles = {(timed.suite, timed.name) for timed in data.metrics.timed()}
    invalid = {
        row.key
        for row in data.rows
        if (row.key.suite, row.measurement.metric) in percentiles and row.measurement.status is Status.INVALID
    }
    traces = [
        {
            "type": "scatter", "mode": "lines",
            "name": f"{key.target}/{key.backend} {key.variant} {key.case}"
            + (" (INVALID)" if key in invalid else ""),
            "line": {"dash": "dot" if key in invalid else "solid"},
            "x": [float(f"{x:.5g}") for x in np.quantile(samples, SHARES) / NS_PER_MS],
            "y": [round(float(share), 4) for share in SHARES],
        }
        for facts in data.facts
        for key, result in facts.results.items()
        if result.status is Status.OK and key.setting == "deploy"
        for samples in [result.samples.arrays.get(SAMPLES)]
        if samples is not None and samples.size
    ]  # fmt: skip
    rows = [
        (r.key.target, r.key.backend, r.key.variant, r.key.setting, r.case, r.measurement.metric,
         r.measurement.value / NS_PER_MS, r.measurement.ci_low / NS_PER_MS, r.measurement.ci_high / NS_PER_MS,
         r.measurement.n, r.measurement.status.value, r.measurement.reason)
        for r in data.device_rows
        if (r.key.suite, r.measurement.metric) in percentiles and r.measurement.unit == "ns"
    ]  # fmt: skip
    if not rows and not traces:
        return None
    columns = ("target", "backend", "variant", "setting", "case", "percentile", "ms", "low", "high", "n",
               "status", "reason")  # fmt: skip
    plot = Plot(
        "Share of requests answered within a time",
        f"{len(traces)} cumulative distributions; the table below has their percentiles.",
        traces,
        {"xaxis": {"title": {"text": "ms"}, "type": "log"}, "yaxis": {"title": {"text": "share"}}},
    )
    table = Table("latency", "Percentiles of latency", columns, rows)
    return Section("Latency", 20, "", (plot,) if traces else (), (table,) if rows else ())
