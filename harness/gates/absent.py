"""Why no row matches a gate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from harness.core.measurement import WHOLE_CASE, Row
from harness.core.verdict import Gate, matches

#: At most so many of the values that the rows have are listed.
NAMED = 8


def absent(gate: Gate, rows: Sequence[Row]) -> str:
    """Name the first of a gate's patterns that no row matches, and the values that the rows have instead.

    Parameters
    ----------
    gate : Gate
        No row matches it.
    rows : sequence of Row
        Of one target, backend and variant.
    """
    rows = [row for row in rows if row.key.suite == gate.suite and row.measurement.metric != WHOLE_CASE]
    steps: tuple[tuple[str, Callable[[Row], object], Callable[[Row], bool], str], ...] = (
        (
            "metric", lambda row: row.measurement.metric,
            lambda row: fnmatchcase(row.measurement.metric, gate.metric), gate.metric,
        ),
        (
            "setting", lambda row: row.key.setting,
            lambda row: row.key.setting == gate.setting, gate.setting,
        ),
        (
            "case", lambda row: row.case,
            lambda row: matches(row.case, gate.cases), " or ".join(gate.cases),
        ),
        (
            "severity", lambda row: row.severity,
            lambda row: not gate.severities or row.severity in gate.severities,
            " or ".join(map(str, gate.severities)),
        ),
        (
            "reference", lambda row: row.measurement.reference,
            lambda row: fnmatchcase(row.measurement.reference, gate.reference), gate.reference,
        ),
    )  # fmt: skip
    what = f"no row of the suite {gate.suite}"
    for name, value, fits, wanted in steps:
        left = [row for row in rows if fits(row)]
        if not left:
            present = sorted({str(value(row)) or "none" for row in rows})
            instead = f"; the rows have {', '.join(present[:NAMED])}" if present else ""
            more = ", …" if len(present) > NAMED else ""
            return f"{what} has the {name} {wanted}{instead}{more}"
        rows, what = left, f"no row of {gate.metric}" if name == "metric" else what
        if name == "case" and gate.cases != ("*",):
            what += f" in {', '.join(gate.cases)}"
    return f"no row has the metric {gate.metric}"
