"""Several runs: which device differs, what by, and whether it matters."""

from __future__ import annotations

import pandas as pd

from harness.compare.compare_text import MATTERS, ORDER, UNTOLD, described
from harness.compare.materiality import DEVICE, Standing, ranked, standings, weigh
from harness.compare.pairs import Pair
from harness.core.measurement import KEY_COLUMNS
from harness.report.html.data import ReportData, Section, Table
from harness.stats.table_changes import Change

VALUES = ("unit", "base", "new", "kind", "change", "ci_low", "ci_high", "paired", "n")
DEVICES = ("matters", "device", "worse", "better", "within noise", "same", "not compared", "gates",
           "got worse by most", "because", "against")  # fmt: skip
#: Rows in this order: first what is known to differ.
CLASSES = (*(change for change in ORDER[:-2] if change not in UNTOLD), *UNTOLD, *ORDER[-2:])
#: A page of more rows would be too large: then those that did not change are left out.
MOST_ROWS = 60_000


def comparison(data: ReportData) -> Section | None:
    """A line a device, the worst first, and a line a row of each pair."""
    if not data.pairs:
        return None
    found = standings(data.pairs)
    first = found[0]
    count = "1 device" if len(found) == 1 else f"{len(found)} devices"
    said = f"{count} against {first.base}." if len({each.base for each in found}) == 1 else ""
    if first.worst is None:
        said += " No row got worse."
    else:
        said += (
            f" Worst: {first.name}, {first.counts[Change.WORSE]} rows got worse, most of all "
            f"{described(first.worst)}; {MATTERS[first.matters]}: {first.worst['because']}."
        )
    total = sum(len(pair.rows) for pair in data.pairs)
    rows = pd.concat([_rows(pair, all_=total <= MOST_ROWS) for pair in data.pairs], ignore_index=True)
    if total > MOST_ROWS:
        said += f" The {total - len(rows):,} rows that are the same or within noise are left out."
    rows = ranked(rows)
    rows = pd.concat([rows[rows["class"] == change] for change in CLASSES])
    every = Table("comparison", "What differs", tuple(rows.columns), rows.to_numpy(object).tolist())
    devices = Table("devices", "Devices, worst first", DEVICES, [_line(each) for each in found])
    return Section("Comparison", 5, said.strip(), (), (devices, every))


def _line(each: Standing) -> tuple[object, ...]:
    count = each.counts
    untold = sum(count.get(change, 0) for change in (*UNTOLD, Change.CHANGED))
    gates = ", ".join(f"{number} {state}" for state, number in each.gates.items())
    worst = described(each.worst) if each.worst is not None else ""
    because = each.worst["because"] if each.worst is not None else ""
    numbers = (count.get(change, 0) for change in (Change.WORSE, Change.BETTER, Change.NOISE, Change.SAME))
    return (str(each.matters), each.name, *numbers, untold, gates, worst, because, each.base)


def _rows(pair: Pair, *, all_: bool) -> pd.DataFrame:
    rows = pair.rows if all_ else pair.rows[~pair.rows["class"].isin([Change.SAME, Change.NOISE])]
    rows = rows.join(weigh(rows, pair))
    if pair.devices:
        rows = rows.rename(columns={f"{name}_new": name for name in DEVICE})
    rows = rows.assign(run=pair.new.label, against=pair.base.label).astype({"paired": str})
    return rows[["matters", "class", *KEY_COLUMNS, *VALUES, "because", "run", "against"]]
