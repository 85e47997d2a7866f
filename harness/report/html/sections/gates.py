"""Every verdict; those that block the release first."""

from __future__ import annotations

from harness.core.verdict import Verdict
from harness.report.html.data import ReportData, Section, Table

COLUMNS = ("state", "why", "gate", "kind", "target", "backend", "variant", "value", "low", "high", "limit",
           "unit", "n", "severity", "waived")  # fmt: skip


def gates(data: ReportData) -> Section | None:
    """One line per gate or built-in check, target and variant."""
    if not data.verdicts:
        return None
    ranked = sorted(data.verdicts, key=lambda verdict: not verdict.blocks)
    blocking = sum(verdict.blocks for verdict in ranked)
    table = Table("gates", "Gates", COLUMNS, [_row(verdict) for verdict in ranked])
    return Section("Gates", 10, f"{blocking} of {len(ranked)} block the release.", (), (table,))


def _row(v: Verdict) -> tuple[object, ...]:
    return (v.state.value, v.sentence, v.gate, v.kind, v.target, v.backend, v.variant, v.value, v.ci_low,
            v.ci_high, v.limit, v.unit, v.n, v.severity, v.waived)  # fmt: skip
