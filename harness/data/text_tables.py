"""Text files of cells: encoding, comments, separator, decimal mark and header are taken from the content."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.core.errors import DataError

#: Cells that mean that a value is missing, in lower case.
MISSING = frozenset(("", "?", "na", "n/a", "nan", "null", "none", "-", "--", ".", "#n/a", "<na>"))
#: Names of a label column in lower case, the most telling first.
LABEL_NAMES = ("label", "labels", "class", "target", "category", "y")
WHITESPACE = r"\s+"
_SEPARATORS = ("\t", ";", "|", ",")
_SAMPLE_LINES, _SAMPLE_CELLS = 50, 2000
_COMMA_NUMBER = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class TextTable:
    """The lines of a table and how they are divided into cells.

    Parameters
    ----------
    lines : tuple of str
        The lines with cells, without comments and blank lines.
    numbers : tuple of int
        Number of each line in the file, from 1, as an editor shows it.
    separator : str
        One character, or ``WHITESPACE``.
    decimal : str
        ``.`` or ``,``.
    header : bool
        The first line has the names of the columns.
    notes : tuple of str
        What was recognised, where it is not the usual CSV.
    """

    lines: tuple[str, ...]
    numbers: tuple[int, ...]
    separator: str
    decimal: str
    header: bool
    notes: tuple[str, ...]

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield line number and cells of each row, with the header."""
        for position, cells in _rows(self.lines, self.separator):
            yield self.numbers[position], cells

    def names(self) -> list[str]:
        """Return the cells of the first line."""
        return next(self.records())[1]


def read_text(
    path: Path, content: bytes, *, header: bool | None = None, label_column: str | int | None = None
) -> TextTable:
    """Recognise the form of a text file.

    Parameters
    ----------
    header : bool, optional
        Whether the first line has the names of the columns; None: decide by its content.
    label_column : str or int, optional
        A name is only possible with a header.

    Raises
    ------
    DataError
        The file is empty, or no text.
    """
    text, notes = _decode(path, content)
    numbered = list(enumerate(io.StringIO(text, newline=None), 1))
    data_lines = [
        (number, line) for number, line in numbered if line.strip() and not line.lstrip().startswith("#")
    ]
    comments = [(number, line) for number, line in numbered if line.lstrip().startswith("#")]
    separator = ""
    if data_lines and (
        mark := re.fullmatch(r'"?sep=(.)"?\s*', data_lines[0][1])
    ):  # Excel writes and obeys it
        separator, data_lines = mark[1], data_lines[1:]
    if not data_lines:
        raise DataError(f"{path.name} is empty", where=str(path), next_step="use a file with rows")
    sample = [line for _, line in data_lines[:_SAMPLE_LINES]]
    separator = separator or _separator(sample)
    rows = [cells[:_SAMPLE_CELLS] for cells in _cells(sample, separator)]
    if separator != ",":
        shown = {"\t": "tabs", WHITESPACE: "blanks"}.get(separator, repr(separator))
        notes += (
            [] if separator == "\t" and path.suffix.lower() == ".tsv" else [f"cells are separated by {shown}"]
        )
    if comments:
        notes.append(f"{len(comments)} comment lines (#) are left out")
    decimal = _decimal(path, rows, separator, data_lines[0][0], notes)
    if header is None:
        header = isinstance(label_column, str) or _is_header(rows)
    above = [(number, line) for number, line in comments if number < data_lines[0][0]]
    if not header and above:
        # numpy.savetxt writes the names of the columns as a comment.
        number, line = above[-1]
        names = line.lstrip().lstrip("#").lstrip()
        cells = _cells([names], separator)[0]
        if len(cells) == len(rows[0]) > 1 and not any(map(is_number, cells)):
            data_lines.insert(0, (number, names))
            header = True
            notes[-1] = f"the names of the columns are those of line {number}, a comment"
    numbers, lines = zip(*data_lines, strict=True)
    return TextTable(lines, numbers, separator, decimal, header, tuple(notes))


def is_number(cell: str) -> bool:
    """Whether a cell is a number, with a decimal point or a decimal comma."""
    text = cell.strip()
    if _COMMA_NUMBER.fullmatch(text):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _decode(path: Path, content: bytes) -> tuple[str, list[str]]:
    """Decode by the byte order mark, as UTF-16 without one, as UTF-8, or else as Windows-1252."""
    encoding = next((name for bom, name in _BOMS if content.startswith(bom)), "")
    if not encoding and b"\0" in content[:4096]:
        even, odd = content[:4096:2].count(0), content[1:4096:2].count(0)
        if min(even, odd) * 10 > max(even, odd):
            raise _no_text(path, "it has zero bytes")
        encoding = "utf-16-le" if odd > even else "utf-16-be"
    try:
        return content.decode(encoding or "utf-8"), [
            f"read as {encoding.upper()}"
        ] if "16" in encoding else []
    except UnicodeDecodeError as error:
        if encoding:
            raise _no_text(path, f"it is not {encoding}: {error.reason} at byte {error.start}") from error
    try:
        return content.decode("cp1252"), ["not UTF-8: read as Windows-1252 (latin-1)"]
    except UnicodeDecodeError:
        return content.decode("latin-1"), ["not UTF-8: read as latin-1"]


def _no_text(path: Path, why: str) -> DataError:
    return DataError(
        f"{path.name} cannot be read as a table of text: {why}",
        where=str(path),
        cause="the file is damaged or has another format",
        next_step="use a text file, or set format if the file has another one",
    )


def _rows(lines: Sequence[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the position of the first line of each row, and its cells."""
    if separator == WHITESPACE:
        for position, line in enumerate(lines):
            yield position, line.split()
        return
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    start = 0
    for cells in reader:
        yield start, cells
        start = reader.line_num  # a quoted cell can have several lines


def _cells(lines: Sequence[str], separator: str) -> list[list[str]]:
    return [cells for _, cells in _rows(lines, separator)]


def _separator(sample: Sequence[str]) -> str:
    """Return the separator that gives the same number of cells in most rows, and the most numbers."""
    best, separator = (0.0, 0.0, 0), ","
    for candidate in (*_SEPARATORS, WHITESPACE):
        try:
            rows = _cells(sample, candidate)
        except csv.Error:
            continue
        width, count = Counter(map(len, rows)).most_common(1)[0]
        cells = [cell for row in rows[-20:] if len(row) == width for cell in row[:_SAMPLE_CELLS]]
        numbers = sum(map(is_number, cells)) / max(1, len(cells))
        if width < 2 or (candidate == WHITESPACE and (numbers < 0.5 or best[2])):
            continue
        score = (round(count / len(rows), 1), numbers, width)
        if score > best:
            best, separator = score, candidate
    return separator


def _decimal(path: Path, rows: Sequence[Sequence[str]], separator: str, line: int, notes: list[str]) -> str:
    """Return the decimal mark of the numbers in some rows."""
    with_comma = [cell.strip() for row in rows for cell in row if _COMMA_NUMBER.fullmatch(cell.strip())]
    with_comma += [
        c.strip() for row in rows for c in row if _THOUSANDS.fullmatch(c.strip()) and c.count(",") > 1
    ]
    if not with_comma:
        return "."
    # With commas between cells, a quoted "1,234" is one thousand for some and one point two for others.
    if separator == "," and all(map(_THOUSANDS.fullmatch, with_comma)):
        raise DataError(
            f"cells of {path.name} such as {with_comma[0]!r} have a comma for thousands or decimals",
            where=f"{path}, from line {line}",
            next_step="write the numbers without separators of thousands and with a decimal point",
        )
    notes.append(f"decimal commas: {with_comma[0]!r} is read as {with_comma[0].replace(',', '.')}")
    return ","


def _is_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row has names: text above numbers, or the usual name of a label column."""
    first, *below = rows
    if not below:
        return not any(map(is_number, first))
    for position, cell in enumerate(first):
        text = cell.strip().lower()
        if is_number(text) or text in MISSING:
            continue
        column = [row[position] for row in below if position < len(row)]
        values = [value for value in column if value.strip().lower() not in MISSING]
        named = text in LABEL_NAMES and cell not in column
        if named or (values and sum(map(is_number, values)) * 2 > len(values)):
            return True
    return False
