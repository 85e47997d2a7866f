"""What variants lose under each family of shifts beyond their loss on clean data, and corruption errors."""

from __future__ import annotations

from harness.core.measurement import Row
from harness.core.metric import Role
from harness.report.html.data import ReportData, Section, Table
from harness.report.html.sections import points

COLUMNS = ("target", "backend", "variant", "family", "metric", "unit", "value", "low", "high", "n",
           "status", "reason")  # fmt: skip
INTRO = (
    "Extra loss is what a variant loses under a shift beyond what it loses on clean data, against the float "
    "model on the host under the same shift; above zero it is more sensitive. A corruption error is its "
    "errors over those of the reference, all severities together: above 1 it makes more."
)


def shift(data: ReportData) -> Section | None:
    """One plot of the extra loss by family, and a table that also has the corruption errors."""
    extra = _with_role(data, Role.EXTRA_LOSS)
    rows = [*extra, *_with_role(data, Role.CORRUPTION_ERROR)]
    if not rows:
        return None
    drawn = [(row.case, row) for row in extra if points.has_value(row)]
    caption = "Extra loss by family of shifts"
    text = "Extra loss of each variant under each family of shifts, with its interval."
    plots = (points.plot(caption, text, "family", "extra loss", drawn),) if drawn else ()
    table = Table("shift_losses", "Losses by family of shifts", COLUMNS, [_line(row) for row in rows])
    return Section("Loss under shift", 32, INTRO, plots, (table,))


def _with_role(data: ReportData, role: Role) -> list[Row]:
    names = {(suite, name) for suite, name, _ in data.metrics.with_role(role)}
    return [row for row in data.device_rows if (row.key.suite, row.measurement.metric) in names]


def _line(row: Row) -> tuple[object, ...]:
    key, m = row.key, row.measurement
    return (
        key.target, key.backend, key.variant, row.case, m.metric, m.unit, m.value, m.ci_low, m.ci_high, m.n,
        m.status.value, m.reason,
    )  # fmt: skip
