"""Several runs: what differs, the largest regression first, and whether it matters."""

from __future__ import annotations

import pandas as pd

from harness.compare import Change
from harness.core.measurement import KEY_COLUMNS
from harness.report.comparison import ORDER, ranked, worst_device
from harness.report.html.data import ReportData, Section, Table

VALUES = ("unit", "base", "new", "kind", "change", "ci_low", "ci_high", "paired")


def comparison(data: ReportData) -> Section | None:
    """One table a pair of runs."""
    if not data.pairs:
        return None
    tables, said = [], []
    for number, pair in enumerate(data.pairs, 1):
        worse = pair.rows["class"] == Change.WORSE
        rows = ranked(pair.rows)
        rows = pd.concat([rows[rows["class"] == change] for change in ORDER])
        keys = [name for name in (*KEY_COLUMNS, "target_base", "target_new") if name in rows]
        columns = ("class", *keys, *VALUES, "why")
        frame = rows[list(columns)].astype({"paired": str})
        caption = f"{pair.new.label} against {pair.base.label}"
        tables.append(Table(f"comparison-{number}", caption, columns, frame.to_numpy(object).tolist()))
        worst = worst_device(pair)
        said.append(f"{caption}: {worse.sum()} rows got worse{f'; {worst}' if worst else ''}.")
    return Section("Comparison", 5, " ".join(said), (), tuple(tables))
