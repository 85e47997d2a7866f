"""Text files of cells: encoding, comments, separator, decimal mark and header are taken from the content."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from harness.core.errors import DataError

#: Cells that mean that a value is missing, in lower case.
MISSING = frozenset(("", "?", "na", "n/a", "nan", "null", "none", "-", "--", ".", "#n/a", "<na>"))
#: Names of a label column in lower case, the most telling first.
LABEL_NAMES = ("label", "labels", "class", "target", "category", "y")
WHITESPACE = r"\s+"
_SEPARATORS = ("\t", ";", "|", ",")
_SAMPLE_LINES, _SAMPLE_CELLS = 50, 2000
#: Characters of a text that are divided into lines at once.
_PART = 1 << 20
#: Bytes that a line of white space can begin with, in UTF-8.
_WHITE = np.frombuffer(b" \t\v\f\x1c\x1d\x1e\x1f\xc2\xe1\xe2\xe3", np.uint8)
_SEPARATOR_LINE = re.compile(r'\s*"?sep=(.)"?[^\S\n]*(?:\n|$)')
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
    """A text and how it is divided into cells.

    Parameters
    ----------
    content : bytes
        The text in UTF-8. Comments, blank lines, and ``sep=;`` may be between the lines with cells.
    added : tuple of int and str, optional
        Number and text of a comment line that has the names of the columns.
    separator : str
        One character, or ``WHITESPACE``.
    decimal : str
        ``.`` or ``,``.
    header : bool
        The first line has the names of the columns.
    notes : tuple of str
        What was recognised, where it is not the usual CSV.
    """

    content: bytes
    added: tuple[int, str] | None
    separator: str
    decimal: str
    header: bool
    notes: tuple[str, ...]

    def lines(self) -> list[tuple[int, str]]:
        """Return the lines with cells, each with its number in the file, from 1, as an editor shows it."""
        lines = list(_data_lines(_numbered(self.content)))
        return lines if self.added is None else [self.added, *lines]

    def plain(self) -> bytes:
        """Return the lines with cells in UTF-8; empty lines may be between them, which pandas leaves out."""
        if self.added is None and not _has_other_lines(self.content):
            return self.content
        return "".join(line for _, line in self.lines()).encode()

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield line number and cells of each row, with the header."""
        lines = self.lines()
        for position, cells in _rows([line for _, line in lines], self.separator):
            yield lines[position][0], cells

    def names(self) -> list[str]:
        """Return the cells of the first line."""
        return next(self.records())[1]


def read_text(
    path: Path, content: bytes, *, header: bool | None = None, column: str | None = None
) -> TextTable:
    """Recognise the form of a text file.

    Parameters
    ----------
    header : bool, optional
        Whether the first line has the names of the columns; None: decide by its content.
    column : str, optional
        The name of a column, which only a table with a header has.

    Raises
    ------
    DataError
        The file is empty, or no text.
    """
    content, notes = _in_utf8(path, content)
    data_lines = list(islice(_data_lines(_numbered(content)), _SAMPLE_LINES))
    if not data_lines:
        raise DataError(f"{path.name} is empty", where=str(path), next_step="use a file with rows")
    comments = [(n, line) for n, line in _numbered(content) if _is_comment(line)] if b"#" in content else []
    mark = _separator_line(content)
    sample = [line for _, line in data_lines]
    separator = mark[1] if mark else _separator(sample)
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
        header = column is not None or _is_header(rows)
    above = [(number, line) for number, line in comments if number < data_lines[0][0]]
    added = None
    if not header and above:
        # numpy.savetxt writes the names of the columns as a comment.
        number, line = above[-1]
        names = line.lstrip().lstrip("#").lstrip()
        cells = _cells([names], separator)[0]
        if len(cells) == len(rows[0]) > 1 and not any(map(is_number, cells)):
            added, header = (number, names), True
            notes[-1] = f"the names of the columns are those of line {number}, a comment"
    return TextTable(content, added, separator, decimal, header, tuple(notes))


def _numbered(content: bytes) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text with their numbers; of a long text they are not all made at once."""
    number, start = 0, 0
    while start < len(content):
        end = content.find(b"\n", start + _PART)  # the end of a line, whichever of \n, \r\n and \r end lines
        end = len(content) if end < 0 else end + 1
        for line in io.StringIO(content[start:end].decode(), newline=None):
            number += 1
            yield number, line
        start = end


def _data_lines(numbered: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yield the lines with cells."""
    is_first = True
    for number, line in numbered:
        if not line.strip() or _is_comment(line):
            continue
        if not is_first or not _SEPARATOR_LINE.match(line):
            yield number, line
        is_first = False


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _separator_line(content: bytes) -> re.Match[str] | None:
    """Return the separator that a first line names, as Excel writes and obeys it."""
    first = next((line for _, line in _numbered(content[:_PART]) if line.strip()), "")
    return _SEPARATOR_LINE.match(first)


def _has_other_lines(content: bytes) -> bool:
    """Whether there may be lines without cells, apart from empty ones."""
    if b"#" in content or content[:1].isspace() or _separator_line(content):
        return True
    values = np.frombuffer(content, np.uint8)
    starts = np.flatnonzero(values == (ord("\n") if b"\n" in content else ord("\r"))) + 1
    return bool(np.isin(values[starts[starts < len(values)]], _WHITE).any())


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


def _in_utf8(path: Path, content: bytes) -> tuple[bytes, list[str]]:
    """Decode by the byte order mark, as UTF-16 without one, as UTF-8, or else as Windows-1252."""
    bom, encoding = next(((bom, name) for bom, name in _BOMS if content.startswith(bom)), (b"", ""))
    if not encoding and b"\0" in content[:4096]:
        even, odd = content[:4096:2].count(0), content[1:4096:2].count(0)
        if min(even, odd) * 10 > max(even, odd):
            raise _no_text(path, "it has zero bytes")
        encoding = "utf-16-le" if odd > even else "utf-16-be"
    if content.isascii() and not encoding:
        return content, []
    try:
        if encoding in ("", "utf-8-sig"):
            content.decode()
            return content.removeprefix(bom), []
        notes = [f"read as {encoding.upper()}"] if "16" in encoding else []
        return content.decode(encoding).encode(), notes
    except UnicodeDecodeError as error:
        if encoding:
            raise _no_text(path, f"it is not {encoding}: {error.reason} at byte {error.start}") from error
    try:
        return content.decode("cp1252").encode(), ["not UTF-8: read as Windows-1252 (latin-1)"]
    except UnicodeDecodeError:
        return content.decode("latin-1").encode(), ["not UTF-8: read as latin-1"]


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
