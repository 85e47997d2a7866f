"""Reliability diagrams: how often answers of a confidence are right, beside the reference's own line."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

from harness.config.validation import FLOAT32
from harness.core.measurement import Measurement, Row
from harness.core.metric import Role
from harness.core.plan import HOST
from harness.report.html.data import Plot, ReportData, Section, Table, error_bars
from harness.report.html.sections import points

COLUMNS = ("target", "backend", "variant", "confidences", "samples", "confidence", "right", "low", "high")
INTRO = (
    "Answers are sorted by how sure the model is. On the diagonal it is as often right as it is sure; below "
    "it, it is too sure. Clean data; the intervals are those of the share of right answers."
)


class _Who(NamedTuple):
    target: str
    backend: str
    variant: str


class _Bar(NamedTuple):
    """One range of confidence."""

    place: str
    confidence: Measurement
    right: Measurement


def calibration(data: ReportData) -> Section | None:
    """One reliability diagram a device, with a line for each variant and one for the reference."""
    bars = _bars(data)
    devices = sorted({(who.target, who.backend) for who in bars if who.target != HOST})
    if not devices:
        return None
    reference = [of for who, of in bars.items() if who.target == HOST]
    plots = tuple(
        Plot(
            f"Reliability on {target}/{backend}",
            f"Share of right answers by confidence on {target}; the table below has the numbers.",
            [
                *(
                    _line(of, who.variant, "solid")
                    for who, of in sorted(bars.items())
                    if (who.target, who.backend) == (target, backend)
                ),
                *(_line(of, f"{FLOAT32}@{HOST}, the reference", "dash") for of in reference),
                _diagonal(),
            ],
            {
                "xaxis": {"title": {"text": "confidence"}, "range": [-0.02, 1.02]},
                "yaxis": {"title": {"text": "share of right answers"}, "range": [-0.02, 1.02]},
            },
        )
        for target, backend in devices
    )
    lines = [
        (*who, bar.place, right.n, bar.confidence.value, right.value, right.ci_low, right.ci_high)
        for who, of in sorted(bars.items())
        for bar in of
        for right in [bar.right]
    ]
    table = Table("reliability", "Right answers by confidence", COLUMNS, lines)
    return Section("Calibration", 36, INTRO, plots, (table,))


def _bars(data: ReportData) -> dict[_Who, list[_Bar]]:
    """The bars of each device and variant, by confidence."""
    pair: dict[_Who, dict[str, dict[Role, Measurement]]] = defaultdict(lambda: defaultdict(dict))
    for role in (Role.CONFIDENCE, Role.RIGHT_OF_CONFIDENCE):
        names = {(suite, name) for suite, name, _ in data.metrics.with_role(role)}
        for row in data.rows:
            is_other = row.key.target == HOST and row.key.variant != FLOAT32
            if (row.key.suite, row.measurement.metric) in names and points.has_value(row) and not is_other:
                pair[_who(row)][row.case.partition("=")[2]][role] = row.measurement
    return {
        who: sorted(
            (
                _Bar(place, both[Role.CONFIDENCE], both[Role.RIGHT_OF_CONFIDENCE])
                for place, both in places.items()
                if len(both) == len((Role.CONFIDENCE, Role.RIGHT_OF_CONFIDENCE))
            ),
            key=lambda bar: bar.confidence.value,
        )
        for who, places in pair.items()
    }


def _who(row: Row) -> _Who:
    return _Who(row.key.target, row.key.backend, row.key.variant)


def _line(bars: list[_Bar], name: str, dash: str) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "lines+markers", "name": name, "line": {"dash": dash},
        "x": [round(bar.confidence.value, 4) for bar in bars],
        "y": [round(bar.right.value, 4) for bar in bars],
        "text": [f"{bar.right.n} samples" for bar in bars],
        "error_y": error_bars([(bar.right.value, bar.right.ci_low, bar.right.ci_high) for bar in bars]),
    }  # fmt: skip


def _diagonal() -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "lines", "name": "as sure as right", "hoverinfo": "skip",
        "line": {"dash": "dot", "width": 1, "color": "#888888"}, "x": [0, 1], "y": [0, 1],
    }  # fmt: skip
