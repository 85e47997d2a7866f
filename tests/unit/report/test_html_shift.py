"""Sections on shifts, worst parts and calibration, on planted rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.core.job import JobKey, Status
from harness.core.measurement import Measurement, Row
from harness.report.html.data import Section
from harness.report.html.sections.accuracy import accuracy
from harness.report.html.sections.calibration import calibration
from harness.report.html.sections.shift import shift
from harness.report.html.sections.worst import worst
from tests.unit.report.test_html_sections import data, row


def of_host(one: Row, variant: str = "float32") -> Row:
    return replace(one, key=one.key._replace(target="host", setting="parity", variant=variant))


def lines(section: Section | None, table: int = 0) -> list[dict[str, Any]]:
    assert section is not None
    made = section.tables[table]
    return [dict(zip(made.columns, line, strict=True)) for line in made.rows]


def test_accuracy_under_shift_has_the_line_of_the_reference_alone() -> None:
    rows = [row("accuracy", 0.9), row("accuracy", 0.8, "fog", 1), row("accuracy", 0.7, "fog", 2)]
    host = [of_host(one) for one in rows]
    section = accuracy(data(*rows, *host, of_host(row("accuracy", 0.1, "fog", 1), "int8")))
    assert section is not None
    mine, reference = section.plots[0].traces
    assert (mine["name"], mine["line"]["dash"]) == ("cpu/ort int8", "solid")
    assert (reference["name"], reference["line"]["dash"]) == ("float32@host, the reference", "dash")
    assert reference["y"] == [0.9, 0.8, 0.7]
    assert accuracy(data(*host)) is None, "the reference alone is no result"


def test_extra_loss_is_drawn_by_family_and_what_has_no_ce_is_in_the_table_with_its_reason() -> None:
    skipped = row("corruption_error", float("nan"), "fog")
    reason = "the reference makes no error under fog"
    skipped = replace(
        skipped, measurement=replace(skipped.measurement, status=Status.SKIPPED, reason=reason)
    )  # fmt: skip
    section = shift(data(row("extra_loss", 0.5, "fog"), row("extra_loss", 2.5, "blur"), skipped))
    assert section is not None
    (plot,) = section.plots
    assert plot.traces[0]["x"] == ["fog", "blur"]
    assert plot.traces[0]["y"] == [0.5, 2.5]
    assert plot.traces[0]["error_y"]["arrayminus"] == pytest.approx([0.1, 0.1])
    assert [(line["family"], line["metric"], line["reason"]) for line in lines(section)] == [
        ("fog", "extra_loss", ""), ("blur", "extra_loss", ""), ("fog", "corruption_error", reason),
    ]  # fmt: skip
    only = shift(data(skipped))
    assert only is not None
    assert only.plots == ()
    assert shift(data(row("accuracy", 0.9))) is None


def test_worst_parts_are_named_and_classes_listed_by_their_loss() -> None:
    family = row("worst_family_loss", 3.0, "shifts")
    family = replace(family, measurement=replace(family.measurement, unit="pt", reason="fog lost 3 pt"))
    classes = [
        row("class_accuracy_loss", value, f"clean/{name}") for name, value in enumerate((1.0, 0.0, 9.0))
    ]
    section = worst(data(family, *classes))
    assert section is not None
    assert section.plots[0].traces[0]["x"] == ["worst family loss"]
    assert [line["part"] for line in lines(section)] == ["fog lost 3 pt"]
    assert [(line["class"], line["value"]) for line in lines(section, 1)] == [("2", 9.0), ("0", 1.0)]
    assert worst(data(*classes)) is None


def bars(target: str, variant: str, *places: tuple[str, float, float, int]) -> list[Row]:
    key = JobKey(target, "ort", "deploy", variant, "accuracy", "clean", 0)
    return [
        Row(key, Measurement(metric, "1", value, 0.1, 0.9, n, case=f"clean/confidence={place}"))
        for place, sure, right, n in places
        for metric, value in (("bin_confidence", sure), ("bin_accuracy", right))
    ]


def test_a_reliability_diagram_has_a_line_for_each_variant_and_one_for_the_reference() -> None:
    rows = [
        *bars("cpu", "int8", ("0.93-1.00", 0.97, 0.8, 90), ("0.47-0.53", 0.5, 0.4, 10)),
        *bars("host", "float32", ("0.93-1.00", 0.96, 0.95, 100)),
        *bars("host", "int8", ("0.93-1.00", 0.96, 0.95, 100)),
    ]
    section = calibration(data(*rows))
    assert section is not None
    (plot,) = section.plots
    mine, reference, diagonal = plot.traces
    assert (mine["name"], mine["x"], mine["y"]) == ("int8", [0.5, 0.97], [0.4, 0.8])
    assert mine["text"] == ["10 samples", "90 samples"]
    assert (reference["name"], reference["y"]) == ("float32@host, the reference", [0.95])
    assert diagonal["x"] == diagonal["y"] == [0, 1]
    assert [(line["target"], line["samples"]) for line in lines(section)] == [
        ("cpu", 10), ("cpu", 90), ("host", 100),
    ]  # fmt: skip
    assert calibration(data(*bars("host", "float32", ("0.93-1.00", 0.96, 0.95, 100)))) is None
    assert calibration(data(row("ece", 0.1))) is None
