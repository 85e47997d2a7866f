from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import ResultsError
from harness.core.job import EnvironmentRecord, JobKey, Status
from harness.core.measurement import COLUMNS, UNITS, Measurement, Row
from harness.core.metric import Declared, Metric, Role
from harness.core.plan import HOST
from harness.core.verdict import State, Verdict
from harness.store import bulk, tables

KEY = JobKey("cpu", "onnxruntime", "deploy", "int8", "accuracy", "fog", 3)
VALUES = (1, 0.1, np.float64(1 / 3), 1e-7, 1e22, -0.0, math.inf, -math.inf, math.nan, 443205)


def rows() -> list[Row]:
    identity = {"run_id": "r", "device": 'a "quoted", name', "model": "digits"}
    return [
        Row(
            KEY,
            Measurement("m", "1", value, ci_low=value, n=7, status=Status.ERROR, reason="two\nlines"),
            identity,
        )
        for value in VALUES
    ]


def test_the_files_are_what_pandas_would_write(tmp_path: Path) -> None:
    verdict = Verdict("g", "cpu", "onnxruntime", "int8", "accuracy", "m", State.INCONCLUSIVE, "block", "warn",
                      "undecided, more", 0.5, math.nan, 0.75, 1, "pt", 3)  # fmt: skip
    tables.write(tmp_path, rows(), [verdict], [])
    frame = pd.DataFrame([row.to_record() for row in rows()], columns=list(COLUMNS))
    frame = frame.astype({"value": "float64", "ci_low": "float64"})
    expected = frame.to_csv(index=False, lineterminator="\n")
    assert (tmp_path / "measurements.csv").read_text() == expected
    assert (tmp_path / "cpu" / "measurements.csv").read_text() == expected
    record = {name: getattr(verdict, name) for name in tables.VERDICT_COLUMNS}
    assert (tmp_path / "verdicts.csv").read_text() == pd.DataFrame(
        [record | {"state": "INCONCLUSIVE", "limit": 1.0}]
    ).to_csv(index=False, lineterminator="\n")


def test_numbers_come_back_bit_by_bit(tmp_path: Path) -> None:
    tables.write(tmp_path, rows(), [], [])
    read = tables.read(tmp_path / "measurements.csv")
    expected = np.array(VALUES, np.float64)
    np.testing.assert_array_equal(read["value"], expected)
    np.testing.assert_array_equal(np.signbit(read["value"]), np.signbit(expected))


def test_a_run_is_judged_without_pandas() -> None:
    code = "import sys; sys.modules['pandas'] = None; import harness.run.stages, harness.report.screen"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def frame(*records: dict[str, object]) -> pd.DataFrame:
    fields = dict.fromkeys(COLUMNS, "") | {"target": "cpu", "status": "OK", "severity": 0, "n": 1}
    numbers = {"value": 1.0, "ci_low": math.nan, "ci_high": math.nan}
    return pd.DataFrame([fields | numbers | record for record in records], columns=list(COLUMNS))


@pytest.mark.parametrize("unit", sorted(UNITS))
@pytest.mark.parametrize("categories", [False, True])
def test_numbers_come_in_the_units_of_the_table(unit: str, categories: bool) -> None:
    table = frame({"unit": unit, "value": 2.0, "ci_low": 1.0, "ci_high": 3.0}, {"unit": "ns", "value": 7.0})
    if categories:
        table = table.astype({"unit": "category"})
    cleaned = tables.clean(table, "here")
    table_unit, factor = UNITS[unit]
    assert cleaned["unit"].tolist() == [table_unit, "ns"]
    assert cleaned.loc[0, ["value", "ci_low", "ci_high"]].tolist() == [2 * factor, factor, 3 * factor]
    assert cleaned.loc[1, "value"] == 7.0


def test_rows_of_the_host_are_left_out_and_missing_texts_are_empty() -> None:
    table = frame({"target": HOST}, {"reference": None, "reason": None, "unit": "furlong", "value": 3})
    for cleaned in (tables.clean(table, "here"), tables.clean(table.astype({"reason": "category"}), "here")):
        assert cleaned.index.tolist() == [0]
        assert cleaned.loc[0, ["reference", "reason", "unit"]].tolist() == ["", "", "furlong"]
        assert cleaned.loc[0, "value"] == 3.0


def test_a_number_that_is_none_names_its_column_and_file() -> None:
    with pytest.raises(ResultsError, match="ci_low") as caught:
        tables.clean(frame({"ci_low": "fast"}), "table.csv")
    assert caught.value.where == "table.csv"


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([*COLUMNS], ""),
        ([name for name in COLUMNS if name not in ("unit", "n")], "lacks the columns unit, n"),
        ([*COLUMNS, "rating"], "rating"),
    ],
)
def test_columns_are_those_of_the_contract(tmp_path: Path, names: list[str], says: str) -> None:
    if not says:
        tables.check_columns(names, tmp_path)
        return
    with pytest.raises(ResultsError, match=says):
        tables.check_columns(names, tmp_path)


def test_the_line_where_a_table_is_cut_is_named(tmp_path: Path) -> None:
    table = frame({}, {}, {"status": None}, {"status": None})
    table.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(ResultsError, match="line 4 of the table"):  # the header is line 1
        tables.read(tmp_path / "t.csv")


def test_cards_have_the_losses_of_the_host_by_class(tmp_path: Path) -> None:
    def loss(target: str, case: str, value: float, metric: str = "lost") -> Row:
        key = KEY._replace(target=target, case=case)
        return Row(key, Measurement(metric, "pt", value, value - 1, value + 1, 9))

    rows = [
        loss(HOST, "clean/0", 1.5), loss(HOST, "clean/2", 2.5), loss("cpu", "clean/1", 3.5),
        loss(HOST, "clean/1", 4.5, "accuracy_loss"), loss(HOST, "clean", 5.5),
    ]  # fmt: skip
    run = {"model": {"class_names": ["cat", "dog"]}, "validation_path": "model/validation.toml"}
    metrics = Declared({KEY.suite: {"lost": Metric("pt", "lower", role=Role.CLASS_LOSS)}})
    tables.write_cards(tmp_path, run, {"int8": {"passes": 1}, "float32": {}}, rows, metrics)
    card = json.loads((tmp_path / "cards" / "int8.json").read_text())
    assert card == {
        "passes": 1,
        "validation": "model/validation.toml",
        "classes": [
            {"label": 0, "name": "cat", "loss_pt": 1.5, "ci_low": 0.5, "ci_high": 2.5, "n": 9},
            {"label": 2, "name": "2", "loss_pt": 2.5, "ci_low": 1.5, "ci_high": 3.5, "n": 9},
        ],
    }
    assert json.loads((tmp_path / "cards" / "float32.json").read_text())["classes"] == []


def test_environments_are_written_by_target(tmp_path: Path) -> None:
    records = [
        EnvironmentRecord(target, "onnxruntime", "int8", "accuracy", phase, {"load_1min": load})
        for target, phase, load in (("cpu", "before", 1), ("pi", "before", 2), ("cpu", "after", 3))
    ]
    tables.write(tmp_path, rows(), [], records)
    key = {"backend": "onnxruntime", "variant": "int8", "suite": "accuracy"}
    assert json.loads((tmp_path / "cpu" / "environment.json").read_text()) == [
        {**key, "phase": "before", "facts": {"load_1min": 1}},
        {**key, "phase": "after", "facts": {"load_1min": 3}},
    ]  # fmt: skip
    assert len(json.loads((tmp_path / "pi" / "environment.json").read_text())) == 1


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_what_a_spreadsheet_takes_for_a_formula_is_made_inert(tmp_path: Path, start: str) -> None:
    table = pd.DataFrame({"text": [f"{start}1", "a=1", "", None], f"{start}head": [1, 2, 3, -4]})
    tables.write_frame(tmp_path / "t.csv", table)
    read = pd.read_csv(tmp_path / "t.csv", keep_default_na=False)
    shown = start.replace("\r", "\n")
    assert list(read.columns) == ["text", f"'{shown}head"]
    assert read["text"].tolist() == [f"'{shown}1", "a=1", "", ""]
    assert read[f"'{shown}head"].tolist() == [1, 2, 3, -4]
    assert table.columns[0] == "text"  # the table itself is as it was


def test_what_would_move_the_cursor_is_replaced() -> None:
    assert tables.plain("a\x1b[2Jb\x07\n") == "a\ufffd[2Jb\ufffd\ufffd"
    assert tables.plain("größe 8 µs") == "größe 8 µs"
    assert tables.plain(8) == "8"


@pytest.mark.parametrize("reason", ["50 %\r100 %", "one\r\ntwo", "\rthree"])
def test_a_carriage_return_in_a_message_does_not_cut_the_table(tmp_path: Path, reason: str) -> None:
    """Runtimes print progress with it; a reader would take it for the end of a line."""
    (made,) = rows()[:1]
    tables.write(tmp_path, [replace(made, measurement=replace(made.measurement, reason=reason))], [], [])
    path = tmp_path / "measurements.csv"
    expected = reason.replace("\r\n", "\n").replace("\r", "\n")
    assert tables.read(path)["reason"].tolist() == [expected]
    assert bulk.frame([bulk.read(path, ("status", "reason"))])["reason"].tolist() == [expected]


def named(name: str) -> list[Row]:
    row = Row(KEY._replace(variant=name), Measurement("m", "1", 0.5, n=7), {"run_id": name})
    return [row, replace(row, key=row.key._replace(severity=0))]


@pytest.mark.parametrize("name", ["NA", "null", "007", "1e5", "nan", ""])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_texts_come_back_as_texts_and_whole_numbers_as_such(tmp_path: Path, name: str, suffix: str) -> None:
    tables.write(tmp_path, named(name), [], [])
    path = tmp_path / "measurements.csv"
    if suffix == "parquet":
        tables.read(path).to_parquet(path := tmp_path / "m.parquet")
    read = tables.read(path)
    assert read["variant"].tolist() == [name, name]
    assert read["run_id"].tolist() == [name, name]
    assert read["severity"].tolist() == [3, 0]
    assert (read["severity"].dtype, read["n"].dtype) == ("int64", "int64")
    assert read["value"].dtype == read["ci_low"].dtype == "float64"
    assert read["ci_low"].isna().all()


def test_a_table_that_cannot_be_read_says_why_and_where(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("")
    with pytest.raises(ResultsError) as empty:
        tables.read(path)
    assert (empty.value.where, empty.value.cause) == (str(path), "it is empty")
    (parquet := tmp_path / "m.parquet").write_bytes(b"none")
    with pytest.raises(ResultsError) as other:
        tables.read(parquet)
    assert (other.value.where, other.value.cause) == (str(parquet), "")
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ResultsError) as columns:
        tables.read(path)
    assert columns.value.where == str(path)
    cut = tables.cut_off(path, 7)
    assert (cut.where, cut.cause) == (str(path), "it was copied while it was written")
    assert "harness judge RUN" in cut.next_step


def test_verdicts_have_texts_also_without_waivers(tmp_path: Path) -> None:
    verdict = Verdict("007", "cpu", "onnxruntime", "NA", "accuracy", "m", State.PASS, "block", "warn",
                      "held", 0.5, math.nan, 0.75, 1, "pt", 3)  # fmt: skip
    tables.write(tmp_path, [], [verdict], [])
    read = tables.read_verdicts(tmp_path / "verdicts.csv")
    assert read[["gate", "variant", "severity", "on_inconclusive", "waived"]].values.tolist() == [
        ["007", "NA", "block", "warn", ""]
    ]
    assert read["value"].tolist() == [0.5]
    read.drop(columns="waived").to_csv(tmp_path / "old.csv", index=False)
    assert tables.read_verdicts(tmp_path / "old.csv")["waived"].tolist() == [""]
    read.assign(waived="by jane").to_csv(tmp_path / "waived.csv", index=False)
    assert tables.read_verdicts(tmp_path / "waived.csv")["waived"].tolist() == ["by jane"]


def test_only_numbers_of_other_units_change_and_only_texts_of_formulas(tmp_path: Path) -> None:
    mixed = frame(
        {"target": HOST, "unit": "s", "value": 9.0}, {"target": "cpu", "unit": "else", "value": 2.0},
        {"target": "cpu", "unit": "ms", "value": 3.0}, {"target": "cpu", "unit": math.nan, "value": 4.0},
    )  # fmt: skip
    cleaned = tables.clean(mixed, "here")
    assert cleaned["value"].tolist() == [2.0, 3e6, 4.0]
    assert cleaned["unit"].tolist() == ["else", "ns", ""]
    assert cleaned.index.tolist() == [0, 1, 2]
    assert "index" not in cleaned
    path = tmp_path / "out.csv"
    tables.write_frame(path, pd.DataFrame({"text": ["=1", "plain", None, 5, "-"], "x": [1, 2, 3, 4, 5]}))
    assert path.read_bytes() == b"text,x\n'=1,1\nplain,2\n,3\n5,4\n'-,5\n"


#: Text that a spreadsheet would execute, and text that could be taken for what was made of such text.
FORMULAS = (
    "=1+1", "+1", "-1", "@SUM(A1)", "\tx", "'=1", "''=1", "'", "''", "'x", "'-", "=", "-", "", "x=1", "'\t",
    "=cmd|' /C calc'!A0", "-2.5",
)  # fmt: skip


@pytest.mark.parametrize("read", ["pandas", "bulk"])
def test_formulas_are_inert_in_the_files_and_themselves_again_when_read(tmp_path: Path, read: str) -> None:
    written = [
        Row(
            KEY._replace(variant=text),
            Measurement("m", "1", -1.5, ci_low=-2.0, n=7, reason=text),
            {"device": text},
        )
        for text in FORMULAS
    ]
    tables.write(tmp_path, written, [], [])
    path = tmp_path / "measurements.csv"
    with path.open(newline="") as stream:
        cells = [cell for row in list(csv.reader(stream))[1:] for cell in row]
    executed = [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]
    assert set(executed) == {"-1.5", "-2.0"}, "numbers alone may begin so"
    columns = ("variant", "reason", "status", "value")
    frame = tables.read(path) if read == "pandas" else bulk.frame([bulk.read(path, columns)])
    assert frame["variant"].astype(str).tolist() == list(FORMULAS)
    assert frame["reason"].astype(str).tolist() == list(FORMULAS)
    assert frame["value"].tolist() == [-1.5] * len(FORMULAS)


def test_formulas_in_verdicts(tmp_path: Path) -> None:
    verdict = Verdict("=gate", "cpu", "null", "-int8", "accuracy", "m", State.PASS, "block", "warn",
                      "@sentence", 0.5, math.nan, math.nan, -1.0, "pt", 3)  # fmt: skip
    tables.write(tmp_path, [], [verdict], [])
    text = (tmp_path / "verdicts.csv").read_text()
    assert "'=gate" in text
    assert "'@sentence" in text
    read = tables.read_verdicts(tmp_path / "verdicts.csv").iloc[0]
    assert (read["gate"], read["variant"], read["sentence"], read["limit"]) == (
        "=gate", "-int8", "@sentence", -1.0,
    )  # fmt: skip


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r"), max_size=8))
def test_any_text_comes_back(text: str) -> None:
    assert tables.restored(tables.inert(text)) == text
    assert tables.inert(text)[:1] not in ("=", "+", "-", "@", "\t") or not text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "it is empty"), ("gate,state\ng,PASS\n", "lacks the columns target, backend"),
        ("\"", "cannot be read"),
    ],
)  # fmt: skip
def test_verdicts_that_are_none(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "verdicts.csv").write_text(content)
    with pytest.raises(ResultsError) as caught:
        tables.read_verdicts(tmp_path / "verdicts.csv")
    assert says in str(caught.value)


def test_a_state_that_nobody_knows(tmp_path: Path) -> None:
    verdict = Verdict("g", "cpu", "null", "int8", "accuracy", "m", State.PASS, "block", "warn",
                      "s", 0.5, math.nan, math.nan, 1.0, "pt", 3)  # fmt: skip
    tables.write(tmp_path, [], [verdict], [])
    path = tmp_path / "verdicts.csv"
    path.write_text(path.read_text().replace("PASS", "PERFECT"))
    with pytest.raises(ResultsError, match="the state 'PERFECT'"):
        tables.read_verdicts(path)
