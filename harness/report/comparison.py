"""A comparison for people and for pull requests: what got worse first, the worst device, the verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.cache import write_atomically, writing
from harness.compare import Change, Side
from harness.compare import compare as compare_rows
from harness.core.errors import UsageError
from harness.report import tables
from harness.report.gates import number_text
from harness.report.sides import Read, read

#: So many rows are shown of each class; the CSV has all.
SHOWN = 12
#: In this order they are shown.
ORDER = (
    Change.WORSE, Change.UNLIKE, Change.INVALID, Change.NOT_RUN, Change.CHANGED, Change.BETTER, Change.NOISE,
    Change.SAME,
)  # fmt: skip
#: Worst first: what a gate answers is worse than what it answered before where it stands further left.
_SEVERITY = ("FAIL", "INVALID", "NOT_RUN", "INCONCLUSIVE", "NOT_APPLICABLE", "PASS")
_EXIT = {"FAIL": 1, "INVALID": 3, "NOT_RUN": 3, "INCONCLUSIVE": 4}


@dataclass(frozen=True, slots=True)
class Pair:
    """BASE and one NEW.

    Parameters
    ----------
    base, new : Side
    rows : DataFrame
        See ``harness.compare.compare``.
    verdicts : DataFrame
        Gates of the new side: ``state``, ``state_base`` (NaN where the base has no such gate), ``sentence``.
    """

    base: Side
    new: Side
    devices: bool
    rows: pd.DataFrame
    verdicts: pd.DataFrame


def compare(base: str, new: Sequence[str], results: Path, *, devices: bool = False) -> tuple[Pair, ...]:
    """Read all sides and compare each with the first.

    Raises
    ------
    ResultsError, UsageError
        See ``harness.report.sides.read``; where devices are compared a side must hold one.
    """
    one = read(base, results)
    return tuple(_pair(one, read(name, results), devices) for name in new)


def against_baselines(folders: Sequence[Path], run: str, results: Path) -> tuple[Pair, ...]:
    """Compare a run with accepted ones, each with the same target of the run.

    Raises
    ------
    ResultsError, UsageError
        See `compare`; the run has none of the targets.
    """
    targets = set(read(run, results).side.frame["target"])
    mine = [folder for folder in folders if folder.parts[-2] in targets]
    if not mine:
        raise UsageError(
            f"{run} has none of the targets {', '.join(sorted({each.parts[-2] for each in folders}))}",
            where=str(results),
        )
    return tuple(
        pair for each in mine for pair in compare(str(each), [f"{run}:{each.parts[-2]}"], results)
    )  # fmt: skip


def _pair(base: Read, new: Read, devices: bool) -> Pair:
    targets = [set(each.side.frame["target"].unique()) for each in (base, new)]
    devices = devices or not targets[0] & targets[1]
    if devices:
        for each in (base, new):
            _one_device(each.side)
    rows = compare_rows(base.side, new.side, devices=devices)
    return Pair(base.side, new.side, devices, rows, _verdicts(base, new, devices))


def _one_device(side: Side) -> None:
    devices = side.frame[["target", "backend"]].drop_duplicates()
    found = sorted(f"{t}/{b}" for t, b in devices.itertuples(index=False))
    if len(found) > 1:
        raise UsageError(
            f"{side.label} holds {len(found)} devices, and devices are compared one with one",
            where=side.label,
            next_step=f"name one: {side.label}:{found[0]}  (there are {', '.join(found)})",
        )


def _verdicts(base: Read, new: Read, devices: bool) -> pd.DataFrame:
    keys = ["gate", "variant"] if devices else ["gate", "target", "backend", "variant"]
    columns = [
        *dict.fromkeys(["target", "backend", *keys]),
        "state",
        "severity",
        "on_inconclusive",
        "sentence",
        "waived",
    ]
    if new.verdicts is None:
        return pd.DataFrame(columns=[*columns, "state_base"])
    mine = new.verdicts[columns]
    if base.verdicts is None:
        return mine.assign(state_base=math.nan)
    theirs = base.verdicts[[*keys, "state"]].rename(columns={"state": "state_base"})
    return mine.merge(theirs.drop_duplicates(keys), on=keys, how="left")


def exit_code(pairs: Sequence[Pair]) -> int:
    """Code of the worst blocking gate of the new sides, in the order of the command line's codes."""
    codes = [
        _EXIT[row["state"]]
        for pair in pairs
        for row in pair.verdicts.to_dict("records")
        if row["state"] in _EXIT
        and row["severity"] == "block"
        and not row["waived"]
        and (row["state"] != "INCONCLUSIVE" or row["on_inconclusive"] == "block")
    ]
    return next((code for code in (1, 3, 4) if code in codes), 0)


def text(pairs: Sequence[Pair]) -> str:
    """Everything for a terminal."""
    return "\n\n".join("\n".join(_lines(pair)) for pair in pairs)


def _lines(pair: Pair) -> list[str]:
    rows = pair.rows
    counts = rows["class"].value_counts()
    said = ", ".join(f"{counts[change]} {change}" for change in ORDER if change in counts)
    lines = [
        f"base  {pair.base.label}",
        f"new   {pair.new.label}" + ("   (as devices)" if pair.devices else ""),
        f"{len(rows)} rows: {said}",
    ]
    for change in (Change.WORSE, Change.UNLIKE, Change.INVALID, Change.NOT_RUN, Change.BETTER):
        own = ranked(rows[rows["class"] == change])
        lines += ["", f"{change}:"] * bool(len(own))
        lines += [f"  {_row(row, pair)}" for row in own[:SHOWN].to_dict("records")]
        lines += [f"  … {len(own) - SHOWN} more"] * (len(own) > SHOWN)
    worst = worst_device(pair)
    lines += ["", f"worst device  {worst}"] * bool(worst)
    return [*lines, "", *_gate_lines(pair)]


def _gate_lines(pair: Pair) -> list[str]:
    verdicts = pair.verdicts
    if verdicts.empty:
        return ["gates  none: a table alone has no gates; give the run for its verdicts"]
    changed = verdicts[verdicts["state_base"].notna() & (verdicts["state_base"] != verdicts["state"])]
    lines = [
        f"gates  {row['state_base']} -> {row['state']}  {row['gate']}: {row['sentence']}"
        for row in changed.sort_values("state", key=lambda s: s.map(_SEVERITY.index)).to_dict("records")
    ]
    lines += [
        f"gates  waived {row['waived']}  {row['gate']}: {row['sentence']}"
        for row in verdicts[verdicts["waived"] != ""].to_dict("records")
    ]
    counts = verdicts["state"].value_counts()
    total = ", ".join(f"{counts[state]} {state}" for state in _SEVERITY if state in counts)
    before = not len(changed) and bool(verdicts["state_base"].notna().any())
    return [*lines, f"gates  {total}" + "; as before" * before]


def ranked(rows: pd.DataFrame) -> pd.DataFrame:
    """Sort rows by how far they moved: ratios by their logarithm, differences within their unit."""
    size = rows["change"].where(rows["kind"] != "ratio", np.log(rows["change"].abs().clip(1e-12))).abs()
    share = rows["base"].abs().where(rows["base"].abs() > 0, 1.0)
    relative = size.where((rows["kind"] == "ratio") | rows["unit"].isin(["pt"]), size / share)
    # A point of accuracy counts as much as a percent of time.
    relative = relative.where(rows["unit"] != "pt", size / 100).where(rows["unit"] != "1", size)
    return (
        rows.assign(_size=relative.fillna(math.inf))
        .sort_values("_size", ascending=False, kind="stable")
        .drop(columns="_size")
    )


def worst_device(pair: Pair) -> str:
    """Name the target with most rows that got worse; nothing where none did, and between devices."""
    if pair.devices:
        return ""
    worse = pair.rows[pair.rows["class"] == Change.WORSE]
    if worse.empty:
        return ""
    counts = worse.groupby(["target", "backend"]).size().sort_values(ascending=False)
    (target, backend), count = counts.index[0], counts.iloc[0]
    return f"{target}/{backend}: {count} of {len(worse)} rows that got worse"


def _row(row: Mapping[Any, Any], pair: Pair) -> str:
    device = "" if pair.devices else f"{row['target']}/{row['backend']} "
    place = f"{row['case']} {row['severity']}" if row["severity"] else f"{row['case']}"
    name = f"{device}{row['variant']} {row['metric']} in {place}"
    if row["setting"] != "deploy":
        name += f" ({row['setting']})"
    if row["class"] in (Change.NOT_RUN, Change.INVALID, Change.UNLIKE):
        return f"{name}: {row['why']}"
    return f"{name}: {_values(row)}"


def _values(row: Mapping[Any, Any]) -> str:
    unit, low = row["unit"], row["ci_low"]
    values = f"{number_text(row['base'], unit)} -> {number_text(row['new'], unit)}"
    numbers = [row["change"], low, row["ci_high"]]
    if row["kind"] == "ratio":
        said = [f"{each:.3g}" for each in numbers]
        return values + f", {said[0]}x" + ("" if math.isnan(low) else f" [{said[1]}, {said[2]}]")
    said = [number_text(each, unit) for each in numbers]
    how = ", paired" if row["paired"] else ""
    return values + ("" if math.isnan(low) else f", by {said[0]} [{said[1]}, {said[2]}]{how}")


def markdown(pairs: Sequence[Pair]) -> str:
    """A summary for a pull request: gates that changed, then what got worse."""
    parts = []
    for pair in pairs:
        lines = [f"### {_cell(pair.new.label)} against {_cell(pair.base.label)}", ""]
        counts = pair.rows["class"].value_counts()
        lines.append(", ".join(f"{counts[change]} {change}" for change in ORDER if change in counts))
        lines += ["", *[f"- {_cell(line.removeprefix('gates').strip())}" for line in _gate_lines(pair)]]
        worse = ranked(pair.rows[pair.rows["class"] == Change.WORSE])[:SHOWN]
        if len(worse):
            lines += ["", "| what | target | base | new | change [interval] |", "|---|---|---|---|---|"]
        for row in worse.to_dict("records"):
            target = pair.new.label if pair.devices else f"{row['target']}/{row['backend']}"
            values, _, change = _values(row).partition(", ")
            base, _, new = values.partition(" -> ")
            place = f"{row['case']} {row['severity']}" if row["severity"] else row["case"]
            what = f"{row['variant']} {row['metric']} in {place}"
            lines.append("| " + " | ".join(map(_cell, (what, target, base, new, change))) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _cell(text_: object) -> str:
    """Names come from strangers: no HTML, no new column, no new line."""
    safe = str(text_).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return " ".join(safe.split())


def write(pairs: Sequence[Pair], csv: Path | None, summary: Path | None) -> None:
    """Write the files that were asked for, each whole or not at all."""
    if csv is not None:
        frames = [pair.rows.assign(base_label=pair.base.label, new_label=pair.new.label) for pair in pairs]
        frame = pd.concat(frames, ignore_index=True)
        tables.write_frame(csv, frame)
    if summary is not None:
        with writing(summary):
            write_atomically(summary, markdown(pairs).encode())
