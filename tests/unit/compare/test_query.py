"""The engine's edges that a command line does not reach."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

from harness.compare.query import SHOWN, WIDEST, Answer, query, text
from harness.core.errors import UsageError


def test_without_duckdb_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(UsageError, match="needs DuckDB") as caught:
        query("SELECT 1", tmp_path)
    assert "[query]" in caught.value.next_step


def test_a_table_is_aligned_cut_and_counted() -> None:
    frame = pd.DataFrame({"name": ["a", "b" * 200], "n": [1, 1000]}, dtype=object)
    lines = text(Answer(frame, ())).splitlines()
    assert lines[0] == "name" + " " * (WIDEST - 4) + "     n"
    assert lines[2].endswith("     1")
    assert lines[3].startswith("b" * (WIDEST - 1) + "…  1000")
    assert lines[-1] == "2 rows"


def test_no_row_and_very_many() -> None:
    assert text(Answer(pd.DataFrame({"a": []}, dtype=object), ())) == "a\n-\n0 rows"
    many = text(Answer(pd.DataFrame({"a": range(SHOWN + 5)}, dtype=object), ())).splitlines()
    assert many[-2:] == ["… 5 more rows: --csv has them all", f"{SHOWN + 5} rows"]
