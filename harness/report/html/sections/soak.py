"""What long cases measured slice by slice: times, memory and sensors over time, with their trends.

A suite that stores a case in parts gets this section for an array ``slices``, shape (n, columns), float64,
and the value ``columns``, which names its columns: ``process`` and ``elapsed_ns``, and any of `DRAWN`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.job import Job, Samples, Status
from harness.core.measurement import Row
from harness.report.html.data import Plot, ReportData, Section, Table
from harness.run.parts import so_far
from harness.stats import soak as stats

Values = NDArray[np.float64]

SLICES, COLUMNS = "slices", "columns"
#: Column, what the plot is of, factor and unit.
DRAWN = (
    ("p50_ns", "Latency p50", 1e-6, "ms"),
    ("p99_ns", "Latency p99", 1e-6, "ms"),
    ("rss_byte_after", "Resident memory", 1e-6, "MB"),
    ("clock_hz", "CPU clock", 1e-9, "GHz"),
    ("temperature_celsius", "Temperature", 1.0, "°C"),
)
#: Units of the axis of time, by the seconds from which they are used.
TIMES = ((3 * 3600.0, "hours", 3600e9), (180.0, "minutes", 60e9), (0.0, "seconds", 1e9))
#: Plotly's own; a series, its trend and its band have one.
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f")
#: More points of a line cannot be seen.
MOST_POINTS = 400
ROW_COLUMNS = (
    "target", "backend", "variant", "metric", "value", "low", "high", "unit", "n", "status", "note",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Long:
    """The slices of one case."""

    name: str
    elapsed_ns: Values
    process: Values
    columns: Mapping[str, Values]

    def lines(self) -> list[NDArray[np.intp]]:
        """Positions of the slices of each process: between two, nothing was measured."""
        return [np.flatnonzero(self.process == one) for one in dict.fromkeys(self.process.tolist())]


def soak(data: ReportData) -> Section | None:
    """Draw each series with its trend, and list the rows of the cases that were stored in parts."""
    keys = {
        job.key: job
        for facts in data.facts
        for batch in facts.plan.batches
        for job in batch.jobs
        if job.case.in_parts
    }
    long = list(_long(data, keys))
    rows = [_record(row) for row in data.device_rows if row.key in keys]
    if not rows and not long:
        return None
    plots = tuple(plot for drawn in DRAWN for plot in _plots(long, *drawn))
    intro = (
        "Time is that of the soak: where it was interrupted, the line is broken and the gap is left out. A "
        "dashed line is the trend (Theil and Sen), the band its interval."
    )
    table = Table("long_cases", "What the soak shows, with intervals at one-sided 5 %", ROW_COLUMNS, rows)
    return Section("Soak", 24, intro if plots else "", plots, (table,) if rows else ())


def _long(data: ReportData, keys: Mapping[Any, Job]) -> Iterator[_Long]:
    for facts in data.facts:
        for key, job in keys.items():
            result = so_far(facts, job)
            columns = _columns(result.samples) if result is not None else {}
            if {"process", "elapsed_ns"} <= columns.keys():
                ended = facts.results.get(key)
                mark = "" if ended is not None and ended.status is Status.OK else " (not ended)"
                name = f"{key.target}/{key.backend} {key.variant}{mark}"
                yield _Long(name, np.cumsum(columns["elapsed_ns"]), columns["process"], columns)


def _columns(samples: Samples) -> dict[str, Values]:
    """Columns by name; none where a device sent something else."""
    table, names = samples.arrays.get(SLICES), samples.values.get(COLUMNS)
    if table is None or not isinstance(names, list) or table.ndim != 2 or table.shape[1] != len(names):
        return {}
    return {str(name): table[:, i].astype(np.float64) for i, name in enumerate(names)}


def _plots(long: Sequence[_Long], column: str, title: str, factor: float, unit: str) -> Iterator[Plot]:
    there = [one for one in long if column in one.columns and np.isfinite(one.columns[column]).any()]
    if not there:
        return
    longest_s = max(float(one.elapsed_ns[-1]) for one in there) / 1e9
    time, time_ns = next((name, ns) for least_s, name, ns in TIMES if longest_s >= least_s)
    traces = [
        trace for index, one in enumerate(there) for trace in _traces(one, column, factor, time_ns, index)
    ]
    names = ", ".join(one.name for one in there)
    layout = {"xaxis": {"title": {"text": f"{time} of the soak"}}, "yaxis": {"title": {"text": unit}}}
    yield Plot(f"{title} over the soak", f"{title} of {names}; the table has the trends.", traces, layout)


def _traces(one: _Long, column: str, factor: float, time_ns: float, index: int) -> Iterator[dict[str, Any]]:
    """The series, and for each process its trend with the band of its interval."""
    times, values = one.elapsed_ns / time_ns, factor * one.columns[column]
    lines = one.lines()
    colour = COLOURS[index % len(COLOURS)]
    x: list[float | None] = []
    y: list[float | None] = []
    for part in lines:
        at, medians = _fewer(times[part], values[part])
        x += [*map(_short, at.tolist()), None]
        y += [*map(_short, medians.tolist()), None]
    yield {
        "type": "scatter", "mode": "lines", "name": one.name, "x": x[:-1], "y": y[:-1],
        "line": {"color": colour},
    }  # fmt: skip
    slope = stats.trend([(times[part], values[part]) for part in lines])
    if not math.isfinite(slope.value):
        return
    for part in lines:
        there = part[np.isfinite(values[part])]
        if there.size < 2:
            continue
        ends = times[there[[0, -1]]]
        middle, level = float(np.median(times[there])), float(np.median(values[there]))
        yield {
            "type": "scatter", "mode": "lines", "showlegend": False, "hoverinfo": "skip",
            "line": {"dash": "dash", "color": colour}, "x": [_short(end) for end in ends.tolist()],
            "y": [_short(level + slope.value * (end - middle)) for end in ends.tolist()],
        }  # fmt: skip
        if math.isfinite(slope.low) and math.isfinite(slope.high):
            around = [ends[0], middle, ends[1]]
            high = [level + max(slope.low * (t - middle), slope.high * (t - middle)) for t in around]
            low = [level + min(slope.low * (t - middle), slope.high * (t - middle)) for t in around]
            yield {
                "type": "scatter", "mode": "lines", "showlegend": False, "hoverinfo": "skip",
                "line": {"width": 0}, "fill": "toself", "fillcolor": colour, "opacity": 0.2,
                "x": [_short(float(t)) for t in (*around, *around[::-1])],
                "y": [_short(float(value)) for value in (*high, *low[::-1])],
            }  # fmt: skip


def _fewer(x: Values, y: Values) -> tuple[Values, Values]:
    """At most `MOST_POINTS` points: medians of neighbours; NaN where none has a value."""
    if x.size <= MOST_POINTS:
        return x, y
    pieces = np.array_split(np.arange(x.size), MOST_POINTS)
    medians = [np.median(y[p][np.isfinite(y[p])]) if np.isfinite(y[p]).any() else math.nan for p in pieces]
    return np.array([np.median(x[p]) for p in pieces]), np.array(medians)


def _short(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _record(row: Row) -> tuple[Any, ...]:
    m = row.measurement
    return (
        row.key.target, row.key.backend, row.key.variant, m.metric, m.value, m.ci_low, m.ci_high, m.unit, m.n,
        m.status.value, m.reason,
    )  # fmt: skip
