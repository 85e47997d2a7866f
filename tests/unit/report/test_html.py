"""The report on planted rows, and as a real browser shows it."""

from __future__ import annotations

import csv
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.errors import HarnessError, UsageError
from harness.core.job import JobKey, JobResult, Samples, Status
from harness.core.measurement import Measurement, Row
from harness.core.plan import Plan
from harness.core.verdict import State, Verdict
from harness.device import plugins
from harness.report.html import page
from harness.report.html.data import Plot, ReportData, Section, Table
from harness.report.html.front import MOST_LINES, front
from harness.store.run_folder import Facts
from tests.unit.report.pages import fits_a_phone, opened, quiet

EVIL = "<script>document.title='taken'</script>"
LONG = f"{EVIL} of a board with a name that is far wider than a telephone is"
NAN = float("nan")


def row(case: str, severity: int, m: Measurement, *, suite: str = "accuracy", target: str = "cpu") -> Row:
    return Row(JobKey(target, "ort", "deploy", "int8", suite, case, severity), m)


def verdict(state: State, gate: str = "loss") -> Verdict:
    return Verdict(gate, "cpu", "ort", "int8", "accuracy", "accuracy_loss", state, "block", "block",
                   f"the sentence of {gate}", 1.0, 0.5, 1.5, 0.5, "pt", 800)  # fmt: skip


def report(rows: tuple[Row, ...], *verdicts: Verdict, state: State = State.FAIL) -> ReportData:
    key = JobKey("cpu", "ort", "deploy", "int8", "performance", "single_stream", 0)
    samples = Samples({"latency_ns": np.arange(1, 1001) * 1000}, {})
    result = JobResult(key, Status.OK, "", samples, {}, "", 1)
    facts = Facts({"run_id": "r1"}, Plan((), (), (), 1.0), None, {key: result})
    return ReportData((facts,), rows, verdicts, state)


ACCURACY = tuple(row("fog", s, Measurement("accuracy", "1", 0.9 - s / 10, 0.8 - s / 10, NAN)) for s in (1, 2))
MANY = tuple(row(f"case{i}", 0, Measurement("ece", "1", i / 7)) for i in range(150))


def titles(data: ReportData) -> list[str]:
    return [section.title for section in page.sections(data)]


def test_each_section_is_there_only_where_the_run_has_its_data() -> None:
    latency = row("single_stream", 0, Measurement("latency_p99", "ns", 2e6), suite="performance")
    assert titles(report((latency,), verdict(State.FAIL))) == ["Gates", "Latency", "Measurements"]
    assert "Accuracy under shift" in titles(report(ACCURACY))


def test_a_run_of_errors_alone_is_shown_and_draws_no_accuracy() -> None:
    failed = Measurement("accuracy", "1", NAN, status=Status.ERROR, reason="SIGILL")
    data = report((row("fog", 1, failed),), state=State.NOT_RUN)
    assert "Accuracy under shift" not in titles(data)
    assert "NOT_RUN" in page.report(data)
    assert page.sections(data)[-1].tables[0].packed()["columns"][-2]["words"] == ["SIGILL"]


def test_a_section_that_raises_leaves_a_named_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = dict(plugins.catalogue(plugins.SECTIONS))

    class Undrawable:
        def __call__(self, data: ReportData) -> Section:
            return Section("Odd", 3, plots=(Plot("odd", "", [{"x": object()}]),))

    class Planted:
        distribution = "third-party"

        def __init__(self, name: str, made: Any) -> None:
            self.name, self._made = name, made

        def load(self) -> Any:
            if isinstance(self._made, Exception):
                raise self._made
            return self._made

    def raising(data: ReportData) -> Section:
        raise ZeroDivisionError("planted")

    for name, made in (("a", raising), ("b", HarnessError("cannot be loaded")), ("c", Undrawable())):
        catalogue[name] = Planted(name, made)  # type: ignore[assignment]
    others = plugins.catalogue
    monkeypatch.setattr(
        plugins, "catalogue", lambda group: catalogue if group == plugins.SECTIONS else others(group)
    )
    data = report(ACCURACY, verdict(State.FAIL))
    shown = titles(data)
    assert {"Gates", "Accuracy under shift"} < set(shown)
    assert shown[-3:] == ["a (missing)", "b (missing)", "c (missing)"]
    gaps = {section.title: section.intro for section in page.sections(data)}
    assert "The section a of third-party is missing: ZeroDivisionError: planted" in gaps["a (missing)"]
    assert "ZeroDivisionError" in page.report(data)


def test_what_blocks_is_listed_worst_first() -> None:
    data = report(
        ACCURACY, verdict(State.INVALID, "one"), verdict(State.FAIL, "two"), verdict(State.PASS, "three")
    )
    assert page.sentence(data) == "1 of 3 gates passed; 2 block the release."
    assert [(state, name) for state, name, _ in front(data).blocks] == [("FAIL", "two"), ("INVALID", "one")]
    explained = {
        "gates": ["two"], "target": data.verdicts[0].target, "backend": data.verdicts[0].backend,
        "variant": data.verdicts[0].variant, "causes": [{"text": "it computes in bf16"}],
    }  # fmt: skip
    sentences = {
        name: sentence for _, name, sentence in front(replace(data, explanations=(explained,))).blocks
    }
    assert sentences["two"].endswith(". Cause: it computes in bf16")
    assert "Cause" not in sentences["one"]
    assert page.report(data).index("the sentence of two") < page.report(data).index("the sentence of one")


def test_a_long_list_of_what_blocks_is_cut_and_counted() -> None:
    data = report(
        ACCURACY, *(verdict(State.NOT_RUN, f"g{i}") for i in range(11)), verdict(State.FAIL, "last")
    )
    shown = front(data)
    assert (len(shown.blocks), shown.more, shown.blocks[0][1]) == (MOST_LINES, 12 - MOST_LINES, "last")


def test_each_variant_of_a_device_has_a_tile_with_its_worst_verdict() -> None:
    clean = row("clean", 0, Measurement("accuracy", "1", 0.95))
    data = report((clean, *ACCURACY), verdict(State.PASS, "one"), verdict(State.NOT_RUN, "two"))
    (tile,) = front(data).tiles
    assert tile.state == "NOT_RUN"
    assert dict(tile.figures)["accuracy %"] == "95.00"
    checked = replace(verdict(State.PASS, "check"), kind="check")
    (tile,) = front(report((clean,), checked)).tiles
    assert tile.state == "", "checks alone are no verdict on a variant"
    assert "no gate" in page.report(report((clean,), checked))


def test_a_tile_says_what_the_terminal_says() -> None:
    """The memory of the process, and that the float reference is an int8 file."""
    clean = row("clean", 0, Measurement("accuracy", "1", 0.95))
    key = clean.key._replace(variant="float32", suite="performance", case="single_stream")
    memory = Row(key, Measurement("peak_memory", "byte", 70.6e6), {"precision": "int8"})
    (tile,) = front(report((memory,))).tiles
    assert (tile.variant, dict(tile.figures)) == ("float32 (int8 file)", {"memory MB": "70.6"})


def test_a_device_without_rows_has_a_tile_too() -> None:
    absent = replace(verdict(State.NOT_RUN, "one"), target="pi")
    tiles = {tile.device.partition("/")[0]: tile for tile in front(report(ACCURACY, absent)).tiles}
    assert (tiles["pi"].state, tiles["pi"].figures) == ("NOT_RUN", ())


def test_what_the_gates_can_see_comes_from_the_challenge() -> None:
    assert "no challenge of this model" in page.report(report(ACCURACY))
    challenge = {
        "target": "cpu", "score": {"caught": 3, "missed": 1, "named": 3}, "created_utc": "2026-11-27",
        "faults": [],
        "effects": [{"name": "a", "text": "accuracy -0.8 pt", "how": "800 pairs"}],
    }  # fmt: skip
    text = page.report(replace(report(ACCURACY), challenges=(challenge,)))
    assert "cpu: 3 of 4 planted faults are caught" in text
    assert "accuracy -0.8 pt" in text


def test_invalid_times_are_marked_in_the_plot() -> None:
    noisy = Measurement("latency_p99", "ns", 2e6, status=Status.INVALID, reason="overloaded")
    data = report((row("single_stream", 0, noisy, suite="performance"),))
    (trace,) = page.sections(data)[0].plots[0].traces
    assert trace["name"].endswith("(INVALID)")


def test_packed_columns_give_every_value_back() -> None:
    table = Table("t", "T", ("a", "b"), [("x", 1.25), ("y", NAN), ("x", float("inf"))])
    words, numbers = table.packed()["columns"]
    assert [words["words"][code] for code in words["codes"]] == ["x", "y", "x"]
    assert numbers["numbers"] == [1.25, None, "inf"]


def test_a_missing_plotly_is_reported_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="plotly") as caught:
        page.report(report(ACCURACY))
    assert "[report]" in str(caught.value)


def test_a_page_that_cannot_be_made_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError):
        page.write(tmp_path / "r.html", page.report(report(ACCURACY)))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def shown(browser: Any, tmp_path: Path) -> Any:
    rows = (row(EVIL, 1, Measurement("accuracy", "1", 0.5), target=LONG), *ACCURACY, *MANY[1:],
            row("case0", 0, Measurement("ece", "1", 0.0, status=Status.INVALID)),
            row("=1+1", 0, Measurement("ece", "1", 99.0)))  # fmt: skip
    page.write(tmp_path / "r.html", page.report(report(rows, verdict(State.FAIL, EVIL), verdict(State.PASS))))
    return opened(browser, tmp_path / "r.html")


def table(browser: Any) -> Any:
    return browser.find_elements("css selector", ".table")[-1]


def count(browser: Any) -> str:
    return str(table(browser).find_element("css selector", ".count").text)


def test_a_browser_opens_it_without_an_error_a_request_or_foreign_script(shown: Any) -> None:
    assert shown.title == "FAIL r1"
    quiet(shown)
    assert shown.execute_script("return document.querySelectorAll('.plot svg').length") > 0


def test_filter_sort_and_download_by_the_keyboard(shown: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    assert count(shown) == "154 of 154 rows"
    box = table(shown)
    box.find_element("css selector", "input").send_keys("ece")
    assert count(shown) == "151 of 154 rows"
    head = next(th for th in box.find_elements("css selector", "th") if th.text.strip(" ▲▼") == "value")
    for order in ("ascending", "descending"):
        head.find_element("css selector", "button").send_keys(Keys.ENTER)
        assert head.get_attribute("aria-sort") == order
    assert "=1+1" in box.find_element("css selector", "tbody tr").text
    box.find_element("css selector", ".csv").send_keys(Keys.ENTER)
    path, end = shown.downloads / "measurements.csv", time.monotonic() + 30
    # Chromium makes the file empty first, and renames the whole one onto it.
    while not path.is_file() or not path.stat().st_size or any(shown.downloads.glob("*.crdownload")):
        assert time.monotonic() < end, "no download"
    with path.open(newline="") as stream:
        records = list(csv.DictReader(stream))
    assert len(records) == 151
    assert records[0]["case"] == "'=1+1"


def test_a_drop_down_leaves_the_rows_of_a_word_by_the_keyboard_with_the_text_filter(shown: Any) -> None:
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    box = table(shown)
    choices = {
        choice.get_attribute("aria-label"): choice for choice in box.find_elements("css selector", "select")
    }
    # Every row is of one variant and suite: nothing to choose there.
    assert list(choices) == ["target in Measurements", "status in Measurements"]
    choice = choices["target in Measurements"]
    assert [option.text for option in Select(choice).options] == ["all", LONG, "cpu"]
    choice.send_keys("c", Keys.ENTER)
    assert count(shown) == "153 of 154 rows"
    box.find_element("css selector", "input").send_keys("fog")
    assert count(shown) == "2 of 154 rows"
    Select(choice).select_by_visible_text(LONG)
    assert count(shown) == "0 of 154 rows"
    Select(choice).select_by_visible_text("all")
    assert count(shown) == "2 of 154 rows"
    box.find_element("css selector", "input").clear()
    Select(choices["status in Measurements"]).select_by_visible_text("INVALID")
    assert count(shown) == "1 of 154 rows"
    assert choice.accessible_name == "target in Measurements"
    assert box.find_element("css selector", ".count").get_attribute("role") == "status"


def test_dark_changes_the_colours_and_a_phone_has_no_sideways_scroll(shown: Any) -> None:
    colour = "return getComputedStyle(document.body).backgroundColor"
    before = shown.execute_script(colour)
    shown.find_element("id", "theme").click()
    assert shown.execute_script(colour) != before
    fits_a_phone(shown)
