"""Several runs: which device differs, in what, and whether it matters."""

from __future__ import annotations

import pandas as pd

from harness.compare.compare_text import MATTERS, ORDER, UNTOLD, described
from harness.compare.materiality import DEVICE, Standing, assess, ranked, standings
from harness.compare.pairs import Pair
from harness.core.measurement import KEY_COLUMNS
from harness.report.html.data import ReportData, Section, Table
from harness.stats.table_changes import Change

VALUES = ("unit", "base", "new", "kind", "change", "ci_low", "ci_high", "paired", "n")
DEVICES = ("matters", "device", "worse", "unclear", "better", "within noise", "same", "not compared", "gates",
           "got worse by most", "because", "against")  # fmt: skip
#: Order of the rows: first those that differ for certain.
CLASSES = (*(change for change in ORDER[:-2] if change not in UNTOLD), *UNTOLD, *ORDER[-2:])
#: A page with more rows would be too large: then unchanged rows are left out.
MOST_ROWS = 60_000


def comparison(data: ReportData) -> Section | None:
    """One line per device, worst first, and one line per row of each pair."""
    if not data.pairs:
        return None
    devices = standings(data.pairs)
    first = devices[0]
    intro = ""
    if len({device.base for device in devices}) == 1:
        count = "1 device" if len(devices) == 1 else f"{len(devices)} devices"
        intro = f"{count} against {first.base}."
    if first.worst is None:
        intro += " No row got worse."
    else:
        intro += (
            f" Worst: {first.name}, {first.counts[Change.WORSE]} rows got worse, most of all "
            f"{described(first.worst)}; {MATTERS[first.matters]}: {first.worst['because']}."
        )
    intro += "".join(f" {line[0].upper()}{line[1:]}." for pair in data.pairs for line in pair.notes)
    total = sum(len(pair.rows) for pair in data.pairs)
    rows = pd.concat([_rows(pair, all_=total <= MOST_ROWS) for pair in data.pairs], ignore_index=True)
    if total > MOST_ROWS:
        intro += f" The {total - len(rows):,} rows that are the same or within noise are left out."
    rows = ranked(rows)
    rows = pd.concat([rows[rows["class"] == change] for change in CLASSES])
    every = Table("comparison", "What differs", tuple(rows.columns), rows.to_numpy(object).tolist())
    ranking = Table("devices", "Devices, worst first", DEVICES, [_line(device) for device in devices])
    return Section("Comparison", 5, intro.strip(), (), (ranking, every))


def _line(device: Standing) -> tuple[object, ...]:
    count = device.counts
    untold = sum(count.get(change, 0) for change in (*UNTOLD, Change.CHANGED))
    gates = ", ".join(f"{number} {state}" for state, number in device.gates.items())
    worst = described(device.worst) if device.worst is not None else ""
    because = device.worst["because"] if device.worst is not None else ""
    shown = (Change.WORSE, Change.UNCLEAR, Change.BETTER, Change.NOISE, Change.SAME)
    numbers = (count.get(change, 0) for change in shown)
    return (str(device.matters), device.name, *numbers, untold, gates, worst, because, device.base)


def _rows(pair: Pair, *, all_: bool) -> pd.DataFrame:
    rows = pair.rows if all_ else pair.rows[~pair.rows["class"].isin([Change.SAME, Change.NOISE])]
    rows = rows.join(assess(rows, pair))
    if pair.devices:
        rows = rows.rename(columns={f"{name}_new": name for name in DEVICE})
    rows = rows.assign(run=pair.new.label, against=pair.base.label).astype({"paired": str})
    return rows[["matters", "class", *KEY_COLUMNS, *VALUES, "because", "run", "against"]]
