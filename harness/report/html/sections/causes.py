"""Why gates fail: cause, remedy, evidence, and the layers at which the two sides differ."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.report.html.data import Plot, ReportData, Section, Table

CAUSES = ("cause", "remedy", "left", "variant", "target", "gates", "affected", "not affected")
EVIDENCE = ("hypothesis", "result", "evidence", "variant", "target")
LAYERS = (
    "layer", "operator", "within the run, dB", "fed by the reference, dB", "largest, steps", "saturated",
    "name", "variant", "target",
)  # fmt: skip
#: How the two columns of the table and the two lines of the plot are stored.
WITHIN, FED = "within_the_run", "fed_by_the_reference"


def causes(data: ReportData) -> Section | None:
    """One row for each cause, and one plot for each pair of sides whose layers were compared."""
    if not data.explanations:
        return None
    plots = [plot for one in data.explanations if (plot := _plot(one)) is not None]
    tables = [
        Table("causes", "Causes", CAUSES, [row for one in data.explanations for row in _causes(one)]),
        Table("evidence", "Evidence", EVIDENCE, [row for one in data.explanations for row in _evidence(one)]),
        Table("layers", "Layers", LAYERS, [row for one in data.explanations for row in _layers(one)]),
    ]
    return Section(
        "Why it fails", 11, " ".join(map(_sentence, data.explanations)), tuple(plots),
        tuple(table for table in tables if table.rows),
    )  # fmt: skip


def _where(one: Mapping[str, Any]) -> str:
    return f"{one['variant']} on {one['target']}"


def _sentence(one: Mapping[str, Any]) -> str:
    texts = [cause["text"] for cause in one["causes"]] or [f"not explained: {one['reason']}"]
    remedies = [f"Remedy: {text}." for cause in one["causes"] if (text := _remedy(cause["remedy"]))]
    return " ".join([f"{_where(one)}: {'; '.join(texts)}.", *remedies])


def _causes(one: Mapping[str, Any]) -> Iterable[tuple[object, ...]]:
    place = (one["variant"], one["target"])
    elsewhere = tuple(", ".join(one.get(key, ())) for key in ("failing", "passing"))
    gates = ", ".join(one["gates"])
    effect = one.get("effect")
    left = f"{effect['left']:.1%} [{effect['low']:.1%}, {effect['high']:.1%}]" if effect else ""
    for cause in one["causes"]:
        yield (cause["text"], _remedy(cause["remedy"]), left, *place, gates, *elsewhere)
    if not one["causes"]:
        yield (f"not explained: {one['reason']}", "", "", *place, gates, *elsewhere)


def _remedy(remedy: Mapping[str, Any] | None) -> str:
    if remedy is None:
        return ""
    run = "run" if remedy["was_run"] else "not run"
    return "; ".join([f"{remedy['text']} ({run})", *remedy["line"].splitlines()])


def _evidence(one: Mapping[str, Any]) -> Iterable[tuple[object, ...]]:
    for findings in one.get("rounds", ()):
        for finding in findings:
            yield finding["hypothesis"], finding["state"], finding["evidence"], one["variant"], one["target"]


def _layers(one: Mapping[str, Any]) -> Iterable[tuple[object, ...]]:
    for place, layer in enumerate(one.get("layers", ()), 1):
        within = layer[WITHIN]
        yield (
            place, layer["operator"], decibel(within), decibel(layer[FED]), within["steps"],
            within["saturated"], layer["layer"], one["variant"], one["target"],
        )  # fmt: skip


def decibel(error: Mapping[str, Any] | None) -> float | None:
    """Signal-to-difference ratio; None where nothing differs, there is no signal, or it was not measured."""
    if error is None or not error["relative"]:
        return None
    return round(-20 * math.log10(error["relative"]), 1)


def _plot(one: Mapping[str, Any]) -> Plot | None:
    layers: Sequence[Mapping[str, Any]] = one.get("layers", ())
    traces = [
        _trace(layers, key, name, dash)
        for key, name, dash in ((WITHIN, "within the run", "solid"), (FED, "fed by the reference", "dot"))
    ]
    if not any(trace["y"] for trace in traces):
        return None
    title = f"Layers of {one['other']} against {one['reference']}"
    return Plot(
        title,
        f"{title}: ratio of signal to difference in decibels, layer by layer; higher is nearer. "
        "A layer without a point is equal.",
        traces,
        {
            "xaxis": {
                "title": {"text": "layer, in the order of the file"},
                "dtick": 1 + len(layers) // 8,
            },
            "yaxis": {"title": {"text": "signal to difference, dB"}},
        },
    )


def _trace(layers: Sequence[Mapping[str, Any]], key: str, name: str, dash: str) -> dict[str, Any]:
    points = [
        (place, value, f"{layer['layer']} ({layer['operator']})")
        for place, layer in enumerate(layers, 1)
        if (value := decibel(layer[key])) is not None
    ]
    return {
        "type": "scatter", "mode": "lines+markers", "name": name, "line": {"dash": dash},
        "x": [place for place, _, _ in points], "y": [value for _, value, _ in points],
        "text": [text for _, _, text in points],
    }  # fmt: skip
