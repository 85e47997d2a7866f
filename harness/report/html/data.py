"""Input and output of a section of the report."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.compare.pairs import Pair
from harness.core.measurement import Row
from harness.core.metric import Declared
from harness.core.plan import HOST
from harness.core.verdict import State, Verdict
from harness.run import declared
from harness.stats.device_agreement import Agreement
from harness.stats.table_changes import Side
from harness.store.run_folder import Facts


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the page makes it sortable, filterable and downloadable.

    Parameters
    ----------
    name : str
        Name of the CSV file without its suffix; unique on the page.
    caption : str
    columns : tuple of str
    rows : sequence of sequence
        Text or numbers, one per column; NaN and None are empty cells.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]

    def packed(self) -> dict[str, Any]:
        """Columns as JSON: a dictionary and codes for text, six digits for numbers."""
        return {
            "name": self.name,
            "columns": [_pack(title, [row[i] for row in self.rows]) for i, title in enumerate(self.columns)],
        }


@dataclass(frozen=True, slots=True)
class Plot:
    """A figure for plotly, with a text alternative.

    Parameters
    ----------
    caption : str
    text : str
        What the figure shows, in a sentence.
    traces : sequence of mapping
        In plotly's JSON format.
    layout : mapping
        Titles and axes; the page adds colours and size.
    """

    caption: str
    text: str
    traces: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any] = field(default_factory=dict)

    def packed(self) -> dict[str, Any]:
        """The figure as JSON."""
        return {"traces": self.traces, "layout": self.layout}


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the page; sections are sorted by ``order``.

    Parameters
    ----------
    title : str
    order : int
    intro : str
    plots : tuple of Plot
    tables : tuple of Table
    folded : str
        What stands in place of the plots until the reader opens them; empty where they are open.
    """

    title: str
    order: int
    intro: str = ""
    plots: tuple[Plot, ...] = ()
    tables: tuple[Table, ...] = ()
    folded: str = ""


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything that the sections read.

    Parameters
    ----------
    facts : tuple of Facts
        Raw samples, environments and cards of the runs on the page; no two of them share a target.
    rows, verdicts
        Those of these runs.
    state : State
        The worst of their states.
    notes : tuple of str
        What was not measured.
    pairs : tuple of Pair
        The first run named against each of the others; empty where one run was named.
    agreements : tuple of Agreement
        Between each two devices, in the order in which they were named.
    base : Side, optional
        The first run named, where it is not on the page itself.
    metrics : Declared
        What the suites declare of the metrics.
    challenges : tuple of mapping
        The newest challenge of each run's model on each of its targets (``harness.store.challenges``).
    untested : tuple of str
        What was not tested, although the reader may expect it.
    explanations : tuple of mapping
        Why gates and checks of the runs fail (``harness.store.explanations``).
    """

    facts: tuple[Facts, ...]
    rows: tuple[Row, ...]
    verdicts: tuple[Verdict, ...]
    state: State
    notes: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    base: Side | None = None
    metrics: Declared = field(default_factory=declared.installed)
    challenges: tuple[Mapping[str, Any], ...] = ()
    untested: tuple[str, ...] = ()
    explanations: tuple[Mapping[str, Any], ...] = ()

    @property
    def run_ids(self) -> tuple[str, ...]:
        """Ids of the runs on the page."""
        return tuple(facts.run["run_id"] for facts in self.facts)

    @property
    def device_rows(self) -> tuple[Row, ...]:
        """Rows without those of the reference on the host."""
        return tuple(row for row in self.rows if row.key.target != HOST)


#: Type of an entry point of ``harness.sections``; it returns None where the run has nothing to show.
SectionMaker = Callable[[ReportData], Section | None]


def _number(value: Any) -> float | str | None:  # noqa: ANN401 - a cell
    """Round to six digits; infinity becomes a string, because JSON has none."""
    if not isinstance(value, int | float) or math.isnan(value):
        return None
    return float(f"{value:.6g}") if math.isfinite(value) else str(float(value))


def _pack(title: str, values: list[Any]) -> dict[str, Any]:
    present = [value for value in values if value is not None and value != ""]
    if present and all(isinstance(v, int | float) and not isinstance(v, bool) for v in present):
        numbers = [_number(v) for v in values]
        return {"title": title, "numbers": numbers}
    codes: dict[str, int] = {}
    coded = [codes.setdefault("" if v is None else str(v), len(codes)) for v in values]
    return {"title": title, "words": list(codes), "codes": coded}


def error_bars(points: Sequence[tuple[float, float, float]]) -> dict[str, Any]:
    """Plotly's ``error_y`` of points with a value and its bounds; none where a bound is not finite."""

    def lengths(parts: Iterable[float]) -> list[float | None]:
        return [round(part, 6) if math.isfinite(part) else None for part in parts]

    return {
        "type": "data", "symmetric": False, "thickness": 1,
        "array": lengths(high - value for value, _, high in points),
        "arrayminus": lengths(value - low for value, low, _ in points),
    }  # fmt: skip
