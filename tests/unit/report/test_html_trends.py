"""The page of a history on planted runs, and as a real browser shows it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from selenium.webdriver.support.ui import WebDriverWait

from harness.compare import history_text
from harness.compare.history import History
from harness.core.measurement import COLUMNS
from harness.report.html import page
from harness.report.html import trends as shown_trends
from harness.run.declared import installed
from harness.stats.series import trends
from harness.store.run_folder import RunFolder
from harness.store.runs import LeftOut, StoredRun
from tests.unit.report.pages import fits_a_phone, opened, quiet

EVIL = "<script>document.title='taken'</script>"
CHANGED = 5


def planted(*, runs: int = 8, cases: int = 1, variant: str = "int8", steady: int = 0) -> History:
    """Accuracy falls at one run, with another model; a latency without a valid value; some stay the same."""
    rows = []
    for run in range(runs):
        value, model = (0.9, "a" * 64) if run < CHANGED else (0.5, "b" * 64)
        record = {
            **dict.fromkeys(COLUMNS, ""), "target": "cpu", "backend": "ort", "setting": "deploy",
            "model": "m", "model_sha256": model, "variant": variant, "suite": "accuracy", "severity": 0,
            "metric": "accuracy", "unit": "1", "value": value, "ci_low": value - 0.02,
            "ci_high": value + 0.02, "n": 800, "status": "OK", "run": run,
        }  # fmt: skip
        rows += [{**record, "case": f"case{number}"} for number in range(cases)]
        same = {"value": 0.9, "ci_low": 0.88, "ci_high": 0.92}
        rows += [{**record, **same, "case": f"steady{number}"} for number in range(steady)]
        rows.append({**record, "metric": "latency_p50", "unit": "ns", "case": "single", "status": "INVALID"})
    frame = pd.DataFrame(rows)
    stored = tuple(
        StoredRun(RunFolder(Path(f"run-{i}")), {"created_utc": f"2026-01-{i + 1:02}T00:00:00+00:00"}, Path())
        for i in range(runs)
    )
    left_out = (LeftOut("cut", "it is being written"),)
    return History(stored, left_out, frame, tuple(trends(frame, lambda run, target: {}, installed())))


def test_the_run_at_which_it_changed_is_marked_in_the_line_and_named_in_the_text() -> None:
    changes, drawn, series = shown_trends.sections(planted())
    (plot,) = drawn.plots
    (trace,) = plot.traces
    assert plot.caption == "accuracy in case0"
    assert plot.text == f"cpu/ort int8 worse at run-{CHANGED}"
    assert [i for i, symbol in enumerate(trace["marker"]["symbol"]) if symbol == "triangle-down"] == [CHANGED]
    assert trace["y"] == [0.9] * CHANGED + [0.5] * 3
    assert trace["error_y"]["array"] == pytest.approx([0.02] * 8)
    assert "model aaaaaaaa -> bbbbbbbb" in trace["text"][CHANGED]
    (row,) = changes.tables[0].rows
    change = dict(zip(changes.tables[0].columns, row, strict=True))
    assert (change["run"], change["class"], change["before"], change["after"]) == (
        "run-5",
        "worse",
        "0.9",
        "0.5",
    )
    by_metric = {
        line[3]: dict(zip(series.tables[0].columns, line, strict=True)) for line in series.tables[0].rows
    }
    assert (by_metric["accuracy"]["versions"], by_metric["accuracy"]["changes"]) == (2, 1)
    assert (by_metric["latency_p50"]["runs"], by_metric["latency_p50"]["invalid"]) == (0, 8)


def test_another_version_without_a_change_is_marked_as_such() -> None:
    frame = planted().frame.assign(value=0.9, ci_low=0.88, ci_high=0.92)
    history = planted()
    same = History(history.runs, (), frame, tuple(trends(frame, lambda run, target: {}, installed())))
    drawn, _ = shown_trends.sections(same)
    assert (drawn.title, drawn.folded) == ("Unchanged", "1 plot of series that did not change")
    (trace,) = drawn.plots[0].traces
    assert [i for i, symbol in enumerate(trace["marker"]["symbol"]) if symbol == "square-open"] == [CHANGED]
    assert drawn.plots[0].text == "cpu/ort int8 did not change"


def test_of_very_many_series_some_are_drawn_and_all_are_in_the_table() -> None:
    history = planted(cases=shown_trends.MOST_PLOTS + 3)
    _, drawn, left, series = shown_trends.sections(history)
    assert len(drawn.plots) == shown_trends.MOST_PLOTS
    assert "3 more are only in the table" in left.intro
    assert len(series.tables[0].rows) == shown_trends.MOST_PLOTS + 4


def test_a_series_without_a_valid_value_is_in_the_json_too() -> None:
    series = json.loads(history_text.as_json(planted()))["series"]
    (latency,) = (entry for entry in series if entry["metric"] == "latency_p50")
    assert (latency["values"], latency["versions"], latency["invalid"]) == ([], [], 8)


def test_a_page_of_a_thousand_runs_is_small_enough() -> None:
    history = planted(runs=28)
    frame = pd.concat(
        [history.frame.assign(run=history.frame["run"] + 28 * i) for i in range(36)], ignore_index=True
    )
    frame["value"] += [math.sin(i) / 1e4 for i in range(len(frame))]
    many = History(history.runs * 36, (), frame, tuple(trends(frame, lambda run, target: {}, installed())))
    assert len(shown_trends.history(many)) < 6e6


def test_a_browser_opens_it_without_an_error_or_a_request_and_on_a_phone(
    browser: Any, tmp_path: Path
) -> None:
    page.write(tmp_path / "h.html", shown_trends.history(planted(variant=EVIL, steady=2)))
    shown = opened(browser, tmp_path / "h.html")
    assert shown.title.strip() == "History"
    quiet(shown)
    plots = "return document.querySelectorAll('.plot .main-svg').length"
    drawn = shown.execute_script(plots)
    shown.find_element("css selector", "summary").click()  # what did not change is drawn when it is opened
    WebDriverWait(shown, 10).until(lambda browser: browser.execute_script(plots) == 3 * drawn > 0)
    heading = shown.find_element("css selector", "h1").text
    assert heading == "8 runs, 2026-01-01T00:00 … 2026-01-08T00:00: 4 series, 1 changed, 1 runs left out."
    assert "cut is left out: it is being written" in shown.find_element("css selector", "header").text
    assert EVIL in shown.find_element("css selector", "tbody tr").text
    fits_a_phone(shown)
