"""The values of tables: features and labels as arrays.

A message about a cell names the line of the file as an editor shows it, the column, and the text of the cell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from harness.core.errors import DataError
from harness.data import files as data_files
from harness.data import metadata as metadata_values
from harness.data import tables
from harness.data.labels import classes_of_text
from harness.data.readers import Array, Contents, idx_array, load_npy, read_npz
from harness.data.tables import NO_COLUMNS, TEXT_SUFFIXES, Columns, Table
from harness.data.text_tables import MISSING

if TYPE_CHECKING:
    import pandas as pd

Missing = Literal["drop"] | float | None
Mask = npt.NDArray[np.bool_]

#: Likely causes of a cell that is not a number.
_CAUSES = (
    (r"[+-]?\d*,\d+([eE][+-]?\d+)?", "a decimal comma"),
    (r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?|[+-]?\d{1,3}(\.\d{3})+,\d*", "separators of thousands"),
    (r"'.*'", "single quotes, which are read as part of the text"),
    (r"[+-]?[\d.,]+\s*%", "a percent sign"),
    (r"\d+[-/.:]\d+([-/.: T]\d+)*.*", "a date or a time"),
    (r"[^\d\s+-]?\s*[+-]?[\d.,]+\s*[^\d\s]*", "a number with a unit"),
)


def read_table(
    path: Path,
    *,
    label_columns: Sequence[str | int] = (),
    header: bool | None = None,
    missing: Missing = None,
    parquet: bool | None = None,
    max_bytes: int = data_files.MAX_BYTES,
    metadata: Columns = NO_COLUMNS,
) -> Contents:
    """Read a table; the columns that are neither labels nor metadata are features.

    Features are int64 if every value is written as a whole number, and float32 otherwise.

    Parameters
    ----------
    missing : "drop", float or None
        Leave out the rows with missing values, replace the values, or refuse the table.
    metadata : Columns
        That describe the rows and are no features.
    """
    table = tables.read(
        path,
        label_columns=label_columns,
        header=header,
        parquet=parquet,
        max_bytes=max_bytes,
        metadata=metadata,
    )
    frame, described = table.frame, table.metadata
    columns = [name for name in frame.columns if name not in (*table.labels, *described.values())]
    if not len(frame) or not columns:
        raise DataError(
            f"{path.name} has no rows or no feature columns: it is empty",
            where=str(path),
            next_step="use a table with rows, and with columns beside those of labels",
        )
    parsed = [_parse(frame[name], table) for name in columns]
    values = [column for column, _, _ in parsed]
    gaps, wrong = (np.stack(masks, axis=1) for masks in list(zip(*parsed, strict=True))[1:])
    if wrong.any():
        raise _not_numbers(wrong, columns, table)
    _check_finite(values, columns, table)
    label_gaps = np.zeros((len(frame), 0), bool)
    labels: Array | None = None
    names: tuple[str, ...] = ()
    if table.labels:
        labels, names, label_gaps = _labels(table, table.labels)
    about = {name: _description(frame[column]) for name, column in described.items()}
    if about and missing != "drop":
        _check_descriptions(about, table)
    notes = list(table.notes)
    keep: Mask = np.ones(len(frame), bool)
    if gaps.any() or label_gaps.any():
        keep = _settle(gaps, label_gaps, columns, missing, table, notes)
    if labels is not None:
        labels = labels[keep]
        if labels.dtype.kind == "f" and label_gaps.any() and (labels == np.rint(labels)).all():
            labels = labels.astype(np.int64)  # whole numbers in the file; only the gaps needed floating point
    features = _stack(values, gaps, missing)[keep]
    rows = None if keep.all() else np.flatnonzero(keep)
    about = {name: values[keep] for name, values in about.items()}  # gaps of them are left out, or refused
    return Contents({"": features}, labels, names, tuple(notes), rows, about)


def descriptions(table: Table) -> dict[str, Array]:
    """Return the columns that describe the rows, none of which has a gap."""
    about = {name: _description(table.frame[column]) for name, column in table.metadata.items()}
    _check_descriptions(about, table)
    return about


def _description(column: pd.Series[Any]) -> Array:
    """Return a column as numbers, times or text; a gap is NaN, NaT or an empty text."""
    values: Array
    if column.dtype.kind in "iub" and not column.isna().any():
        values = column.to_numpy(dtype=np.int64)
    elif column.dtype.kind in "iubf":
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    elif column.dtype.kind == "M":
        moments = column if column.dt.tz is None else column.dt.tz_convert("UTC").dt.tz_localize(None)
        values = moments.to_numpy(dtype="datetime64[ns]")
    else:
        values = column.astype(object).where(column.notna(), "").to_numpy().astype(np.str_)
    return values


def _check_descriptions(about: Mapping[str, Array], table: Table) -> None:
    for name, values in about.items():
        gaps = metadata_values.missing(values)
        if gaps.any():
            first = _cell(table, int(gaps.argmax()), table.metadata[name])
            raise DataError(
                f"{gaps.sum()} of {len(gaps)} rows have no value in {name!r}; the first: {first}",
                where=str(table.path),
                next_step='fill them, or leave the rows out: [data] missing = "drop"',
            )


def read_labels(path: Path, max_bytes: int = data_files.MAX_BYTES) -> Contents:
    """Read labels from a file of their own: .npy, .npz, idx, or text with one label per line."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _text_labels(load_npy(path, max_bytes))
    if suffix == ".npz":
        archive = read_npz(path, max_bytes=max_bytes)
        if archive.labels is None and len(archive.inputs) != 1:
            raise DataError(
                f"{path.name} has no array labels, but {', '.join(archive.inputs)}",
                where=str(path),
                next_step="name one array labels",
            )
        labels = archive.labels if archive.labels is not None else next(iter(archive.inputs.values()))
        return _text_labels(labels)
    if suffix not in TEXT_SUFFIXES:
        return Contents({}, idx_array(path, max_bytes))
    table = tables.read(path, max_bytes=max_bytes)
    columns = tuple(table.frame.columns)
    labels, names = labels_of(table, columns)
    note = f"labels: the columns {', '.join(map(str, columns))}"
    return Contents({}, labels, names, (*table.notes, note) if len(columns) > 1 else table.notes)


def labels_of(table: Table, columns: Sequence[str | int]) -> tuple[Array, tuple[str, ...]]:
    """Return the labels of columns and the class names; every row must have them."""
    labels, names, gaps = _labels(table, columns)
    if gaps.any():
        raise _no_label(gaps, table, columns)
    return labels, names


def _text_labels(labels: Array) -> Contents:
    if labels.dtype.kind in "US":
        indices, names = classes_of_text(labels)
        return Contents({}, indices, names)
    return Contents({}, labels)


def _parse(column: pd.Series[Any], table: Table) -> tuple[Array, Mask, Mask]:
    """Return values, where they are missing, and where a cell is something else."""
    import pandas as pd

    empty: Mask = column.isna().to_numpy(dtype=bool)
    nothing = np.zeros(len(column), bool)
    if column.dtype.kind in "iub" and not empty.any():
        return column.to_numpy(dtype=np.int64), empty, nothing
    if column.dtype.kind in "iubf":
        return column.to_numpy(dtype=np.float64, na_value=np.nan), empty, nothing
    text = column.astype(str).str.strip()
    gaps: Mask = empty | text.str.lower().isin(MISSING).to_numpy(dtype=bool)
    plain = text
    if table.text is not None and table.text.decimal == ",":
        # A point beside decimal commas separates thousands, or is a mistake.
        plain = text.where(~text.str.contains(".", regex=False)).str.replace(",", ".", regex=False)
    values = pd.to_numeric(plain.where(~gaps), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return values, gaps, ~gaps & np.isnan(values)


def _labels(table: Table, columns: Sequence[str | int]) -> tuple[Array, tuple[str, ...], Mask]:
    """Return labels, class names, and where there is none.

    Returns
    -------
    labels : Array
        Shape (n,); of several columns, each with a label or a target in numbers, (n, columns).
    class_names : tuple of str
        Of one column of text.
    gaps : Mask
        Shape (n, columns).
    """
    read = [_column_labels(table.frame[column], table) for column in columns]
    gaps: Mask = np.stack([missing for *_, missing in read], axis=1)
    if len(read) == 1:
        return read[0][0], read[0][1], gaps
    text = [repr(column) for column, (_, names, _) in zip(columns, read, strict=True) if names]
    if text:
        raise DataError(
            f"{table.path.name}: of {len(columns)} columns of labels {', '.join(text)} has text",
            where=str(table.path),
            cause="of several columns each has a label or a target in numbers",
            next_step="write them as numbers (0 and 1 for labels), or name one column",
        )
    return np.stack([labels for labels, *_ in read], axis=1), (), gaps


def _column_labels(column: pd.Series[Any], table: Table) -> tuple[Array, tuple[str, ...], Mask]:
    """Return labels, class names, and where there is none: numbers, or the index of each distinct text."""
    values, gaps, wrong = _parse(column, table)
    if not wrong.any():
        if not gaps.any() and column.dtype.kind in "iub":
            return values.astype(np.int64), (), gaps
        return values, (), gaps
    empty: Mask = column.isna().to_numpy(dtype=bool)
    indices, names = classes_of_text(column.where(~empty, column[~empty].iloc[0]).to_numpy().astype(str))
    return indices, names, empty


def _settle(
    gaps: npt.NDArray[np.bool_],
    label_gaps: Mask,
    columns: Sequence[str | int],
    missing: Missing,
    table: Table,
    notes: list[str],
) -> Mask:
    """Return which rows are kept, or refuse the missing values."""
    rows: Mask = np.asarray(np.concatenate([gaps, label_gaps], axis=1).any(axis=1))
    first = _first_gap(gaps, label_gaps, columns, table)
    if missing == "drop":
        if rows.all():
            raise DataError(
                f"every row of {table.path.name} has a missing value: {first}", where=str(table.path),
                next_step="remove a column that is always empty, or set missing to a number",
            )  # fmt: skip
        notes.append(f"{rows.sum()} of {len(rows)} rows with missing values are left out; the first: {first}")
        return ~rows
    if label_gaps.any():
        raise _no_label(label_gaps, table, table.labels)
    if missing is None:
        cells = "cells is" if gaps.sum() == 1 else "cells are"
        raise DataError(
            f"{gaps.sum()} of {gaps.size} {cells} missing, in {rows.sum()} of {len(rows)} rows; "
            f"the first: {first}",
            where=str(table.path),
            next_step='fill or remove them; or leave these rows out: [data] missing = "drop" '
            "(harness init --missing drop), or a number to replace them",
        )
    notes.append(f"{gaps.sum()} of {gaps.size} cells are missing and read as {missing:g}; the first: {first}")
    return np.ones(len(rows), bool)


def _first_gap(
    gaps: npt.NDArray[np.bool_], label_gaps: Mask, columns: Sequence[str | int], table: Table
) -> str:
    every, names = np.concatenate([gaps, label_gaps], axis=1), (*columns, *table.labels)
    row = int(np.flatnonzero(every.any(axis=1))[0])
    name = names[int(every[row].argmax())]
    return _cell(table, row, name)


def _cell(table: Table, row: int, name: str | int) -> str:
    """Return place, column and text of a cell, as they are in the file."""
    place, cells = table.record(row)
    column = f"column {name!r}" if isinstance(name, str) else f"column {name} (from 0)"
    if table.text is None:
        return f"{place}, {column} has {table.frame[name].iloc[row]!r}"
    position = table.order.index(name)
    if position >= len(cells):
        return f"{place} has {len(cells)} cells, and the first line {len(table.order)}"
    text = cells[position].strip()
    return f"{place}, {column} has {text!r}" if text else f"{place}, {column} has an empty cell"


def _check_finite(values: Sequence[Array], columns: Sequence[str | int], table: Table) -> None:
    if not any(column.dtype.kind == "f" and np.isinf(column).any() for column in values):
        return
    infinite = np.stack([np.isinf(column.astype(np.float64)) for column in values], axis=1)
    row = int(np.flatnonzero(infinite.any(axis=1))[0])
    raise DataError(
        f"{infinite.sum()} of {infinite.size} cells are infinite; the first: "
        f"{_cell(table, row, columns[int(infinite[row].argmax())])}",
        where=str(table.path),
        next_step="fill or remove the rows",
    )


def _stack(values: Sequence[Array], gaps: npt.NDArray[np.bool_], missing: Missing) -> Array:
    """Return one array of the features, shape (n, columns)."""
    whole = all(column.dtype.kind in "iu" for column in values)
    stacked = np.empty((len(gaps), len(values)), np.int64 if whole else np.float32)
    for position, column in enumerate(values):
        stacked[:, position] = column
    if isinstance(missing, float | int) and gaps.any():
        stacked[gaps] = missing
    return stacked


def _not_numbers(wrong: npt.NDArray[np.bool_], columns: Sequence[str | int], table: Table) -> DataError:
    """Name the first cell of features that is no number, and the likely cause."""
    row = int(np.flatnonzero(wrong.any(axis=1))[0])
    column = int(wrong[row].argmax())
    text = str(
        table.frame[columns[column]].iloc[row]
    ).strip()  # as it was read: only of text is anything wrong
    cause = next((cause for pattern, cause in _CAUSES if re.fullmatch(pattern, text)), "")
    if table.text is not None and table.text.decimal == "," and "." in text:
        cause = "a point in a file with decimal commas"
    if not cause and 2 * wrong[:, column].sum() > len(wrong):
        cause = "a column of text"
    verb = "cells is not a number" if wrong.sum() == 1 else "cells are not numbers"
    return DataError(
        f"{wrong.sum()} of {wrong.size} {verb}; the first: {_cell(table, row, columns[column])}",
        where=str(table.path),
        cause=cause,
        next_step="set the column as label_column, or as group or time if it describes the samples; encode "
        "it as numbers, or set header = true or false",
    )


def _no_label(gaps: Mask, table: Table, columns: Sequence[str | int]) -> DataError:
    without = gaps.any(axis=1)
    row = int(without.argmax())
    rows = "rows has" if without.sum() == 1 else "rows have"
    first = _cell(table, row, columns[int(gaps[row].argmax())])
    return DataError(
        f"{without.sum()} of {len(gaps)} {rows} no label; the first: {first}",
        where=str(table.path),
        next_step='fill or remove the rows, or leave them out: [data] missing = "drop" '
        "(harness init --missing drop)",
    )


def is_text(table: Table, column: str | int) -> bool:
    """Whether most cells of a column are neither numbers nor missing."""
    _, gaps, wrong = _parse(table.frame[column], table)
    return 2 * int(wrong.sum()) > int((~gaps).sum())


def numbers_rows(column: pd.Series[Any]) -> bool:
    """Whether a column numbers the rows from 0 or 1."""
    values = column.to_numpy()
    return values.dtype.kind in "iu" and any(
        np.array_equal(values, np.arange(first, first + len(values))) for first in (0, 1)
    )
