"""Which devices give the same answers, for every pair of devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.core.job import DEPLOY
from harness.core.suite import CLEAN
from harness.report.html.data import Plot, ReportData, Section, Table
from harness.stats.device_agreement import SHIFTS, Agreement, Place

COLUMNS = ("device", "other", "suite", "variant", "setting", "case", "severity", "what", "share", "low",
           "high", "n", "why")  # fmt: skip
AXIS = {"type": "category", "automargin": True, "showgrid": False, "fixedrange": True}
#: Quantities in the order of a cell's lines, with their names; the first available one gives the colour.
QUANTITIES = {
    "top-1": "same class", "labels": "same labels", "nearest neighbour": "same nearest neighbour",
    "bits": "same bits",
}  # fmt: skip
#: Text of a cell without a number; the table has the whole reason.
SHORT_REASONS = ("not run", "other data", "other task", "other outputs", "ERROR", "SKIPPED", "INVALID")


def agreement(data: ReportData) -> Section | None:
    """Two maps per variant, clean data and all shifts together, and a table of every case."""
    if not data.agreements:
        return None
    names = list(dict.fromkeys(name for pair in data.agreements for name in (pair.one, pair.other)))
    drawn: dict[Place, list[Agreement]] = {}
    for pair in data.agreements:
        if pair.place.setting == DEPLOY and pair.place.case in (CLEAN, SHIFTS):
            drawn.setdefault(pair.place, []).append(pair)
    several = len({pair.place.suite for pair in data.agreements}) > 1
    plots = tuple(
        _map(place, names, pairs, named=several)
        for place, pairs in sorted(drawn.items(), key=_order)
        if any(pair.shares for pair in pairs)
    )
    rows = [line for pair in data.agreements for line in _lines(pair)]
    intro = (
        "Share of samples on which two devices give the same answer (upper number) and the same bits (lower "
        "one), over the samples that both ran. Only answers to the same data are compared."
    )
    table = Table("agreement", "Agreement", COLUMNS, rows)
    return Section("Agreement of devices", 45, intro, plots, (table,))


def _order(drawn: tuple[Place, list[Agreement]]) -> tuple[object, ...]:
    place, _ = drawn
    return place.suite, place.variant, place.case == SHIFTS


def _lines(pair: Agreement) -> list[tuple[object, ...]]:
    if not pair.shares:
        return [(pair.one, pair.other, *pair.place, "", None, None, None, None, pair.why)]
    return [
        (pair.one, pair.other, *pair.place, what, share.value, share.low, share.high, share.n, pair.why)
        for what, share in pair.shares.items()
    ]


def _map(place: Place, names: Sequence[str], pairs: Sequence[Agreement], *, named: bool) -> Plot:
    cells: dict[tuple[str, str], Agreement] = {}
    for pair in pairs:
        cells[pair.one, pair.other] = cells[pair.other, pair.one] = pair
    values = [[_value(cells.get((one, other))) for other in names] for one in names]
    shares = [value for line in values for value in line if value is not None]
    labels = [_label(number, name) for number, name in enumerate(names, 1)]
    # Annotations, because a heat map writes no text into cells without a value, and these give the reason.
    marks: list[Mapping[str, Any]] = [
        {"x": f"#{column + 1}", "y": labels[row], "text": _text(cells.get((one, other)), one == other),
         "showarrow": False, "font": {} if values[row][column] is None else {"color": "#000"}}
        for row, one in enumerate(names)
        for column, other in enumerate(names)
    ]  # fmt: skip
    trace = {
        "type": "heatmap", "z": values, "x": [f"#{i}" for i in range(1, len(names) + 1)],
        "y": labels, "xgap": 2, "ygap": 2, "showscale": False,
        "zmin": min([*shares, 0.9]), "zmax": 1, "hoverinfo": "skip",
        "colorscale": [[0, "#e8743b"], [0.5, "#f7c948"], [1, "#8fd3a8"]],
    }  # fmt: skip
    title = f"{place.variant}, {place.case}"
    if named:
        title += f" ({place.suite})"
    text = "; ".join(f"{pair.one} and {pair.other}: {_words(pair)}" for pair in pairs)
    axes = {
        "xaxis": {**AXIS, "side": "top"}, "yaxis": {**AXIS, "autorange": "reversed"},
    }  # fmt: skip
    titles = [text for name, text in QUANTITIES.items() if any(name in pair.shares for pair in pairs)]
    caption = f"{', and below it '.join(titles).capitalize()}: {title}"
    return Plot(caption, text, [trace], {**axes, "annotations": marks})


def _label(number: int, name: str) -> str:
    return f"#{number} {name.replace('/', '/<br>', 1)}"


def _value(cell: Agreement | None) -> float | None:
    if cell is None:
        return None
    return next((round(cell.shares[what].value, 6) for what in QUANTITIES if what in cell.shares), None)


def _text(cell: Agreement | None, same_device: bool) -> str:
    if same_device:
        return "—"
    if cell is None:
        return "not run"
    if not cell.shares:
        return next((word for word in SHORT_REASONS if word in cell.why), "unknown")
    return "<br>".join(_percent(cell.shares[what].value) for what in QUANTITIES if what in cell.shares)


def _words(cell: Agreement) -> str:
    """Text alternative of a cell."""
    shares = [
        f"{text} {_percent(cell.shares[what].value)}"
        for what, text in QUANTITIES.items()
        if what in cell.shares
    ]
    return ", ".join(shares) or cell.why


def _percent(share: float) -> str:
    """Two decimals; never 100 % unless all samples agree."""
    return "100 %" if share == 1 else f"{min(100 * share, 99.99):.2f} %"
