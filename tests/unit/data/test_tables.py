"""Tables as people save them; and messages that name the line of the file and the text of the cell."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.core.errors import DataError
from harness.data.datasets import Dataset
from harness.data.sources import DataSource, load

VALUES = np.array([[0.5, -2], [1.25, 3], [100, 0.001]], np.float32)
LABELS = [2, 0, 1]


def read(path: Path, text: str, label_column: str | int = "label", **more: object) -> Dataset:
    path.write_text(text)
    return load(DataSource(path=path, label_columns=(label_column,), **more))  # type: ignore[arg-type]


def rows(separator: str = ",", decimal: str = ".", quote: str = "") -> str:
    lines = [separator.join(f"{quote}{name}{quote}" for name in ("a", "b", "label"))]
    for values, label in zip(VALUES, LABELS, strict=True):
        cells = [f"{value:.4f}".replace(".", decimal) for value in values]
        lines.append(separator.join(f"{quote}{cell}{quote}" for cell in (*cells, label)))
    return "\n".join(lines) + "\n"


def is_right(loaded: Dataset) -> None:
    np.testing.assert_array_equal(loaded.inputs["input"], VALUES)
    assert loaded.inputs["input"].dtype == np.float32
    assert loaded.labels is not None
    assert loaded.labels.tolist() == LABELS


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_and_decimal_marks(tmp_path: Path, separator: str, decimal: str, quote: str) -> None:
    if (separator, decimal, quote) == (",", ",", ""):
        with pytest.raises(DataError, match="line 2 has 5 cells, the first line 3") as caught:
            read(tmp_path / "t.csv", rows(separator, decimal, quote))
        assert "decimal commas" in caught.value.cause
        return
    loaded = read(tmp_path / "t.csv", rows(separator, decimal, quote))
    is_right(loaded)
    assert any("decimal commas" in note for note in loaded.notes) == (decimal == ",")


def test_columns_between_blanks(tmp_path: Path) -> None:
    is_right(read(tmp_path / "t.txt", rows("  ")))
    is_right(read(tmp_path / "t.dat", rows(" ").replace("\n", " \n")))


def test_a_blank_after_each_separator(tmp_path: Path) -> None:
    is_right(read(tmp_path / "t.csv", rows(", ")))


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"]
)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_encodings(tmp_path: Path, encoding: str, newline: str) -> None:
    text = rows().replace("a,b", "Größe,b").replace("\n", newline)
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    loaded = load(DataSource(path=tmp_path / "t.csv", label_columns=("label",)))
    is_right(loaded)
    assert any("latin-1" in note for note in loaded.notes) == (encoding == "latin-1")


def test_comment_lines(tmp_path: Path) -> None:
    text = "# made by hand\n\n" + rows().replace("1.25", "# one more\n1.25")
    loaded = read(tmp_path / "t.csv", text)
    is_right(loaded)
    assert "2 comment lines (#) are left out" in loaded.notes


def test_a_header_that_is_a_comment(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "t.csv", np.c_[VALUES, LABELS], delimiter=",", header="a,b,label", fmt="%g")
    loaded = load(DataSource(path=tmp_path / "t.csv", label_columns=(2,)))
    is_right(loaded)
    assert any("line 1" in note for note in loaded.notes)


def test_excels_line_for_the_separator(tmp_path: Path) -> None:
    is_right(read(tmp_path / "t.csv", "sep=;\n" + rows(";")))


def test_an_index_column_is_left_out(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": VALUES[:, 0], "b": VALUES[:, 1], "label": LABELS}, index=[7, 3, 5])
    frame.to_csv(tmp_path / "t.csv")
    loaded = load(DataSource(path=tmp_path / "t.csv", label_columns=("label",)))
    is_right(loaded)
    assert any("left out as the index" in note for note in loaded.notes)
    named = read(tmp_path / "named.csv", '"","a","b","label"\n"x",0.5,-2,2\n"y",1.25,3,0\n"z",100,0.001,1\n')
    is_right(named)


def test_an_unnamed_column_of_values_is_a_feature(tmp_path: Path) -> None:
    loaded = read(tmp_path / "t.csv", ",b,label\n0.5,1,0\n0.5,2,1\n")
    assert loaded.inputs["input"].shape == (2, 2)


def test_a_separator_at_the_end_of_each_line(tmp_path: Path) -> None:
    is_right(read(tmp_path / "t.csv", rows().replace("\n", ",\n")))
    is_right(read(tmp_path / "t.csv", rows().replace("\n", ",\n").replace("label,", "label")))


@pytest.mark.parametrize("label_column", ["kind", 1])
def test_a_label_column_in_the_middle(tmp_path: Path, label_column: str | int) -> None:
    loaded = read(tmp_path / "t.csv", "a,kind,b\n0.5,dog,-2\n1.25,cat,3\n100,NA,0.001\n", label_column)
    np.testing.assert_array_equal(loaded.inputs["input"], VALUES)
    assert loaded.class_names == ("NA", "cat", "dog")
    assert loaded.labels is not None
    assert loaded.labels.tolist() == [2, 1, 0]


def test_text_labels_without_a_header(tmp_path: Path) -> None:
    loaded = read(tmp_path / "iris.data", "5.1,3.5,setosa\n4.9,3.0,setosa\n6.2,2.2,virginica\n", 2)
    assert len(loaded) == 3
    assert loaded.class_names == ("setosa", "virginica")


@pytest.mark.parametrize("token", ["?", "NA", "NaN", "nan", "null", "N/A", "-", ""])
@pytest.mark.parametrize("extra", ["", "# a comment\n\n"])
def test_a_missing_value_is_named_with_line_and_text(tmp_path: Path, token: str, extra: str) -> None:
    lines = [f"{i}.5,1,{i % 3}" for i in range(100)]
    lines[77] = f"1.5,{token},0"
    with pytest.raises(DataError, match="1 of 200 cells is missing, in 1 of 100 rows") as caught:
        read(tmp_path / "t.csv", extra + "a,b,label\n" + "\n".join(lines) + "\n")
    line = 79 + extra.count("\n")
    shown = repr(token) if token else "an empty cell"
    assert f"line {line}, column 'b' has {shown}" in caught.value.what
    assert 'missing = "drop"' in caught.value.next_step
    dropped = load(DataSource(path=tmp_path / "t.csv", label_columns=("label",), missing="drop"))
    assert dropped.ids.tolist() == [i for i in range(100) if i != 77]
    assert dropped.labels is not None
    assert dropped.labels.tolist() == [i % 3 for i in range(100) if i != 77]
    assert any("1 of 100 rows" in note and f"line {line}" in note for note in dropped.notes)
    filled = load(DataSource(path=tmp_path / "t.csv", label_columns=("label",), missing=-1.0))
    assert filled.inputs["input"][77].tolist() == [1.5, -1]
    assert len(filled) == 100


def test_missing_cells_are_counted_over_the_whole_file(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"3 of 6 cells are missing, in 2 of 3 rows; the first: line 3, column 'a'"
    ):
        read(tmp_path / "t.csv", "a,b,label\n1,2,0\n?,?,0\n4,NA,1\n")


def test_the_line_is_that_of_an_editor_even_after_cells_of_several_lines(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 5, column 'b' has 'x'"):
        read(tmp_path / "t.csv", 'a,label,b\n1,"two\nlines",2\n2,y,3\n3,y,x\n4,y,5\n')


def test_a_label_that_is_missing(tmp_path: Path) -> None:
    text = "a,label\n1,0\n2,\n3,1\n4,?\n"
    with pytest.raises(DataError, match=r"2 of 4 rows have no label; the first: line 3, column 'label'"):
        read(tmp_path / "t.csv", text)
    with pytest.raises(DataError, match="no label"):
        read(tmp_path / "t.csv", text, missing=0.0)
    dropped = read(tmp_path / "t.csv", text, missing="drop")
    assert dropped.labels is not None
    assert dropped.labels.tolist() == [0, 1]
    assert dropped.labels.dtype == np.int64


@pytest.mark.parametrize(
    ("text", "says", "cause"),
    [
        ("a,b\n1,2\nx,4\n", r"1 of 2 cells is not a number; the first: line 3, column 'a' has 'x'", ""),
        ("a;b\n1,5;2\n1.234;4\n", r"line 3, column 'a' has '1.234'", "a point in a file with decimal commas"),
        ('a,b\n"1,234.5",2\n3,4\n', "line 2, column 'a' has '1,234.5'", "thousands"),
        ("a,b\n5 kg,2\n3,4\n", "has '5 kg'", "unit"),
        ("a,b\n5%,2\n3,4\n", "has '5%'", "percent"),
        ("a,b\n2024-01-02,2\n3,4\n", "has '2024-01-02'", "date"),
        ("a,b\n'5',2\n3,4\n", "has \"'5'\"", "single quotes"),
        ("a,b\nred,2\nblue,4\n", "2 of 2 cells are not numbers", "column of text"),
        ("a,b\ninf,2\n3,4\n", r"1 of 2 cells are infinite; the first: line 2, column 'a' has 'inf'", ""),
        ('a,b\n"1,234",2\n"5,678",4\n', "'1,234' have a comma for thousands or decimals", ""),
        (
            "a,b\n1,2\n3,4,5\n",
            "1 of 2 rows of t.csv cannot be read: line 3 has 3 cells, the first line 2",
            "quoted",
        ),
        ("a,b\n0,2,3\n1,4,5\n", "2 of 2 rows", "the first column has no name"),
        ("a,b,c\n0,2,1,5,1\n1,4,1,5,0\n", "2 of 2 rows", "decimal commas"),
        ("a,b\n1,2\n3\n", "line 3 has 1 cells, and the first line 2", ""),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, says: str, cause: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        read(tmp_path / "t.csv", text, "b")
    assert cause in caught.value.cause
    assert str(tmp_path / "t.csv") in caught.value.where


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)), b"", b"\n \n", b"# only\n"]
)
def test_files_that_are_no_tables(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"t\.csv (cannot be read as a table|is empty)"):
        load(DataSource(path=tmp_path / "t.csv", label_columns=(0,)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-1e6, 1e6, width=32), st.floats(-1e6, 1e6, width=32), st.integers(0, 9)),
        min_size=2,
        max_size=8,
    ),
    st.sampled_from([(",", "."), (";", ","), (";", "."), ("\t", ","), ("|", ".")]),
)
def test_every_table_reads_back(
    tmp_path: Path, table: list[tuple[float, float, int]], form: tuple[str, str]
) -> None:
    separator, decimal = form
    frame = pd.DataFrame(table, columns=["a", "b", "label"])
    frame.to_csv(tmp_path / "t.csv", sep=separator, decimal=decimal, index=False)
    loaded = load(DataSource(path=tmp_path / "t.csv", label_columns=("label",)))
    np.testing.assert_array_equal(loaded.inputs["input"], frame[["a", "b"]].to_numpy(np.float32))
    assert loaded.labels is not None
    assert loaded.labels.tolist() == frame["label"].tolist()


def test_parquet_with_missing_values(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"a": [1.0, None, 3.0], "b": pd.array([1, 2, None], "Int64"), "label": ["x", "y", "x"]}
    )
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(
        DataError, match=r"2 of 6 cells are missing, in 2 of 3 rows; the first: row 1 \(from 0\)"
    ):
        load(DataSource(path=tmp_path / "t.parquet", label_columns=("label",)))
    dropped = load(DataSource(path=tmp_path / "t.parquet", label_columns=("label",), missing="drop"))
    np.testing.assert_array_equal(dropped.inputs["input"], [[1, 1]])
    assert dropped.class_names == ("x", "y")


@pytest.mark.parametrize("text", ["label\n2\n0\n1\n", "2\n0\n1\n", "2.0\r\n0.0\r\n1.0\r\n", "\n2\n\n0\n1"])
def test_a_file_of_labels(tmp_path: Path, text: str) -> None:
    np.save(tmp_path / "x.npy", VALUES)
    (tmp_path / "y.txt").write_text(text)
    is_right(load(DataSource(path=tmp_path / "x.npy", labels=tmp_path / "y.txt")))


def test_a_compressed_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(rows().encode()))
    is_right(load(DataSource(path=tmp_path / "t.csv.gz", label_columns=("label",))))
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(rows().encode() * 1000))
    with pytest.raises(DataError, match=r"unpacks to about .* bytes, more than max_bytes = 5,000"):
        load(DataSource(path=tmp_path / "t.csv.gz", label_columns=("label",), max_bytes=5000))


@pytest.mark.parametrize("name", ["t.xlsx", "t.json", "t.h5", "t.pkl", "t.zip"])
def test_foreign_formats_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=rf"\{name[1:]} files are not read") as caught:
        load(DataSource(path=tmp_path / name))
    assert caught.value.next_step


def test_a_file_of_class_names_may_have_blanks(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", VALUES)
    (tmp_path / "y.txt").write_text("golden retriever\nred fox\ngolden retriever\n")
    loaded = load(DataSource(path=tmp_path / "x.npy", labels=tmp_path / "y.txt"))
    assert loaded.class_names == ("golden retriever", "red fox")


@pytest.mark.parametrize("name", ["y.npy", "y.npz"])
def test_labels_of_text_in_numpy_files(tmp_path: Path, name: str) -> None:
    np.save(tmp_path / "x.npy", VALUES)
    (np.savez if name.endswith("z") else np.save)(tmp_path / name, np.array(["c", "a", "b"]))  # type: ignore[operator]
    loaded = load(DataSource(path=tmp_path / "x.npy", labels=tmp_path / name))
    is_right(loaded)
    assert loaded.class_names == ("a", "b", "c")


def test_several_columns_have_a_label_or_a_target_each(tmp_path: Path) -> None:
    text = "up,a,down,b\n1,0.5,0.25,-2\n0,1.25,0.5,3\n"
    (tmp_path / "t.csv").write_text(text)
    loaded = load(DataSource(path=tmp_path / "t.csv", label_columns=("up", 2)))
    np.testing.assert_array_equal(loaded.inputs["input"], np.array([[0.5, -2], [1.25, 3]], np.float32))
    np.testing.assert_array_equal(loaded.labels, [[1, 0.25], [0, 0.5]])


def test_a_gap_in_one_of_several_columns_of_labels_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,up,down\n1,0,1\n2,1,\n3,,0\n")
    source = DataSource(path=tmp_path / "t.csv", label_columns=("up", "down"))
    with pytest.raises(DataError, match=r"2 of 3 rows have no label; the first: line 3, column 'down'"):
        load(source)
    assert load(replace(source, missing="drop")).labels.tolist() == [[0, 1]]  # type: ignore[union-attr]


def test_text_in_one_of_several_columns_of_labels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,up,down\n1,0,yes\n2,1,no\n")
    with pytest.raises(DataError, match=r"of 2 columns of labels 'down' has text"):
        load(DataSource(path=tmp_path / "t.csv", label_columns=("up", "down")))
