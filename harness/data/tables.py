"""Tables as they are in a file, text or Parquet: columns, rows, and where a row stands in the file."""

from __future__ import annotations

import difflib
import gzip
import io
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.commands import install
from harness.core.errors import DataError
from harness.data import files as data_files
from harness.data.metadata import column_name
from harness.data.text_tables import TextTable, read_text

if TYPE_CHECKING:
    import pandas as pd

_GZIP = b"\x1f\x8b"
#: Bytes that are unpacked, of at most so many packed ones, before the size of the whole is estimated.
UNPACKED_FIRST, PACKED_FIRST = 1 << 24, 1 << 20
#: Text of measured values is not packed so densely.
LARGEST_RATIO = 200
TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".tab", ".dat", ".data")


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns that describe rows, and columns that are left out.

    Where they are not required, those that are absent are left out.
    """

    columns: tuple[str | int, ...] = ()
    required: bool = True
    ignored: tuple[str | int, ...] = ()


NO_COLUMNS = Columns()


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is in the file.

    Parameters
    ----------
    path : Path
    frame : DataFrame
        Its columns are names, or positions without a header; without index columns.
    order : tuple of str or int
        All columns, in the order of the file.
    notes : tuple of str
        What was recognised and left out.
    labels : tuple of str or int
        The columns of ``frame`` with the labels: one, or one for each label or target.
    metadata : mapping of str to column
        The columns of ``frame`` that describe the rows and are no features, by their names for people.
    text : TextTable, optional
        None for Parquet.
    """

    path: Path
    frame: pd.DataFrame
    order: tuple[str | int, ...]
    notes: tuple[str, ...]
    labels: tuple[str | int, ...] = ()
    text: TextTable | None = None
    metadata: Mapping[str, str | int] = field(default_factory=dict)

    def record(self, row: int) -> tuple[str, list[str]]:
        """Return the place of a row in the file, and its cells; no cells for Parquet."""
        if self.text is None:
            return f"row {row} (from 0)", []
        for position, (line, cells) in enumerate(self.text.records()):
            if position == row + self.text.header:
                return f"line {line}", cells
        raise IndexError(row)


def read(
    path: Path,
    *,
    label_columns: Sequence[str | int] = (),
    header: bool | None = None,
    parquet: bool | None = None,
    max_bytes: int = data_files.MAX_BYTES,
    metadata: Columns = NO_COLUMNS,
) -> Table:
    """Read a table, and leave out columns that only number or name the rows.

    Parameters
    ----------
    parquet : bool, optional
        Whether the file is Parquet and not text; None: by its suffix.
    metadata : Columns
        That describe the rows and are no features.

    Raises
    ------
    DataError
        The file is not a table, has rows of different length, or has no such label column.
    """
    data_files.check_file(path, max_bytes)
    text, every = None, (*metadata.columns, *metadata.ignored)
    if parquet or (parquet is None and path.suffix.lower() == ".parquet"):
        frame = _read_parquet(path, max_bytes)
    else:
        try:
            content = path.read_bytes()
            if content.startswith(_GZIP):
                content = _unpacked(path, content, max_bytes)
        except (OSError, EOFError, zlib.error) as error:
            raise _unreadable(path, error) from error
        data_files.check_bytes(path, len(content), max_bytes, "what the file unpacks to")
        names = [name for name in (*label_columns, *every) if isinstance(name, str)]
        text = read_text(path, content, header=header, column=names[0] if names else None)
        frame = _read_text(path, text)
    labels = tuple(_find(frame, column, path, "label_column") for column in label_columns)
    described = {
        column_name(name): _find(frame, name, path, "[data] group, time or sequence")
        for name in metadata.columns
        if metadata.required or name in frame.columns
    }
    ignored = [
        _find(frame, name, path, "[data] ignore")
        for name in metadata.ignored
        if metadata.required or name in frame.columns
    ]
    order = tuple(frame.columns)
    unnamed = {name for name in frame.columns if str(name).startswith("Unnamed: ") or name == ""}
    notes = list(text.notes) if text else []
    first, last = frame.columns[0], frame.columns[-1]
    named = (*labels, *described.values())
    if last in unnamed and last not in (*named, first) and frame[last].isna().all():
        frame = frame.drop(columns=last)
        notes.append("the last column is empty: left out")
    if first in unnamed and first not in named and frame.shape[1] > 1 and is_index(frame[first]):
        frame = frame.drop(columns=first)
        notes.append("the first column has no name and another value in each row: left out as the index")
    if both := [column for column in ignored if column in named]:
        raise DataError(f"{path.name}: the column {both[0]!r} is ignored and used", where=str(path))
    frame = frame.drop(columns=ignored, errors="ignore")
    twice = [name for name, column in described.items() if column in labels]
    if twice:
        raise DataError(f"{path.name}: {twice[0]!r} is a column of labels, too", where=str(path))
    return Table(path, frame, order, tuple(notes), labels, text, described)


def _unpacked(path: Path, packed: bytes, max_bytes: int) -> bytes:
    """Unpack a file, unless its beginning shows that it has more than `max_bytes`."""
    beginning = packed[:PACKED_FIRST]
    decoder = zlib.decompressobj(wbits=31)  # with the header of gzip
    unpacked = decoder.decompress(beginning, UNPACKED_FIRST)
    ratio = len(unpacked) / max(1, len(beginning) - len(decoder.unconsumed_tail))
    estimate = int(ratio * len(packed))
    if estimate > 2 * max_bytes or (ratio > LARGEST_RATIO and estimate > max_bytes):
        raise DataError(
            f"{path.name} unpacks to about {estimate:,} bytes, more than max_bytes = {max_bytes:,}",
            where=str(path),
            cause=f"its first {len(unpacked):,} bytes are packed {ratio:.0f} to 1: a very large table, or a "
            "malicious file",
            next_step=f"use fewer samples; or, with enough memory, set [data] max_bytes = {2 * estimate} "
            f"(harness init --max-bytes {2 * estimate})",
        )
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
        return stream.read(max_bytes + 1)


def _find(frame: pd.DataFrame, column: str | int, path: Path, setting: str) -> Any:  # noqa: ANN401
    """Return a column as the frame names it."""
    columns = list(frame.columns)
    if isinstance(column, str) and column not in columns:
        near = difflib.get_close_matches(column, map(str, columns), n=1)
        raise DataError(
            f"{path.name} has no column {column!r}{f'; did you mean {near[0]!r}?' if near else ''}",
            where=str(path),
            cause=f"its columns are {', '.join(map(str, columns[:20]))}",
            next_step=f"set {setting} to one of them, or to an index from 0",
        )
    if isinstance(column, int) and not -len(columns) <= column < len(columns):
        raise DataError(
            f"{path.name} has {len(columns)} columns, but no column {column}",
            where=str(path),
            next_step=f"{setting} counts from 0",
        )
    return columns[column] if isinstance(column, int) else column


def is_index(column: pd.Series[Any]) -> bool:
    """Whether a column has another whole number, or another text, in each row."""
    if column.dtype.kind in "fb" or column.isna().any() or not column.is_unique:
        return False
    return column.dtype.kind not in "iu" or bool(column.min() >= 0)


def _read_text(path: Path, text: TextTable) -> pd.DataFrame:
    import pandas as pd

    try:
        with warnings.catch_warnings():
            # Pandas drops the surplus cells of rows that are longer than the header, with a warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.BytesIO(text.plain()),
                header=0 if text.header else None,
                sep=text.separator,
                decimal=text.decimal,
                index_col=False,
                skipinitialspace=True,
                keep_default_na=False,  # a class may be called NA
                na_values=[""],
                low_memory=False,
            )
    except (OSError, ValueError, pd.errors.ParserWarning) as error:
        raise _ragged(path, text, error) from error
    stripped = [name.strip() if isinstance(name, str) else name for name in frame.columns]
    if len(set(stripped)) == len(stripped):
        frame.columns = pd.Index(stripped)
    return frame


def _ragged(path: Path, text: TextTable, error: Exception) -> DataError:
    """Name the rows that have more cells than the first line."""
    (_, head), *rows = text.records()
    longer = [(line, cells) for line, cells in rows if len(cells) > len(head)]
    if not longer:
        return _unreadable(path, error)
    line, cells = longer[0]
    cause = "a separator within a cell that is not quoted"
    if len(longer) == len(rows):
        cause = "the first column has no name"
        if text.separator == "," and len(cells) > len(head) + 1:
            cause = "decimal commas in a file whose cells are separated by commas"
    return DataError(
        f"{len(longer)} of {len(rows)} rows of {path.name} cannot be read: line {line} has {len(cells)} "
        f"cells, the first line {len(head)}",
        where=str(path),
        cause=cause,
        next_step="give every row as many cells as the first line",
    )


def _read_parquet(path: Path, max_bytes: int) -> pd.DataFrame:
    import pandas as pd

    try:
        from pyarrow import parquet

        meta = parquet.read_metadata(path)
        data_files.check_bytes(path, 8 * meta.num_rows * meta.num_columns, max_bytes, "the table")
        return pd.read_parquet(path)
    except ImportError as error:
        raise DataError(
            f"{path.name} needs pyarrow, which is not installed",
            where=str(path),
            next_step=install("host"),
        ) from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path.name} cannot be read: {error}",
        where=str(path),
        cause="permission denied"
        if isinstance(error, PermissionError)
        else "the file is damaged, truncated or has another format",
    )
