"""The page of a history: trends by device and version, with the runs marked at which they changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.compare.history import History, version_spans, versions_of
from harness.compare.history_text import also, headline, latest_first, size
from harness.gates.number_text import number_text
from harness.report.html.data import Plot, Section, Table
from harness.report.html.page import Head, html
from harness.stats.changes import ALPHA
from harness.stats.series import Rule, Trend
from harness.stats.table_changes import Change

#: Most plots on the page, changed series first; the table has all series.
MOST_PLOTS = 24
#: In longer series the intervals would cover the line.
MOST_INTERVALS = 60
#: The part of the key that all lines of a plot share.
SHARED = ("model", "suite", "metric", "case", "severity", "setting", "reference", "unit")
SYMBOLS = {Change.WORSE: "triangle-down", Change.BETTER: "triangle-up", Change.CHANGED: "diamond"}
NEW_VERSION, SAME_VERSION = "square-open", "circle"
LEGEND = "▼ worse, ▲ better, ◆ changed, □ the first run of another model, artifact, runtime or harness."
#: Factor and unit with which a plot shows a unit of the table.
SHOWN = {"ns": (1e-6, "ms"), "byte": (1e-6, "MB")}
SERIES = ("target", "backend", "variant", "metric", "case", "severity", "setting", "reference", "model")


def history(shown: History) -> str:
    """Make the page."""
    head = Head(
        "History", f"{headline(shown)}.", "",
        tuple(str(reason) for reason in shown.left_out),
    )  # fmt: skip
    return html(head, sections(shown))


def sections(shown: History) -> list[Section]:
    """Runs at which something changed, trends, and all series."""
    changed = latest_first(shown)
    steady = [trend for trend in shown.trends if not trend.turns and len(trend.points) > 1]
    steady.sort(key=lambda trend: (trend.rule is not Rule.INTERVAL, bool(trend.key["severity"])))
    plots: dict[tuple[object, ...], list[Trend]] = {}
    for trend in (*changed, *steady):
        plots.setdefault(tuple(trend.key[name] for name in SHARED), []).append(trend)
    drawn = list(plots.values())[:MOST_PLOTS]
    moved = [trends for trends in drawn if any(trend.turns for trend in trends)]
    flat = drawn[len(moved) :]
    left = f"{len(plots) - len(drawn)} more are only in the table. " * (len(plots) > len(drawn))
    if any(len(trend.points) == 1 for trend in shown.trends):
        left += "What only one run measured is only in the table."
    chance = f"Chance of one false change among all of them: at most {ALPHA:.0%}."
    count = "1 plot" if len(flat) == 1 else f"{len(flat)} plots"
    parts = [_changes(changed, shown, chance)] if changed else []
    if moved:
        parts.append(Section("Trends", 20, LEGEND, tuple(_plot(trends, shown) for trends in moved)))
    if flat or left:
        intro = left if moved else f"{LEGEND} {left}"
        folded = f"{count} of series that did not change" if flat else ""
        plots_of_flat = tuple(_plot(trends, shown) for trends in flat)
        parts.append(Section("Unchanged", 25, intro.strip(), plots_of_flat, (), folded))
    return [*parts, Section("Series", 30, "" if changed else chance, (), (_series(shown),))]


def _changes(changed: Sequence[Trend], shown: History, chance: str) -> Section:
    rows = []
    for trend in changed:
        for turn in trend.turns:
            run = shown.runs[int(shown.frame["run"].iloc[trend.points[turn.level.at]])]
            unit = str(trend.key["unit"])
            ends = (number_text(side.value, unit) for side in (turn.level.before, turn.level.after))
            others = also(turn) or "nothing else in the record"
            rows.append((run.run_id, run.created_utc, str(turn.change), *_key(trend), *ends,
                         size(turn, trend), others))  # fmt: skip
    columns = ("run", "created", "class", *SERIES, "before", "after", "by", "what else changed there")
    return Section("Changes", 10, chance, (), (Table("changes", "Changes", columns, rows),))


def _key(trend: Trend) -> tuple[object, ...]:
    return tuple(trend.key[name] for name in SERIES)


def _series(shown: History) -> Table:
    value = shown.frame["value"].to_numpy(np.float64)
    rows = []
    for trend in shown.trends:
        values, unit = value[trend.points], str(trend.key["unit"])
        ends = (number_text(float(values[i]), unit) if len(values) else "" for i in (0, -1))
        counts = (len(values), len(version_spans(trend, shown)), trend.invalid, len(trend.turns))
        rows.append((*_key(trend), *counts, *ends, str(trend.rule)))
    columns = (*SERIES, "runs", "versions", "invalid", "changes", "first", "last", "rule for changes")
    return Table("series", "Series", columns, rows)


def _plot(trends: Sequence[Trend], shown: History) -> Plot:
    key = trends[0].key
    factor, unit = SHOWN.get(str(key["unit"]), (1.0, str(key["unit"])))
    place = f"{key['case']} {key['severity']}" if key["severity"] else str(key["case"])
    caption = f"{key['metric']} in {place}"
    if key["setting"] != "deploy":
        caption += f" ({key['setting']})"
    if key["reference"]:
        caption += f" against {key['reference']}"
    if len({trend.key["model"] for trend in shown.trends}) > 1:
        caption = f"{key['model']}: {caption}"
    texts = [f"{_device(trend)} {_turns(trend, shown) or 'did not change'}" for trend in trends]
    axes = {"xaxis": {"type": "date"}, "yaxis": {"title": {"text": unit if unit != "1" else key["metric"]}}}
    return Plot(caption, "; ".join(texts), [_trace(trend, shown, factor) for trend in trends], axes)


def _device(trend: Trend) -> str:
    return f"{trend.key['target']}/{trend.key['backend']} {trend.key['variant']}"


def _turns(trend: Trend, shown: History) -> str:
    runs = shown.frame["run"].to_numpy()[trend.points]
    return ", ".join(f"{turn.change} at {shown.runs[runs[turn.level.at]].run_id}" for turn in trend.turns)


def _trace(trend: Trend, shown: History, factor: float) -> dict[str, Any]:
    rows = shown.frame.iloc[trend.points]
    runs = [shown.runs[run] for run in rows["run"]]
    versions = versions_of(trend, shown)
    fresh = [bool(i) and version != versions[i - 1] for i, version in enumerate(versions)]
    symbols = [NEW_VERSION if new else SAME_VERSION for new in fresh]
    labels = [run.run_id for run in runs]
    for turn in trend.turns:
        symbols[turn.level.at] = SYMBOLS[turn.change]
        labels[turn.level.at] += f"<br>{turn.change}, {size(turn, trend)}<br>{also(turn)}"
    value, low, high = (rows[name].to_numpy(np.float64) * factor for name in ("value", "ci_low", "ci_high"))
    trace: dict[str, Any] = {
        "type": "scatter", "mode": "lines+markers", "name": _device(trend),
        "x": [run.created_utc for run in runs], "y": [float(f"{number:.6g}") for number in value],
        "text": labels, "hovertemplate": "%{y} %{text}",
        "marker": {"symbol": symbols, "size": [5 if symbol == SAME_VERSION else 13 for symbol in symbols]},
    }  # fmt: skip
    if len(rows) <= MOST_INTERVALS:
        ends = {"array": high - value, "arrayminus": value - low}
        lengths = {name: [_length(number) for number in part] for name, part in ends.items()}
        trace["error_y"] = {"type": "data", "symmetric": False, "thickness": 1, **lengths}
    return trace


def _length(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
