"""Columns of ``doctor`` and ``plan``: a long cell never runs into the next one."""

from __future__ import annotations

from harness.core.columns import aligned


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    rows = [("a-very-long-target/onnxruntime", "7 jobs", "x"), ("cpu", "12 jobs", "much longer than x")]
    assert aligned(rows, right=(1,)) == [
        "a-very-long-target/onnxruntime   7 jobs  x",
        "cpu                             12 jobs  much longer than x",
    ]


def test_without_rows_there_are_no_lines_and_no_line_ends_in_spaces() -> None:
    assert aligned([]) == []
    assert aligned([("a", ""), ("b", "c")]) == ["a", "b  c"]
