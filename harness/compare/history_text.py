"""A history of runs for people and machines: one line a series, and under it the runs where it changed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.compare.history import History, harness_version, version_spans
from harness.gates.number_text import number_text
from harness.stats.changes import ALPHA
from harness.stats.difference import RATIO_UNITS
from harness.stats.series import SERIES_COLUMNS, VERSION_COLUMNS, Rule, Trend, Turn
from harness.store import tables

#: So many steady series are shown; the CSV has all.
SHOWN = 24
SPARKS, SPARK_WIDTH = "▁▂▃▄▅▆▇█", 24


def text(past: History) -> str:
    """Everything for a terminal."""
    changed = latest_first(past)
    unjudged = [trend for trend in past.trends if trend.rule is Rule.NONE]
    rest = [trend for trend in past.trends if not trend.turns and trend.rule is not Rule.NONE]
    steady = [trend for trend in rest if len(trend.points) > 1]
    single = [trend for trend in rest if len(trend.points) <= 1]
    steady.sort(key=lambda trend: trend.rule is not Rule.INTERVAL)  # exact values last
    lines = [headline(past)]
    models = len({trend.key["model"] for trend in past.trends}) > 1
    names = {id(trend): _name(trend.key, model=models) for trend in past.trends}
    for title, group, most in (
        ("changed", changed, len(changed)), ("steady", steady, SHOWN),
        ("in one run or none", single, SHOWN), (str(Rule.NONE), unjudged, SHOWN),
    ):  # fmt: skip
        width = min(max((len(names[id(trend)]) for trend in group[:most]), default=0), 70)
        lines += ["", f"{title}:"] * bool(group)
        for trend in group[:most]:
            lines.append(f"  {names[id(trend)]:<{width}}  {_line(trend, past)}")
            for turn in trend.turns:
                lines += [f"    {line}" for line in _turn_lines(turn, trend, past)]
        lines += [f"  … {len(group) - most} more: --csv has them all"] * (len(group) > most)
    if len(past.runs) == 1:
        lines += ["", "one run: nothing to compare it with yet"]
    else:
        lines += ["", f"chance of one false change among all of them: at most {ALPHA:.0%} (docs/history.md)"]
    return "\n".join(lines)


def headline(past: History) -> str:
    """How many runs, from when to when, and what came of them."""
    runs, first, last = len(past.runs), past.runs[0], past.runs[-1]
    span = first.created_utc[:16] + (f" … {last.created_utc[:16]}" if runs > 1 else "")
    changed = sum(bool(trend.turns) for trend in past.trends)
    return (
        f"{runs} run{'s' * (runs > 1)}, {tables.plain(span)}: {len(past.trends)} series"
        + f", {changed} changed"
        + f", {len(past.left_out)} runs left out" * bool(past.left_out)
    )


def latest_first(past: History) -> list[Trend]:
    """Series that changed, the latest change first."""
    changed = [trend for trend in past.trends if trend.turns]
    return sorted(
        changed, key=lambda trend: -int(past.frame["run"].iloc[trend.points[trend.turns[-1].level.at]])
    )


def _name(key: Mapping[str, Any], *, model: bool) -> str:
    place = f"{key['case']} {key['severity']}" if key["severity"] else str(key["case"])
    name = f"{key['target']}/{key['backend']} {key['variant']} {key['metric']} in {place}"
    name = f"{key['model']} {name}" if model else name
    name += f" ({key['setting']})" if key["setting"] != "deploy" else ""
    return tables.plain(name)


def _line(trend: Trend, past: History) -> str:
    value = past.frame["value"].to_numpy(np.float64)[trend.points]
    if not len(value):
        return "no valid value" + f" ({trend.invalid} invalid)" * bool(trend.invalid)
    unit = str(trend.key["unit"])
    ends = [number_text(float(end), unit) for end in (value[0], value[-1])]
    values = ends[0] if ends[0] == ends[1] else " -> ".join(ends)
    versions = len(version_spans(trend, past))
    more = [f"{len(value)} runs" if len(value) > 1 else "1 run"]
    more += [f"{versions} versions"] * (versions > 1) + [f"{trend.invalid} invalid"] * bool(trend.invalid)
    return f"{sparkline(value)}  {values}  ({', '.join(more)})"


def sparkline(value: NDArray[np.float64]) -> str:
    """Bars for numbers, lowest to highest; long series are means of equal parts."""
    parts = np.array_split(value, min(len(value), SPARK_WIDTH))
    means = np.array([part.mean() for part in parts])
    low, high = means.min(), means.max()
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        return SPARKS[0] * len(means)
    steps = ((means - low) / (high - low) * (len(SPARKS) - 1)).round().astype(int)
    return "".join(SPARKS[step] for step in steps)


def _turn_lines(turn: Turn, trend: Trend, past: History) -> list[str]:
    run = past.runs[int(past.frame["run"].iloc[trend.points[turn.level.at]])]
    unit = str(trend.key["unit"])
    before, after = (number_text(side.value, unit) for side in (turn.level.before, turn.level.after))
    text = f"{tables.plain(run.run_id)}  {turn.change}  {before} -> {after}, {size(turn, trend)}"
    if turn.why:
        text += f"; {tables.plain(turn.why)}"
    return [text, f"  {tables.plain(also(turn)) or 'no other known fact changed'}"]


def also(turn: Turn) -> str:
    """What else is not as it was before."""
    return ", ".join(f"{name} {_short(one)} -> {_short(two)}" for name, (one, two) in turn.also.items())


def size(turn: Turn, trend: Trend) -> str:
    """By how much, with the interval where there is one."""
    change, unit = turn.level.change, str(trend.key["unit"])
    exact = change.low == change.high
    if unit in RATIO_UNITS and turn.level.before.value > 0:
        return f"{change.value:.3g}x" + ("" if exact else f" [{change.low:.3g}, {change.high:.3g}]")
    numbers = [number_text(number, unit) for number in (change.value, change.low, change.high)]
    return f"by {numbers[0]}" + ("" if exact else f" [{numbers[1]}, {numbers[2]}]")


def _short(value: str) -> str:
    if len(value) == 64 and all(letter in "0123456789abcdef" for letter in value):
        return value[:8]
    return value or "(none)"


def points(past: History) -> pd.DataFrame:
    """One row a point: the series, the run, its versions, the level, and the change that begins there."""
    frames = []
    for trend in past.trends:
        rows = past.frame.iloc[trend.points]
        level, change, also = np.full(len(rows), math.nan), [""] * len(rows), [""] * len(rows)
        if len(rows) and trend.rule is not Rule.NONE:
            level[:] = trend.turns[0].level.before.value if trend.turns else rows["value"].mean()
        for turn in trend.turns:
            level[turn.level.at :] = turn.level.after.value
            change[turn.level.at] = str(turn.change)
            also[turn.level.at] = ", ".join(f"{k} {one} -> {two}" for k, (one, two) in turn.also.items())
        frames.append(rows.assign(level=level, change=change, also=also))
    frame = pd.concat(frames, ignore_index=True)
    runs = frame["run"].to_numpy(np.intp)
    frame["run_id"] = np.array([run.run_id for run in past.runs])[runs]
    frame["created_utc"] = np.array([run.created_utc for run in past.runs])[runs]
    frame["harness_version"] = np.array([harness_version(run) for run in past.runs])[runs]
    return frame[["run_id", "created_utc", *SERIES_COLUMNS, "value", "ci_low", "ci_high", "n",
                  *VERSION_COLUMNS, "harness_version", "level", "change", "also"]]  # fmt: skip


def as_json(past: History) -> str:
    """Everything for a machine."""
    return json.dumps(
        {
            "runs": [{"run_id": run.run_id, "created_utc": run.created_utc} for run in past.runs],
            "left_out": [{"run_id": left_out.run_id, "why": left_out.why} for left_out in past.left_out],
            "alpha": ALPHA,
            "series": [_series_json(trend, past) for trend in past.trends],
        },
        indent=1,
    )


def _series_json(trend: Trend, past: History) -> dict[str, Any]:
    rows = past.frame.iloc[trend.points]
    ids = [past.runs[run].run_id for run in rows["run"]]
    return {
        **{name: _plain_value(value) for name, value in trend.key.items()},
        "rule": str(trend.rule), "invalid": trend.invalid,
        "run_ids": ids, "values": rows["value"].tolist(),
        "versions": version_spans(trend, past),
        "changes": [
            {
                "run_id": ids[turn.level.at], "class": str(turn.change),
                "before": turn.level.before.value, "after": turn.level.after.value,
                "change": turn.level.change.value,
                "ci_low": turn.level.change.low, "ci_high": turn.level.change.high,
                "also": {name: list(sides) for name, sides in turn.also.items()},
            }
            for turn in trend.turns
        ],
    }  # fmt: skip


def _plain_value(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value
