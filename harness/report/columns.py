"""The columns of the table at the end of a run, as the suites declare them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from harness.config.validation import FLOAT32
from harness.core.job import DEPLOY, Status
from harness.core.measurement import Measurement, Row
from harness.core.metric import Column, Declared, Metric, Role
from harness.store.tables import plain

#: In this order metrics with a role are shown; those without one come last.
ORDER = (Role.RESULT, Role.AGREEMENT, Role.LOSS, Role.LATENCY, Role.TAIL, Role.MEMORY, Role.SIZE)
#: What a cell without a value shows.
NOTHING = "--"


@dataclass(frozen=True, slots=True)
class TableColumn:
    """One column: its title, when it is left out, and what it shows of the rows of one variant.

    ``invalid`` gives the reason where the value of a variant is shown with a question mark, else None.
    """

    title: str
    spare: int
    cell: Callable[[Sequence[Row]], str]
    invalid: Callable[[Sequence[Row]], str | None] = lambda rows: None


def columns(metrics: Declared, variants: Collection[Sequence[Row]]) -> list[TableColumn]:
    """Choose the columns in which something was measured.

    Parameters
    ----------
    metrics : Declared
    variants : collection of sequence of Row
        The rows of each line of the table.
    """
    shown = [entry for entry in metrics.with_role(*ORDER) if entry[2].column is not None]
    shown += [
        entry for entry in metrics.every() if entry[2].column is not None and entry[2].role not in ORDER
    ]
    chosen: dict[str, TableColumn] = {}
    results: list[TableColumn] = []
    has_result = False
    for suite, name, metric in shown:
        assert metric.column is not None
        if metric.role is Role.AGREEMENT and has_result:
            continue
        column = _value_column(suite, name, metric, metric.column)
        if all(column.cell(rows) == NOTHING for rows in variants):
            continue
        has_result |= metric.role is Role.RESULT
        title = plain(column.title if column.title not in chosen else f"{suite} {column.title}")
        chosen[title] = TableColumn(title, column.spare, column.cell, column.invalid)
        if metric.shift_column is not None:
            results.append(_shift_column(suite, name, metric, metric.shift_column))
    return _with_shifts(list(chosen.values()), results, variants)


def _with_shifts(
    chosen: list[TableColumn], shifts: Sequence[TableColumn], variants: Collection[Sequence[Row]]
) -> list[TableColumn]:
    """Put the worst shifts before the first column that may be left out."""
    measured = [column for column in shifts if any(column.cell(rows) != NOTHING for rows in variants)]
    place = next((index for index, column in enumerate(chosen) if column.spare), len(chosen))
    return [*chosen[:place], *measured, *chosen[place:]]


def _value_column(suite: str, name: str, metric: Metric, column: Column) -> TableColumn:
    def cell(rows: Sequence[Row]) -> str:
        measurement = _measured(rows, suite, name, metric.case)
        if measurement is None:
            return NOTHING
        text = column.text(measurement.value)
        if column.bound:
            text += f" [{column.text(measurement.ci_high)}]"
        return f"{text}?" if measurement.status is Status.INVALID else text

    def invalid(rows: Sequence[Row]) -> str | None:
        measurement = _measured(rows, suite, name, metric.case)
        is_invalid = measurement is not None and measurement.status is Status.INVALID
        return measurement.reason if measurement is not None and is_invalid else None

    return TableColumn(column.title, column.spare, cell, invalid)


def _shift_column(suite: str, name: str, metric: Metric, column: Column) -> TableColumn:
    def cell(rows: Sequence[Row]) -> str:
        shifted = [
            (float(metric.goodness(row.measurement.value)), row.case, row.severity, row.measurement.value)
            for row in rows
            if row.severity and _is_of(row, suite, name) and not math.isnan(row.measurement.value)
        ]
        unshifted = _measured(rows, suite, name, metric.case)
        if not shifted or unshifted is None:
            return NOTHING
        _, case, severity, value = min(shifted)
        return f"{case} {severity} {column.text(value - unshifted.value)}"

    return TableColumn(plain(column.title), column.spare, cell)


def _is_of(row: Row, suite: str, name: str) -> bool:
    key = row.key
    return (key.suite, row.measurement.metric, key.setting) == (suite, name, DEPLOY)


def _measured(rows: Sequence[Row], suite: str, name: str, case: str) -> Measurement | None:
    """The measurement in the case that stands for the variant; of a metric without one, the first."""
    for row in rows:
        if _is_of(row, suite, name) and case in ("", row.case):
            m = row.measurement
            return m if m.status in (Status.OK, Status.INVALID) and not math.isnan(m.value) else None
    return None


def variant_name(variant: str, rows: Iterable[Row]) -> str:
    """Return the name of a variant, and what its file is where the reference is no float file."""
    quantized = {p for row in rows if (p := str(row.identity.get("precision", ""))).startswith("int")}
    return f"{variant} ({', '.join(sorted(quantized))} file)" if variant == FLOAT32 and quantized else variant
