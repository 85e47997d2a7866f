"""The worst family, class, group and window of time of each variant, and the classes that lost most."""

from __future__ import annotations

from collections import defaultdict

from harness.core.measurement import Row
from harness.core.metric import Role
from harness.report.html.data import ReportData, Section, Table
from harness.report.html.sections import points

#: So many classes of each variant on each device are listed.
CLASSES = 10
PLACE = ("target", "backend", "variant")
NUMBERS = ("metric", "unit", "value", "low", "high", "n")
INTRO = (
    "A mean hides what is lost of one part of the data. The interval of a worst part holds for all parts of "
    "its kind together."
)


def worst(data: ReportData) -> Section | None:
    """One plot of the worst parts, a table that names them, and one of the classes that lost most."""
    parts = [row for row in _rows(data, Role.WORST_LOSS) if points.has_value(row)]
    classes = _classes(data)
    if not parts:
        return None
    named = [(row.measurement.metric.replace("_", " "), row) for row in parts]
    units = sorted({row.measurement.unit for row in parts})
    plots = tuple(
        points.plot(
            "Loss of the worst parts",
            f"Loss of the worst part of each kind, in {unit}; the table names the parts.",
            "part",
            "loss",
            [(name, row) for name, row in named if row.measurement.unit == unit],
        )
        for unit in units
    )
    named_parts = [(*_place(row), *_numbers(row), row.measurement.reason) for row in parts]
    tables = [Table("worst_parts", "Worst parts", (*PLACE, *NUMBERS, "part"), named_parts)]
    if classes:
        lines = [(*_place(row), row.case.partition("/")[2], *_numbers(row)) for row in classes]
        title = f"The {CLASSES} classes that lost most"
        tables.append(Table("worst_classes", title, (*PLACE, "class", *NUMBERS), lines))
    return Section("Worst parts", 34, INTRO, plots, tuple(tables))


def _rows(data: ReportData, role: Role) -> list[Row]:
    names = {(suite, name) for suite, name, _ in data.metrics.with_role(role)}
    return [
        row
        for row in data.device_rows
        if (row.key.suite, row.measurement.metric) in names and row.key.setting == "deploy"
    ]


def _place(row: Row) -> tuple[str, ...]:
    return row.key.target, row.key.backend, row.key.variant


def _numbers(row: Row) -> tuple[object, ...]:
    m = row.measurement
    return m.metric, m.unit, m.value, m.ci_low, m.ci_high, m.n


def _classes(data: ReportData) -> list[Row]:
    """The classes of each variant on each device that lost most, the worst first."""
    by_device: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in _rows(data, Role.CLASS_LOSS):
        if points.has_value(row):
            by_device[row.key.target, row.key.backend, row.key.variant].append(row)
    return [
        row
        for rows in by_device.values()
        for row in sorted(rows, key=lambda row: -row.measurement.value)[:CLASSES]
        if row.measurement.value > 0
    ]
