"""Bulk reading against pandas, and every file that is none."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.core.errors import ResultsError
from harness.core.measurement import COLUMNS
from harness.store import bulk, tables

NAMED = ("variant", "case", "severity", "value", "n", "status", "reason", "reference")


def planted(rows: int = 40) -> pd.DataFrame:
    frame = pd.DataFrame("x", index=range(rows), columns=list(COLUMNS)).astype(object)
    frame["value"] = [(-1) ** i * math.exp(i) / 3 for i in range(rows)]
    frame["value"] = frame["value"].where(frame.index % 7 != 0)
    frame["ci_low"], frame["ci_high"] = -math.inf, math.inf
    frame["severity"], frame["n"], frame["status"] = frame.index % 3, frame.index, "OK"
    frame["variant"] = [("int8", "=1+1", 'a "b", c', "NA", "8")[i % 5] for i in range(rows)]
    frame["reason"] = [("", "two\nlines", "é")[i % 3] for i in range(rows)]
    frame["reference"] = ""
    return frame


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_what_was_written_comes_back(tmp_path: Path, kind: str) -> None:
    frame, path = planted(), tmp_path / f"t.{kind}"
    frame.to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path, index=False)
    frame_ = bulk.frame([bulk.read(path, NAMED)])
    assert list(frame_.columns) == list(NAMED)
    for name in ("variant", "case", "status", "reason", "reference"):
        assert frame_[name].dtype.name == "category"
        assert frame_[name].astype(str).tolist() == frame[name].tolist()
    np.testing.assert_array_equal(frame_["value"], frame["value"].astype(float))
    assert frame_["severity"].dtype == frame_["n"].dtype == np.int64
    assert frame_["n"].tolist() == frame["n"].tolist()


def test_several_files_are_one_table_in_their_order(tmp_path: Path) -> None:
    first, second = planted(5), planted(3).assign(variant="other")
    for frame, name in ((first, "a.csv"), (second, "b.parquet")):
        path = tmp_path / name
        frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path, index=False)
    csv, parquet = (bulk.read(tmp_path / name, NAMED) for name in ("a.csv", "b.parquet"))
    frame_ = bulk.frame([csv, csv])
    assert frame_["variant"].astype(str).tolist() == first["variant"].tolist() * 2
    both = bulk.frame([csv, parquet])
    assert both["variant"].astype(str).tolist() == [*first["variant"], *second["variant"]]


def test_a_count_that_is_missing_somewhere_is_no_integer(tmp_path: Path) -> None:
    frame = planted(3).astype({"n": object})
    frame.loc[1, "n"] = None
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame_ = bulk.frame([bulk.read(tmp_path / "t.csv", NAMED)])
    np.testing.assert_array_equal(frame_["n"], [0, np.nan, 2])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda text: text[: text.rindex(",OK,")], "line 41 of the table is cut"),
        (lambda text: text.replace(",OK,", ",,", 1), "line 2 of the table is cut"),
        (lambda text: "", "it is empty"),
        (lambda text: text.replace("metric", "rating", 1), "lacks the columns metric"),
        (
            lambda text: text.replace("-0.9060939428196817", "fast"),
            "the column value has a value that is not a number: 'fast'",
        ),
        (lambda text: text.replace(",OK,", ",OK,1,2,", 1), "the table cannot be read"),
    ],
)
def test_a_file_that_is_none_is_refused_with_the_reason(tmp_path: Path, spoil, says: str) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    path = tmp_path / "t.csv"
    frame = planted().assign(reason="")
    frame.to_csv(path, index=False)
    path.write_text(spoil(path.read_text()))
    with pytest.raises(ResultsError) as caught:
        bulk.read(path, NAMED)
    assert says in str(caught.value)
    with pytest.raises(ResultsError):
        bulk.read(tmp_path / "absent.csv", NAMED)


def test_a_table_for_users_has_texts_as_texts_and_numbers_as_numbers(tmp_path: Path) -> None:
    names = ["NA", "null", "nan", "007", "1e5", "True", "None", "1.10", "int8"]
    frame = planted()
    frame = frame.assign(
        variant=[names[i % len(names)] for i in range(len(frame))], target="NA", model="007",
        backend_version="1.10",
    )  # fmt: skip
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame_ = tables.read(tmp_path / "t.csv")
    assert frame_["variant"].tolist() == frame["variant"].tolist()
    assert {*frame_["target"], *frame_["model"], *frame_["backend_version"]} == {"NA", "007", "1.10"}
    plain = pd.read_csv(tmp_path / "t.csv")
    for name in ("value", "ci_low", "n", "severity"):
        pd.testing.assert_series_equal(frame_[name], plain[name])
    assert not frame_["reason"].isna().any()
