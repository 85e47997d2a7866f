"""Many rows or many files at once: only the columns that are needed, texts as categories.

``tables.read`` gives one table as a user knows it; this is for a million rows, or a thousand runs.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from harness.core.errors import ResultsError
from harness.store import tables

#: Numbers of the table that are whole.
WHOLE = ("severity", "n")


def read(path: Path, columns: Sequence[str], *, threads: bool = True) -> pa.Table:
    """Read some columns of a table that a run wrote, CSV or Parquet.

    Parameters
    ----------
    path : Path
    columns : sequence of str
        ``status`` among them. What the file must have is the whole contract all the same.
    threads : bool
        Columns of a CSV are read side by side; of no use where files are.

    Returns
    -------
    pyarrow.Table
        Texts are dictionaries, numbers float64.

    Raises
    ------
    ResultsError
        It is missing, empty, cut, has other columns than those of the contract, or text for a number.
    """
    try:
        return _parquet(path, columns) if path.suffix == ".parquet" else _csv(path, columns, threads)
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise ResultsError(f"the table cannot be read: {error}", where=str(path)) from error


def frame(parts: Sequence[pa.Table]) -> pd.DataFrame:
    """Join tables below each other; texts become categories, and whole numbers integers."""
    whole = pa.concat_tables(parts).unify_dictionaries()
    columns: dict[str, Any] = {}
    for name in whole.column_names:
        column = whole[name]
        if name in tables.TEXTS:
            columns[name] = column.to_pandas()
            continue
        numbers = column.to_numpy()
        # Beyond 2**53 not every whole number is a float64; NaN and infinity are not below it.
        exact = name in WHOLE and bool(((np.abs(numbers) < 2**53) & (numbers == np.rint(numbers))).all())
        columns[name] = numbers.astype(np.int64) if exact else numbers
    return pd.DataFrame(columns, copy=False)


def _types(columns: Sequence[str]) -> dict[str, pa.DataType]:
    text = pa.dictionary(pa.int32(), pa.string())
    return {name: text if name in tables.TEXTS else pa.float64() for name in columns}


def _csv(path: Path, columns: Sequence[str], threads: bool) -> pa.Table:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        names = next(csv.reader(stream), [])
    if not names:
        raise ResultsError("the table cannot be read", where=str(path), cause="it is empty")
    tables.check_columns(names, path)
    short: list[int] = []

    def refuse(row: arrow_csv.InvalidRow) -> str:
        if row.actual_columns < row.expected_columns:
            short.append(row.number or 0)
        return "error"

    try:
        read = arrow_csv.read_csv(
            path, read_options=arrow_csv.ReadOptions(use_threads=threads),
            # A reason may have several lines.
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=list(columns), column_types=_types(columns), strings_can_be_null=False,
                null_values=["", "nan", "NaN"],
            ),
        )  # fmt: skip
    except pa.ArrowInvalid as error:
        if threads:  # which know no numbers of lines
            return _csv(path, columns, threads=False)
        if short:
            raise tables.cut_off(path, short[0]) from error
        if match := re.search(r"column #(\d+): .*invalid value '(.*)'", str(error)):
            raise ResultsError(
                f"the column {names[int(match[1])]} has a value that is not a number: {match[2]!r}",
                where=str(path),
            ) from error
        raise
    for number, name in enumerate(columns):
        if name in tables.TEXTS:
            read = read.set_column(number, name, _restored(read[name]))
    return _whole(path, read)


def _restored(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """See ``tables.restored``: of each distinct text once."""
    chunks = []
    for chunk in column.chunks:
        texts = chunk.dictionary.to_pylist()
        if any(text.startswith("'") for text in texts):
            texts = pa.array([tables.restored(text) for text in texts], pa.string())
            chunk = pa.DictionaryArray.from_arrays(chunk.indices, texts)  # noqa: PLW2901
        chunks.append(chunk)
    return pa.chunked_array(chunks, column.type)


def _parquet(path: Path, columns: Sequence[str]) -> pa.Table:
    tables.check_columns(list(parquet.read_schema(path).names), path)
    texts = [name for name in columns if name in tables.TEXTS]
    table = parquet.read_table(path, columns=list(columns), read_dictionary=texts)
    parts = [table[name] if name in texts else table[name].cast(pa.float64()) for name in columns]
    return _whole(path, pa.table(parts, names=list(columns)))


def _whole(path: Path, table: pa.Table) -> pa.Table:
    """Refuse a table in which a row has no status: the file ends within the line."""
    place = table["status"].cast(pa.string()).fill_null("").index("").as_py()
    if place >= 0:
        raise tables.cut_off(path, place + 2)
    return table
