"""Which devices give the same answers: each with each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.core.job import DEPLOY
from harness.report.html.data import Plot, ReportData, Section, Table
from harness.stats.device_agreement import SHIFTS, Agreement, Place

CLEAN = "clean"
COLUMNS = ("device", "other", "suite", "variant", "setting", "case", "severity", "what", "share", "low",
           "high", "n", "why")  # fmt: skip
AXIS = {"type": "category", "automargin": True, "showgrid": False, "fixedrange": True}
#: What is drawn, in the order of a cell's lines, and in words: the first that there is gives the colour.
WHATS = {"top-1": "same class", "bits": "same bits"}

#: What a cell without a number says; the table says the whole.
BRIEFLY = ("not run", "other data", "other task", "other outputs", "ERROR", "SKIPPED", "INVALID")


def agreement(data: ReportData) -> Section | None:
    """One map a variant for clean data and one for all shifts together, as shipped; a table of all."""
    if not data.agreements:
        return None
    names = list(dict.fromkeys(name for each in data.agreements for name in (each.one, each.other)))
    drawn: dict[Place, list[Agreement]] = {}
    for each in data.agreements:
        if each.place.setting == DEPLOY and each.place.case in (CLEAN, SHIFTS):
            drawn.setdefault(each.place, []).append(each)
    plots = tuple(
        _map(place, names, found)
        for place, found in sorted(drawn.items(), key=_order)
        if any(each.shares for each in found)
    )
    rows = [line for each in data.agreements for line in _lines(each)]
    said = (
        "Share of samples on which two devices name the same class (upper number) and give the same bits "
        "(lower one), over the samples that both ran. Only answers to the same data are compared."
    )
    return Section("Agreement of devices", 45, said, plots, (Table("agreement", "Agreement", COLUMNS, rows),))


def _order(drawn: tuple[Place, list[Agreement]]) -> tuple[object, ...]:
    place, _ = drawn
    return place.suite, place.variant, place.case == SHIFTS


def _lines(each: Agreement) -> list[tuple[object, ...]]:
    if not each.shares:
        return [(each.one, each.other, *each.place, "", None, None, None, None, each.why)]
    return [
        (each.one, each.other, *each.place, what, share.value, share.low, share.high, share.n, each.why)
        for what, share in each.shares.items()
    ]


def _map(place: Place, names: Sequence[str], found: Sequence[Agreement]) -> Plot:
    cells: dict[tuple[str, str], Agreement] = {}
    for each in found:
        cells[each.one, each.other] = cells[each.other, each.one] = each
    values = [[_value(cells.get((one, other))) for other in names] for one in names]
    known = [value for line in values for value in line if value is not None]
    labels = [_label(number, name) for number, name in enumerate(names, 1)]
    # Written as annotations: a heat map writes nothing into cells without a value, and these say why.
    marks: list[Mapping[str, Any]] = [
        {"x": f"#{column + 1}", "y": labels[row], "text": _text(cells.get((one, other)), one == other),
         "showarrow": False, "font": {} if values[row][column] is None else {"color": "#000"}}
        for row, one in enumerate(names)
        for column, other in enumerate(names)
    ]  # fmt: skip
    trace = {
        "type": "heatmap", "z": values, "x": [f"#{i}" for i in range(1, len(names) + 1)],
        "y": labels, "xgap": 2, "ygap": 2, "showscale": False,
        "zmin": min([*known, 0.9]), "zmax": 1, "hoverinfo": "skip",
        "colorscale": [[0, "#e8743b"], [0.5, "#f7c948"], [1, "#8fd3a8"]],
    }  # fmt: skip
    what = f"{place.variant}, {place.case}" + (f" ({place.suite})" if place.suite != "accuracy" else "")
    text = "; ".join(f"{each.one} and {each.other}: {_words(each)}" for each in found)
    axes = {
        "xaxis": {**AXIS, "side": "top"}, "yaxis": {**AXIS, "autorange": "reversed"},
    }  # fmt: skip
    named = [said for name, said in WHATS.items() if any(name in each.shares for each in found)]
    caption = f"{', and below it '.join(named).capitalize()}: {what}"
    return Plot(caption, text, [trace], {**axes, "annotations": marks})


def _label(number: int, name: str) -> str:
    return f"#{number} {name.replace('/', '/<br>', 1)}"


def _value(cell: Agreement | None) -> float | None:
    if cell is None:
        return None
    return next((round(cell.shares[what].value, 6) for what in WHATS if what in cell.shares), None)


def _text(cell: Agreement | None, own: bool) -> str:
    if own:
        return "—"
    if cell is None:
        return "not run"
    if not cell.shares:
        return next((word for word in BRIEFLY if word in cell.why), "not known")
    return "<br>".join(_percent(cell.shares[what].value) for what in WHATS if what in cell.shares)


def _words(cell: Agreement) -> str:
    """Say what a cell shows, for whom it is no picture."""
    known = [
        f"{said} {_percent(cell.shares[what].value)}" for what, said in WHATS.items() if what in cell.shares
    ]
    return ", ".join(known) or cell.why


def _percent(share: float) -> str:
    """Two decimals, and never 100 where one sample of many differs."""
    return "100 %" if share == 1 else f"{min(100 * share, 99.99):.2f} %"
