"""The section on cases that were stored in parts: series, breaks between processes, trends, rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.artifact import Artifact, File
from harness.core.job import Batch, Case, JobResult, Options, Samples, Status
from harness.core.measurement import Measurement, Row
from harness.core.plan import Plan
from harness.core.verdict import State
from harness.report.html.data import ReportData, Section
from harness.report.html.sections.soak import MOST_POINTS, soak
from harness.store.run_folder import Facts

ARTIFACT = Artifact("float32", "onnx", (File("m", "0" * 64, 1),), Path())
CASES = (Case("long", in_parts=True), Case("other"))
BATCH = Batch("cpu", "ort", "float32", "s", ARTIFACT, {"deploy": Options()}, {}, {}, CASES)
LONG, OTHER = (job.key for job in BATCH.jobs)


def samples(n: int = 60, **columns: Any) -> Samples:
    """Slices of a minute."""
    given = {"process": 1.0, "elapsed_ns": 60e9, "p50_ns": 1e6 * np.linspace(1, 2, n), **columns}
    table = np.stack([np.broadcast_to(value, n) for value in given.values()], axis=1).astype(np.float64)
    return Samples({"slices": table}, {"columns": list(given)})


def section(measured: Samples | None, *rows: Row, status: Status | None = Status.OK) -> Section | None:
    results = {LONG: JobResult(LONG, status, samples=measured)} if status and measured else {}
    parts = {LONG: measured} if status is None and measured else {}
    facts = Facts({}, Plan((BATCH,)), None, results, parts=parts)
    return soak(ReportData((facts,), rows, (), State.PASS))


def lines(drawn: Section | None) -> list[dict[str, Any]]:
    """The traces of the first plot: the series, then a trend and a band for each process."""
    assert drawn is not None
    return [dict(trace) for trace in drawn.plots[0].traces]


def test_a_series_has_its_trend_and_the_band_of_its_interval() -> None:
    rng = np.random.default_rng(0)
    drawn = section(samples(p50_ns=1e6 * (np.linspace(1, 2, 60) + 0.05 * rng.normal(size=60))))
    series, trend, band = lines(drawn)
    assert series["name"] == "cpu/ort float32"
    assert series["x"][0] == 1.0  # minutes of an hour, at the end of a slice
    assert series["x"][-1] == 60.0
    np.testing.assert_allclose(trend["y"], [1.0, 2.0], atol=0.05)
    low, high = band["y"][-1], band["y"][0]
    assert low < trend["y"][0] < high
    assert {trace["line"].get("color", band["fillcolor"]) for trace in (series, trend, band)} == {
        series["line"]["color"]
    }


def test_between_two_processes_the_line_is_broken() -> None:
    series, *_ = lines(section(samples(process=np.repeat([1.0, 2.0], 30))))
    assert series["x"].count(None) == 1
    assert series["y"][30] is None


def test_a_column_without_a_value_is_not_drawn_and_one_that_vanished_ends() -> None:
    heat = np.where(np.arange(60) < 20, 50.0, np.nan)
    drawn = section(samples(clock_hz=np.nan, temperature_celsius=heat))
    assert drawn is not None
    assert [plot.caption for plot in drawn.plots] == [
        "Latency p50 over the soak",
        "Temperature over the soak",
    ]
    assert drawn.plots[1].traces[0]["y"][19:21] == [50.0, None]


def test_a_long_series_is_drawn_with_few_points() -> None:
    series, *_ = lines(section(samples(5000)))
    assert len(series["x"]) == MOST_POINTS


def test_an_interrupted_one_is_drawn_and_says_so() -> None:
    series, *_ = lines(section(samples(), status=None))
    assert series["name"] == "cpu/ort float32 (not ended)"


def test_the_table_has_the_rows_of_cases_in_parts_alone() -> None:
    measured = Measurement("trend", "%/h", 1.0, -1.0, 3.0, 60, reason="steady")
    drawn = section(samples(), Row(LONG, measured), Row(OTHER, replace(measured, metric="x")))
    assert drawn is not None
    (row,) = drawn.tables[0].rows
    assert row == ("cpu", "ort", "float32", "trend", 1.0, -1.0, 3.0, "%/h", 60, "OK", "steady")


@pytest.mark.parametrize("columns", [None, [], ["process"], "process"])
def test_a_table_that_fits_no_names_is_not_drawn(columns: object) -> None:
    assert section(Samples(samples().arrays, {"columns": columns})) is None


def test_without_such_a_case_there_is_no_section() -> None:
    assert section(None) is None


@pytest.mark.parametrize(("slice_s", "unit"), [(1.0, "seconds"), (60.0, "minutes"), (600.0, "hours")])
def test_the_axis_of_time_has_a_unit_that_fits(slice_s: float, unit: str) -> None:
    drawn = section(samples(elapsed_ns=slice_s * 1e9))
    assert drawn is not None
    assert drawn.plots[0].layout["xaxis"]["title"]["text"] == f"{unit} of the soak"
