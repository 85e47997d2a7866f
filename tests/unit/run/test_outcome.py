"""An outcome in print and in a notebook."""

from __future__ import annotations

import math
from pathlib import Path

from harness.core.exit_code import ExitCode
from harness.core.job import JobKey
from harness.core.measurement import COLUMNS, Measurement, Row
from harness.core.plan import Plan
from harness.core.verdict import State, Verdict
from harness.run.outcome import Outcome
from harness.store.run_folder import RunFolder

NAN = math.nan


def verdict(state: State, gate: str) -> Verdict:
    return Verdict(
        gate, "cpu", "ort", "int8", "accuracy", "m", state, "block", "block", "<b>said</b>",
        NAN, NAN, NAN, NAN, "", 0,
    )  # fmt: skip


def outcome(rows: int = 400) -> Outcome:
    made = tuple(
        Row(JobKey("cpu", "ort", "deploy", "int8", "accuracy", f"c{i}", 0), Measurement("m", "1", i / 7))
        for i in range(rows)
    )
    verdicts = (verdict(State.PASS, "a"), verdict(State.FAIL, "b"), verdict(State.NOT_APPLICABLE, "c"))
    folder = RunFolder(Path("results/r1"))
    return Outcome(folder, {}, made, verdicts, State.FAIL, ExitCode.FAILED, Plan(()), 0, ())


def test_print_is_one_short_line() -> None:
    assert str(outcome()) == repr(outcome())
    assert repr(outcome()) == "<Outcome FAIL: 1 of 2 gates, 400 rows, exit code 1, results/r1>"


def test_a_notebook_shows_the_verdicts_the_worst_first() -> None:
    page = outcome()._repr_html_()
    assert page.index("<td>b</td>") < page.index("<td>c</td>") < page.index("<td>a</td>")
    assert "&lt;b&gt;said&lt;/b&gt;" in page
    assert "<b>said" not in page


def test_the_table_has_the_columns_of_the_csv() -> None:
    table = outcome(3).table
    assert list(table.columns) == list(COLUMNS)
    assert table["case"].tolist() == ["c0", "c1", "c2"]
    assert list(outcome(0).table.columns) == list(COLUMNS)
