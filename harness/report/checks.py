"""The built-in checks as text: ``harness checks``."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from harness.core.check import Check
from harness.core.columns import aligned
from harness.core.verdict import Gate
from harness.device import plugins
from harness.gates.number_text import number_text

WIDTH = 100


def text(checks: Mapping[str, Check], name: str = "") -> str:
    """List the checks, or describe one.

    Raises
    ------
    UsageError
        There is no such check; the message has the nearest name.
    """
    if name:
        if name not in checks:
            raise plugins.unknown("check", name, checks)
        return _described(checks[name])
    lines = [("check", "suite", "bound", "a failure says")]
    lines += [(check.name, check.gate.suite, bound(check.gate), check.failure) for check in checks.values()]
    return "\n".join([*aligned(lines), "", "harness checks NAME   # why, and the faults that it catches"])


def bound(gate: Gate) -> str:
    """The limit in words: ``bad_input_refused >= 1``."""
    unit = gate.maximum_unit or gate.minimum_unit
    limits = [
        f"{gate.metric} {sign} {number_text(limit, unit)}"
        for sign, limit in (("<=", gate.maximum), (">=", gate.minimum))
        if limit is not None
    ]
    return " and ".join(limits)


def _described(check: Check) -> str:
    gate = check.gate
    rows = [
        ("check", check.name),
        ("bound", bound(gate)),
        ("rows", f"{gate.suite}, case {', '.join(gate.cases)}, setting {gate.setting}"),
        ("why", check.why),
        ("a failure says", check.failure),
        ("catches", ", ".join(check.faults) or "--"),
        ("does not block", "where it is undecided or the machine was disturbed")
        if gate.on_inconclusive == "warn"
        else ("blocks", "also where it is undecided"),
        ("to relax it", f'[checks.relax] {check.name} = "the reason", in validation.toml'),
    ]
    margin = max(len(title) for title, _ in rows) + 2
    return "\n".join(
        textwrap.fill(value, WIDTH, initial_indent=f"{title:<{margin}}", subsequent_indent=" " * margin,
                      break_on_hyphens=False)
        for title, value in rows
    )  # fmt: skip
