"""The page of a history: trends by device and version, with the runs at which they changed marked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.compare.history import History, version_spans, versions_of
from harness.compare.history_text import also, headline, latest_first, size
from harness.gates.judge import number_text
from harness.report.html.data import Plot, Section, Table
from harness.report.html.page import Head, html
from harness.stats.changes import ALPHA
from harness.stats.series import Rule, Trend
from harness.stats.table_changes import Change

#: So many plots are drawn, those of series that changed first; the table has every series.
MOST_PLOTS = 24
#: Of longer series the intervals would cover the line.
MOST_INTERVALS = 60
#: What a plot is of; its lines are the rest of the key.
OF = ("model", "suite", "metric", "case", "severity", "setting", "reference", "unit")
SYMBOLS = {Change.WORSE: "triangle-down", Change.BETTER: "triangle-up", Change.CHANGED: "diamond"}
NEW_VERSION, USUAL = "square-open", "circle"
#: Factor and unit in which a plot shows a unit of the table.
SHOWN = {"ns": (1e-6, "ms"), "byte": (1e-6, "MB")}
SERIES = ("target", "backend", "variant", "metric", "case", "severity", "setting", "reference", "model")


def history(found: History) -> str:
    """Make the page."""
    head = Head(
        "History", f"{headline(found)}.", "",
        tuple(f"{each}" for each in found.left_out),
    )  # fmt: skip
    return html(head, sections(found))


def sections(found: History) -> list[Section]:
    """Give the runs at which something changed, the trends, and every series."""
    changed = latest_first(found)
    steady = [each for each in found.trends if not each.turns and len(each.points) > 1]
    steady.sort(key=lambda each: (each.rule is not Rule.INTERVAL, bool(each.key["severity"])))
    plots: dict[tuple[object, ...], list[Trend]] = {}
    for trend in (*changed, *steady):
        plots.setdefault(tuple(trend.key[name] for name in OF), []).append(trend)
    drawn = list(plots.values())[:MOST_PLOTS]
    legend = "▼ worse, ▲ better, ◆ changed, □ the first run of another model, artifact, runtime or harness."
    left = f" {len(plots) - len(drawn)} more are in the table alone." * (len(plots) > len(drawn))
    left += " What only one run measured is in the table alone." * any(
        len(each.points) == 1 for each in found.trends
    )
    chance = f"Chance of one false change among all of them: at most {ALPHA:.0%}."
    return [
        *([_changes(changed, found, chance)] if changed else []),
        Section("Trends", 20, legend + left, tuple(_plot(trends, found) for trends in drawn)),
        Section("Series", 30, "" if changed else chance, (), (_series(found),)),
    ]


def _changes(changed: Sequence[Trend], found: History, chance: str) -> Section:
    rows = []
    for trend in changed:
        for turn in trend.turns:
            run = found.runs[int(found.frame["run"].iloc[trend.points[turn.level.at]])]
            unit = str(trend.key["unit"])
            ends = (number_text(side.value, unit) for side in (turn.level.before, turn.level.after))
            said = also(turn) or "nothing else that is known of"
            rows.append((run.run_id, run.created_utc, str(turn.change), *_key(trend), *ends,
                         size(turn, trend), said))  # fmt: skip
    columns = ("run", "created", "class", *SERIES, "before", "after", "by", "what else changed there")
    return Section("Changes", 10, chance, (), (Table("changes", "Changes", columns, rows),))


def _key(trend: Trend) -> tuple[object, ...]:
    return tuple(trend.key[name] for name in SERIES)


def _series(found: History) -> Table:
    value = found.frame["value"].to_numpy(np.float64)
    rows = []
    for trend in found.trends:
        own, unit = value[trend.points], str(trend.key["unit"])
        ends = (number_text(float(own[i]), unit) if len(own) else "" for i in (0, -1))
        counts = (len(own), len(version_spans(trend, found)), trend.invalid, len(trend.turns))
        rows.append((*_key(trend), *counts, *ends, str(trend.rule)))
    columns = (*SERIES, "runs", "versions", "invalid", "changes", "first", "last", "how changes are told")
    return Table("series", "Series", columns, rows)


def _plot(trends: Sequence[Trend], found: History) -> Plot:
    key = trends[0].key
    factor, unit = SHOWN.get(str(key["unit"]), (1.0, str(key["unit"])))
    place = f"{key['case']} {key['severity']}" if key["severity"] else str(key["case"])
    caption = f"{key['metric']} in {place}" + f" ({key['setting']})" * (key["setting"] != "deploy")
    caption += f" against {key['reference']}" * bool(key["reference"])
    if len({each.key["model"] for each in found.trends}) > 1:
        caption = f"{key['model']}: {caption}"
    told = [f"{_device(trend)} {_turns(trend, found) or 'did not change'}" for trend in trends]
    axes = {"xaxis": {"type": "date"}, "yaxis": {"title": {"text": unit if unit != "1" else key["metric"]}}}
    return Plot(caption, "; ".join(told), [_trace(trend, found, factor) for trend in trends], axes)


def _device(trend: Trend) -> str:
    return f"{trend.key['target']}/{trend.key['backend']} {trend.key['variant']}"


def _turns(trend: Trend, found: History) -> str:
    runs = found.frame["run"].to_numpy()[trend.points]
    return ", ".join(f"{turn.change} at {found.runs[runs[turn.level.at]].run_id}" for turn in trend.turns)


def _trace(trend: Trend, found: History, factor: float) -> dict[str, Any]:
    rows = found.frame.iloc[trend.points]
    runs = [found.runs[run] for run in rows["run"]]
    versions = versions_of(trend, found)
    fresh = [bool(i) and each != versions[i - 1] for i, each in enumerate(versions)]
    symbols = [NEW_VERSION if new else USUAL for new in fresh]
    said = [run.run_id for run in runs]
    for turn in trend.turns:
        symbols[turn.level.at] = SYMBOLS[turn.change]
        said[turn.level.at] += f"<br>{turn.change}, {size(turn, trend)}<br>{also(turn)}"
    value, low, high = (rows[name].to_numpy(np.float64) * factor for name in ("value", "ci_low", "ci_high"))
    trace: dict[str, Any] = {
        "type": "scatter", "mode": "lines+markers", "name": _device(trend),
        "x": [run.created_utc for run in runs], "y": [float(f"{each:.6g}") for each in value],
        "text": said, "hovertemplate": "%{y} %{text}",
        "marker": {"symbol": symbols, "size": [5 if each == USUAL else 13 for each in symbols]},
    }  # fmt: skip
    if len(rows) <= MOST_INTERVALS:
        ends = {"array": high - value, "arrayminus": value - low}
        lengths = {name: [_length(each) for each in part] for name, part in ends.items()}
        trace["error_y"] = {"type": "data", "symmetric": False, "thickness": 1, **lengths}
    return trace


def _length(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
