"""The environment of each machine, and every measurement."""

from __future__ import annotations

import json
from typing import Any

from harness.core.measurement import COLUMNS
from harness.report.html.data import ReportData, Section, Table


def environment(data: ReportData) -> Section | None:
    """Facts of each machine; a fact that did not change between two readings is listed once."""
    seen: dict[tuple[str, str, str, str], list[str]] = {}
    for record in (record for facts in data.facts for record in facts.environments):
        for name, value in sorted(record.facts.items()):
            key = (record.target, record.backend, name, _text(value))
            phases = seen.setdefault(key, [])
            if record.phase not in phases:
                phases.append(record.phase)
    if not seen:
        return None
    rows = [(*key, ", ".join(phases)) for key, phases in seen.items()]
    table = Table("environment", "Environment", ("target", "backend", "fact", "value", "when"), rows)
    return Section("Environment", 80, "", (), (table,))


def measurements(data: ReportData) -> Section | None:
    """All rows, as in ``measurements.csv``."""
    records = [row.to_record() for row in data.rows]
    if not records:
        return None
    rows = [[record[column] for column in COLUMNS] for record in records]
    table = Table("measurements", "Measurements", COLUMNS, rows)
    return Section("Measurements", 90, "", (), (table,))


def _text(value: Any) -> str:  # noqa: ANN401 - whatever a probe found
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
