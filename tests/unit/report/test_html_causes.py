"""The section of causes: what fails and why, the evidence, and the layers in the order of the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.core.verdict import State
from harness.report.html.data import ReportData
from harness.report.html.sections.causes import causes, decibel
from harness.store import explanations

EMPTY = ReportData((), (), (), State.PASS)


def error(relative: float | None) -> dict[str, Any]:
    return {"relative": relative, "largest": 1.0, "differing": 0.5, "steps": 2.0, "saturated": 0.25}


ONE: dict[str, Any] = {
    "target": "pi", "backend": "tflite", "variant": "int8", "setting": "deploy", "gates": ["loss"],
    "failing": ["pi"], "passing": ["cpu", "pi5"], "reference": "int8 here", "other": "pi:int8", "reason": "",
    "effect": {"left": 0.0, "low": 0.0, "high": 0.01, "samples": 192},
    "causes": [{"text": "sums wrap", "layer": "fc",
                "remedy": {"text": "small weights", "line": "[deploy] a = 1\nb = 2", "side": "pi",
                           "was_run": True}}],
    "rounds": [[{"hypothesis": "precision", "state": "refuted", "evidence": "no"}]],
    "layers": [
        {"point": "c", "layer": "conv", "operator": "Conv", "within_the_run": error(0.0),
         "fed_by_the_reference": error(0.0)},
        {"point": "f", "layer": "fc", "operator": "Gemm", "within_the_run": error(0.1),
         "fed_by_the_reference": error(0.01)},
    ],
}  # fmt: skip
UNKNOWN = {**ONE, "causes": [], "reason": "no time", "layers": [], "rounds": [], "effect": None}


def test_a_page_on_which_nothing_was_explained_has_no_such_section() -> None:
    assert causes(EMPTY) is None


def test_cause_remedy_and_targets_are_one_row() -> None:
    section = causes(replace(EMPTY, explanations=(ONE,)))
    assert section is not None
    assert section.intro == "int8 on pi: sums wrap. Remedy: small weights (run); [deploy] a = 1; b = 2."
    table, evidence, layers = section.tables
    assert [list(row) for row in table.rows] == [
        ["sums wrap", "small weights (run); [deploy] a = 1; b = 2", "0.0% [0.0%, 1.0%]", "int8", "pi", "loss",
         "pi", "cpu, pi5"]
    ]  # fmt: skip
    assert [list(row) for row in evidence.rows] == [["precision", "refuted", "no", "int8", "pi"]]
    assert [row[:4] for row in layers.rows] == [(1, "Conv", None, None), (2, "Gemm", 20.0, 40.0)]


def test_the_plot_has_a_point_where_a_layer_differs() -> None:
    section = causes(replace(EMPTY, explanations=(ONE,)))
    assert section is not None
    (plot,) = section.plots
    assert [(trace["name"], trace["x"], trace["y"]) for trace in plot.traces] == [
        ("within the run", [2], [20.0]), ("fed by the reference", [2], [40.0]),
    ]  # fmt: skip
    assert plot.traces[0]["text"] == ["fc (Gemm)"]


def test_what_was_not_explained_says_why_and_has_no_plot() -> None:
    section = causes(replace(EMPTY, explanations=(UNKNOWN,)))
    assert section is not None
    assert section.intro == "int8 on pi: not explained: no time."
    assert (section.plots, [table.name for table in section.tables]) == ((), ["causes"])


@pytest.mark.parametrize("relative", [0.0, None])
def test_an_equal_layer_and_one_without_a_signal_have_no_ratio(relative: float | None) -> None:
    assert decibel(error(relative)) is None
    assert decibel(None) is None


def test_numbers_that_json_has_none_for_are_stored(tmp_path: Path) -> None:
    explanations.write(tmp_path, [{**ONE, "difference": float("inf"), "layers": [error(float("nan"))]}])
    (stored,) = explanations.read(tmp_path)
    assert stored["difference"] is None
    assert stored["layers"][0] == error(None)
