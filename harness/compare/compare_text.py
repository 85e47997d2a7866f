"""A comparison for people and for pull requests: what got worse first, the worst device, the verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness.compare.materiality import Materiality, ranked, standings
from harness.compare.pairs import Pair
from harness.core.exit_code import ExitCode, first_of
from harness.core.verdict import State, blocks
from harness.gates.number_text import number_text
from harness.stats.table_changes import NO_DIRECTION, Change
from harness.store import tables
from harness.store.cache import write_atomically, writing

#: Most rows to show of a class; the CSV has all.
SHOWN = 12
#: Most metrics to name where many rows have one reason.
NAMED = 4
#: Classes of rows whose difference is not known.
UNTOLD = (Change.UNLIKE, Change.INVALID, Change.NOT_RUN)
#: In this order they are shown.
ORDER = (
    Change.WORSE, Change.UNCLEAR, Change.UNLIKE, Change.INVALID, Change.NOT_RUN, Change.CHANGED,
    Change.BETTER, Change.NOISE, Change.SAME,
)  # fmt: skip
#: Titles of classes that their name does not explain.
TITLES = {Change.UNCLEAR: "unclear: not significant among so many rows, or measured beside another load"}
MATTERS = {
    Materiality.YES: "it matters",
    Materiality.NO: "it does not matter",
    Materiality.OPEN: "whether it matters is open",
}


def exit_code(pairs: Sequence[Pair]) -> ExitCode:
    """Code of the worst blocking gate of the new sides, in the order of the command line's codes."""
    return first_of(
        State(row["state"]).exit_code
        for pair in pairs
        for row in pair.verdicts.to_dict("records")
        if blocks(State(row["state"]), row["severity"], row["on_inconclusive"], row["waived"])
    )


def text(pairs: Sequence[Pair]) -> str:
    """Everything for a terminal."""
    parts = ["\n".join(_lines(pair)) for pair in pairs]
    moved = _moved(pairs)
    if moved:
        lines = (f"  {device}\n    {worst}" for device, worst in moved)
        parts.append("\n".join(["devices, worst first:", *lines]))
    return "\n\n".join(parts)


def _moved(pairs: Sequence[Pair]) -> list[tuple[str, str]]:
    """Devices with regressions, and the largest regression of each; the worst device first."""
    return [
        (f"{device.name}: {device.counts[Change.WORSE]} of {sum(device.counts.values())} rows got worse; "
         f"{MATTERS[device.matters]}", f"{described(device.worst)}; {device.worst['because']}")
        for device in standings(pairs) if device.worst is not None
    ]  # fmt: skip


def _lines(pair: Pair) -> list[str]:
    rows = pair.rows
    counts = rows["class"].value_counts()
    total = ", ".join(f"{counts[change]} {change}" for change in ORDER if change in counts)
    lines = [
        f"base  {pair.base.label}",
        f"new   {pair.new.label}" + ("   (as devices)" if pair.devices else ""),
        f"{len(rows)} rows: {total}",
        *(f"damaged  {line}" for line in pair.damaged),
        *pair.notes,
        *_undeclared(pair),
    ]
    for change in (Change.WORSE, *UNTOLD, Change.BETTER, Change.UNCLEAR):
        of_class = ranked(rows[rows["class"] == change])
        every = _reasons(of_class) if change in UNTOLD else None
        shown = every[:SHOWN] if every else [_row(row, pair) for row in of_class[:SHOWN].to_dict("records")]
        if shown:
            lines += ["", f"{TITLES.get(change, change)}:"]
        lines += [f"  {line}" for line in shown]
        left = len(of_class if every is None else every) - SHOWN
        lines += [f"  … {left} more"] * (left > 0)
    return [*lines, "", *_gate_lines(pair)]


def _undeclared(pair: Pair) -> list[str]:
    """One line per metric that changed and that no suite declares."""
    rows = pair.rows[pair.rows["why"].str.endswith(NO_DIRECTION)]
    return [f"{why} ({len(group)} rows changed)" for why, group in rows.groupby("why", sort=False)]


def _gate_lines(pair: Pair) -> list[str]:
    verdicts = pair.verdicts
    if verdicts.empty:
        return ["gates  none: a table alone has no gates; give the run for its verdicts"]
    changed = verdicts[verdicts["state_base"].notna() & (verdicts["state_base"] != verdicts["state"])]
    lines = [
        f"gates  {row['state_base']} -> {row['state']}  {row['gate']}: {row['sentence']}"
        for row in changed.sort_values(
            "state", key=lambda states: states.map(lambda state: State(state).rank)
        ).to_dict("records")
    ]
    lines += [
        f"gates  waived {row['waived']}  {row['gate']}: {row['sentence']}"
        for row in verdicts[verdicts["waived"] != ""].to_dict("records")
    ]
    judged = verdicts["state_base"].notna()
    fresh = verdicts[~judged & ~verdicts["state"].isin([State.PASS, State.NOT_APPLICABLE])]
    lines += [
        f"gates  {row['state']}, not asked in the base  {row['gate']}: {row['sentence']}"
        for row in (fresh.to_dict("records") if judged.any() else ())
    ]
    counts = verdicts["state"].value_counts()
    total = ", ".join(
        f"{counts[state]} {state}" for state in sorted(State, key=lambda state: state.rank) if state in counts
    )
    before = not len(changed) and bool(judged.all())
    return [*lines, f"gates  {total}" + "; as before" * before]


def _ranks(states: pd.Series) -> pd.Series:
    return states.map(lambda state: State(state).rank)


def _reasons(rows: pd.DataFrame) -> list[str]:
    """One line per reason: hundreds of rows of an emulated device may have the same one."""
    lines = []
    for why, group in rows.groupby("why", sort=False):
        metrics = list(dict.fromkeys(group["metric"]))
        named = ", ".join(map(str, metrics[:NAMED])) + ", …" * (len(metrics) > NAMED)
        lines.append(f"{len(group)} rows ({named}): {why}")
    return lines


def _row(row: Mapping[Any, Any], pair: Pair) -> str:
    text_ = ("" if pair.devices else f"{row['target']}/{row['backend']} ") + described(row)
    return f"{text_}; {row['why'].partition(',')[0]}" if row["class"] == Change.UNCLEAR else text_


def described(row: Mapping[Any, Any]) -> str:
    """Describe what changed and by how much, without the device."""
    place = f"{row['case']} {row['severity']}" if row["severity"] else f"{row['case']}"
    name = f"{row['variant']} {row['metric']} in {place}"
    if row["setting"] != "deploy":
        name += f" ({row['setting']})"
    if row["class"] in UNTOLD:
        return f"{name}: {row['why']}"
    return f"{name}: {_values(row)}"


def _values(row: Mapping[Any, Any]) -> str:
    unit, low = row["unit"], row["ci_low"]
    values = " -> ".join(_apart(row["base"], row["new"], unit))
    numbers = [row["change"], low, row["ci_high"]]
    if row["kind"] == "ratio":
        # A ratio close to 1 gets enough digits to differ from 1.
        near = abs(numbers[0] - 1)
        digits = 3 if not 0 < near < 5e-3 else 2 - math.floor(math.log10(near))
        texts = [f"{number:.{digits}g}" for number in numbers]
        return values + f", {texts[0]}x" + ("" if math.isnan(low) else f" [{texts[1]}, {texts[2]}]")
    texts = [number_text(number, unit) for number in numbers]
    how = f", paired over {row['n']:.0f}" if row["paired"] else ""
    return values + ("" if math.isnan(low) else f", by {texts[0]} [{texts[1]}, {texts[2]}]{how}")


def _apart(base: float, new: float, unit: str) -> tuple[str, str]:
    """Format both values with enough digits to differ."""
    for more in range(6):
        texts = number_text(base, unit, more=more), number_text(new, unit, more=more)
        if texts[0] != texts[1] or base == new:
            break
    return texts


def markdown(pairs: Sequence[Pair]) -> str:
    """A summary for a pull request: gates that changed, then what got worse."""
    parts = []
    for pair in pairs:
        lines = [f"### {_cell(pair.new.label)} against {_cell(pair.base.label)}", ""]
        counts = pair.rows["class"].value_counts()
        lines.append(", ".join(f"{counts[change]} {change}" for change in ORDER if change in counts))
        lines += [f"- {_cell(line)}" for line in (*pair.damaged, *pair.notes, *_undeclared(pair))]
        lines += ["", *[f"- {_cell(line.removeprefix('gates').strip())}" for line in _gate_lines(pair)]]
        for change in (Change.WORSE, Change.UNCLEAR):
            lines += _markdown_table(pair, change)
        parts.append("\n".join(lines))
    if moved := _moved(pairs):
        parts.append("### Devices, worst first\n")
        parts[-1] += "".join(f"\n- {_cell(device)}: {_cell(worst)}" for device, worst in moved)
    return "\n\n".join(parts) + "\n"


def _markdown_table(pair: Pair, change: Change) -> list[str]:
    rows = ranked(pair.rows[pair.rows["class"] == change])
    if rows.empty:
        return []
    title = [f"{TITLES[change]}:", ""] if change in TITLES else []
    lines = ["", *title, "| what | target | base | new | change [interval] |", "|---|---|---|---|---|"]
    for row in rows[:SHOWN].to_dict("records"):
        target = pair.new.label if pair.devices else f"{row['target']}/{row['backend']}"
        values, _, by = _values(row).partition(", ")
        base, _, new = values.partition(" -> ")
        place = f"{row['case']} {row['severity']}" if row["severity"] else row["case"]
        what = f"{row['variant']} {row['metric']} in {place}"
        lines.append("| " + " | ".join(map(_cell, (what, target, base, new, by))) + " |")
    return lines


def _cell(text_: object) -> str:
    """Escape untrusted text for a Markdown table: no HTML, no new column, no new line."""
    safe = str(text_).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return " ".join(safe.split())


def write(pairs: Sequence[Pair], csv: Path | None, summary: Path | None) -> None:
    """Write the requested files atomically."""
    if csv is not None:
        frames = [pair.rows.assign(base_label=pair.base.label, new_label=pair.new.label) for pair in pairs]
        frame = pd.concat(frames, ignore_index=True)
        tables.write_frame(csv, frame)
    if summary is not None:
        with writing(summary):
            write_atomically(summary, markdown(pairs).encode())
