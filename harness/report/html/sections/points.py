"""A plot of points with intervals: a value of each of several named parts, by device and variant."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from harness.core.job import Status
from harness.core.measurement import Row
from harness.report.html.data import Plot, error_bars


def plot(caption: str, text: str, axis: str, quantity: str, measured: Sequence[tuple[str, Row]]) -> Plot:
    """Return the plot of rows that have a value, each with the name of its part.

    Parameters
    ----------
    caption, text : str
        Of the plot, and for readers who cannot see it.
    axis, quantity : str
        What the parts are, and what the values are.
    measured : sequence of (str, Row)
        In the order of the parts.
    """
    by_device: dict[str, list[tuple[str, Row]]] = defaultdict(list)
    for name, row in measured:
        by_device[f"{row.key.target}/{row.key.backend} {row.key.variant}"].append((name, row))
    unit = next(row.measurement.unit for _, row in measured)
    bounds = [
        bound
        for _, row in measured
        for bound in (row.measurement.value, row.measurement.ci_low, row.measurement.ci_high)
        if math.isfinite(bound)
    ]
    margin = 0.05 * (max(bounds) - min(bounds)) or 0.05
    return Plot(
        caption,
        text,
        [_points(device, rows) for device, rows in sorted(by_device.items())],
        {
            "xaxis": {"title": {"text": axis}, "type": "category"},
            "scattermode": "group",  # equal points of several variants side by side
            "yaxis": {
                "title": {"text": quantity if unit == "1" else f"{quantity}, {unit}"},
                "range": [min(bounds) - margin, max(bounds) + margin],  # else from zero, in this mode
            },
        },
    )


def has_value(row: Row) -> bool:
    """Whether a row can be drawn."""
    return row.measurement.status is Status.OK and math.isfinite(row.measurement.value)


def _points(device: str, rows: Sequence[tuple[str, Row]]) -> dict[str, Any]:
    """One point a part, in the order of the rows: by name, or by time."""
    points = [(name, row.measurement) for name, row in rows if row.measurement.status is Status.OK]
    return {
        "type": "scatter", "mode": "markers", "name": device,
        "x": [name for name, _ in points], "y": [round(point.value, 6) for _, point in points],
        "error_y": error_bars([(point.value, point.ci_low, point.ci_high) for _, point in points]),
    }  # fmt: skip
