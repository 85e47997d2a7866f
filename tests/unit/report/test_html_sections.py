"""Sections of the page on planted rows: plots, texts, and when a section is absent."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from harness.core.job import EnvironmentRecord, JobKey
from harness.core.measurement import Measurement, Row
from harness.core.plan import Plan
from harness.core.verdict import State
from harness.report.html import read
from harness.report.html.data import Plot, ReportData
from harness.report.html.sections.accuracy import accuracy
from harness.report.html.sections.agreement import agreement
from harness.report.html.sections.groups import groups
from harness.report.html.sections.pareto import pareto
from harness.report.html.sections.record import environment
from harness.stats.device_agreement import SHIFTS, Agreement, Place
from harness.stats.intervals import wilson
from harness.stats.table_changes import Side
from harness.store.run_folder import Facts

CLEAN = Place("accuracy", "int8", "deploy", "clean", 0)


def row(metric: str, value: float, case: str = "clean", severity: int = 0, **more: Any) -> Row:
    suite, target, n = more.pop("suite", "accuracy"), more.pop("target", "cpu"), more.pop("n", 800)
    measured = Measurement(metric, "1", value, value - 0.1, value + 0.05, n)
    return Row(JobKey(target, "ort", "deploy", "int8", suite, case, severity), measured)


def data(*rows: Row, **more: Any) -> ReportData:
    return ReportData(more.pop("facts", ()), rows, (), State.PASS, **more)


def between(one: str, other: str, same: int, bits: int, place: Place = CLEAN) -> Agreement:
    return Agreement(one, other, place, {"top-1": wilson(same, 1000), "bits": wilson(bits, 1000)})


def marks(plot: Plot) -> dict[tuple[int, str], str]:
    """Text of each cell by its column and the first line of its row's name."""
    return {
        (int(mark["x"][1:]), mark["y"][1:].partition("<br>")[0]): mark["text"]
        for mark in plot.layout["annotations"]
    }


def test_the_map_has_a_number_in_each_cell_and_the_reason_where_there_is_none() -> None:
    other = Agreement("cpu/ort", "pi/tflite", CLEAN, {}, "other data")
    section = agreement(data(agreements=(between("cpu/ort", "npu/ov", 999, 10), other)))
    assert section is not None
    (plot,) = section.plots
    assert marks(plot) == {
        (1, "1 cpu/"): "—", (2, "2 npu/"): "—", (3, "3 pi/"): "—",
        (2, "1 cpu/"): "99.90 %<br>1.00 %", (1, "2 npu/"): "99.90 %<br>1.00 %",
        (3, "1 cpu/"): "other data", (1, "3 pi/"): "other data",
        (3, "2 npu/"): "not run", (2, "3 pi/"): "not run",
    }  # fmt: skip
    (trace,) = plot.traces
    assert trace["z"] == [[None, 0.999, None], [0.999, None, None], [None, None, None]]
    assert "cpu/ort and npu/ov: same class 99.90 %, same bits 1.00 %" in plot.text
    assert "cpu/ort and pi/tflite: other data" in plot.text
    (table,) = section.tables
    assert [dict(zip(table.columns, line, strict=True))["why"] for line in table.rows] == [
        "",
        "",
        "other data",
    ]


@pytest.mark.parametrize(
    ("why", "brief"),
    [
        ("not run on pi/tflite", "not run"),
        ("pi/tflite: ERROR: SIGILL", "ERROR"),
        ("pi/tflite: INVALID: the device made other model inputs", "INVALID"),
        ("other outputs: outputs of shapes [4]", "other outputs"),
    ],
)
def test_a_cell_without_a_number_has_a_short_reason(why: str, brief: str) -> None:
    equal = between("a/a", "b/b", 1, 1)
    section = agreement(data(agreements=(equal, Agreement("a/a", "pi/tflite", CLEAN, {}, why))))
    assert section is not None
    assert marks(section.plots[0])[3, "1 a/"] == brief


def test_one_sample_of_many_that_differs_is_never_rounded_to_all() -> None:
    place = CLEAN._replace(case=SHIFTS)
    nearly = {"top-1": wilson(999_999, 1_000_000), "bits": wilson(5, 5)}
    section = agreement(data(agreements=(Agreement("a/a", "b/b", place, nearly),)))
    assert section is not None
    assert marks(section.plots[0])[2, "1 a/"] == "99.99 %<br>100 %"
    assert section.plots[0].caption == "Same class, and below it same bits: int8, all shifts"


def test_parity_and_single_shifts_are_only_in_the_table() -> None:
    places = (CLEAN._replace(setting="parity"), CLEAN._replace(case="fog", severity=1))
    section = agreement(data(agreements=tuple(between("a/a", "b/b", 1, 1, place) for place in places)))
    assert section is not None
    assert section.plots == ()
    assert len(section.tables[0].rows) == 4
    assert agreement(data()) is None


def test_lines_of_the_base_are_dotted_and_different_numbers_of_samples_shown() -> None:
    rows = [row("accuracy", 0.9), row("accuracy", 0.8, "fog", 1), row("accuracy", 0.7, "fog", 2)]
    few = [row("accuracy", 0.85, "fog", 1, target="pi", n=64)]
    base = pd.DataFrame([row.to_record() for row in rows]).assign(value=0.5, ci_low=0.4, ci_high=0.6)
    section = accuracy(data(*rows, *few, base=Side("old", base)))
    assert section is not None
    first, second, third = section.plots[0].traces
    assert (first["name"], first["line"]["dash"]) == ("cpu/ort int8 (800 samples)", "solid")
    assert (first["x"], first["y"]) == ([0, 1, 2], [0.9, 0.8, 0.7])
    assert first["error_y"]["array"] == pytest.approx([0.05] * 3)
    assert second["name"] == "pi/ort int8 (64 samples)"
    assert (third["name"], third["line"]["dash"]) == ("cpu/ort int8 of old (800 samples)", "dot")
    assert third["y"] == [0.5, 0.5, 0.5]


def test_without_a_base_and_with_equal_samples_a_line_is_named_by_its_device() -> None:
    section = accuracy(data(row("accuracy", 0.8, "fog", 1)))
    assert section is not None
    assert [trace["name"] for trace in section.plots[0].traces] == ["cpu/ort int8"]


def test_a_point_of_the_front_needs_both_numbers() -> None:
    size = row("model_bytes", 5000.0, "single_stream", suite="performance")
    assert pareto(data(size)) is None
    section = pareto(data(size, row("accuracy", 0.9), row("accuracy", 0.3, target="pi")))
    assert section is not None
    (trace,) = section.plots[0].traces
    assert (trace["name"], trace["text"], trace["x"], trace["y"]) == ("cpu/ort", ["int8"], [5000.0], [0.9])
    assert section.plots[0].text == "cpu/ort int8: 5000 bytes, accuracy 0.9000"


def test_a_fact_of_a_machine_is_listed_once_with_its_readings() -> None:
    looks = [
        EnvironmentRecord(
            "cpu", "ort", "int8", "accuracy", phase, {"load": load, "libc": "2.36", "cores": [0, 1]}
        )
        for phase, load in (("before", 1), ("after", 1), ("during", 2))
    ]
    facts = tuple(
        Facts({"run_id": run}, Plan((), (), (), 1.0), None, {}, environments)
        for run, environments in (
            ("r1", looks),
            ("r2", [EnvironmentRecord("pi", "t", "int8", "a", "before", {"x": 1})]),
        )
    )
    section = environment(data(facts=facts))
    assert section is not None
    assert list(section.tables[0].rows) == [
        ("cpu", "ort", "cores", "[0, 1]", "before, after, during"),
        ("cpu", "ort", "libc", "2.36", "before, after, during"),
        ("cpu", "ort", "load", "1", "before, after"),
        ("cpu", "ort", "load", "2", "during"),
        ("pi", "t", "x", "1", "before"),
    ]
    assert environment(data()) is None


def targets(*names: str) -> dict[str, Any]:
    return {"targets": {name: {"backends": ["a", "b"]} for name in names}}


@pytest.mark.parametrize(
    ("runs", "shown"),
    [
        ([targets("cpu"), targets("cpu")], [1]),
        ([targets("cpu", "openvino"), targets("pi")], [0, 1]),
        ([targets("cpu", "openvino"), targets("cpu"), targets("pi")], [1, 2]),
        ([None, targets("cpu")], [1]),
    ],
)
def test_a_run_is_shown_unless_a_later_one_shares_a_target(runs: list[Any], shown: list[int]) -> None:
    assert read._shown(runs) == shown


def test_of_too_many_devices_those_of_runs_in_between_are_left_out() -> None:
    assert read._drawn([targets("cpu")] * 6, [5]) == [0, 1, 2, 3, 4, 5]
    assert read._drawn([targets("cpu")] * 7, [6]) == [0, 6]


def test_a_run_that_is_named_twice_is_drawn_once() -> None:
    run = {**targets("cpu"), "run_id": "r"}
    assert read._drawn([run, run], [1]) == [1]


def test_runs_are_named_by_the_end_of_their_ids_where_it_is_unique() -> None:
    assert read._short(["x-aa", "y-bb"]) == {"x-aa": "aa", "y-bb": "bb"}
    assert read._short(["x-aa", "y-aa"]) == {"x-aa": "x-aa", "y-aa": "y-aa"}


def test_each_group_is_a_point_and_each_column_a_plot() -> None:
    rows = [
        row("group_accuracy", 0.9, "clean/site=B"),
        row("group_accuracy", 0.8, "clean/site=A"),
        row("group_accuracy", 0.7, "clean/site=A", target="pi"),
        row("window_accuracy", 0.6, "clean/day=1..2"),
        row("worst_group_accuracy", 0.8),
        row("accuracy", 0.85),
    ]
    section = groups(data(*rows))
    assert section is not None
    by_site, by_day = section.plots
    assert (by_site.caption, by_day.caption) == ("Group accuracy by site", "Window accuracy by day")
    cpu, pi = by_site.traces
    assert (cpu["name"], cpu["x"], cpu["y"]) == ("cpu/ort int8", ["B", "A"], [0.9, 0.8])
    assert cpu["error_y"]["array"] == pytest.approx([0.05, 0.05])
    assert cpu["error_y"]["arrayminus"] == pytest.approx([0.1, 0.1])
    assert (pi["x"], pi["y"]) == (["A"], [0.7])
    assert by_day.traces[0]["x"] == ["1..2"]
    assert groups(data(row("accuracy", 0.85), row("class_accuracy_loss", 1.0, "clean/0"))) is None
