"""A CSV with a row for each object: its image, its class, and its box."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.core.errors import DataError
from harness.data.boxes.labels import Box, BoxLabels, number
from harness.data.files import check_file

_IMAGE = ("image", "file", "filename", "file_name", "image_id", "path", "img")
_CLASS = ("class", "label", "class_name", "category", "name", "class_id")
_CORNERS = (("x0", "xmin", "x_min", "left", "x1"), ("y0", "ymin", "y_min", "top", "y1"),
            ("xmax", "x_max", "right", "x2", "x1"), ("ymax", "y_max", "bottom", "y2", "y1"))  # fmt: skip
_SIZES = (("x", "x0", "xmin", "left"), ("y", "y0", "ymin", "top"), ("width", "w"), ("height", "h"))


def header_of(path: Path) -> list[str]:
    """Return the cells of the first line in lower case."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return [cell.strip().lower() for cell in next(csv.reader(stream), [])]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def has_boxes(path: Path) -> bool:
    """Whether the first line of a table names columns of boxes."""
    header = header_of(path)
    return _place(header, _CLASS) is not None and _columns(header) is not None


def read(path: Path, max_bytes: int) -> BoxLabels:
    """Read a table. A row with an image and no box is an image without objects.

    Raises
    ------
    DataError
        A column is missing, or cells are no numbers.
    """
    check_file(path, max_bytes)
    header = header_of(path)
    image, class_, columns = _place(header, _IMAGE), _place(header, _CLASS), _columns(header)
    if image is None or class_ is None or columns is None:
        missing = "the image" if image is None else "the class" if class_ is None else "the box"
        raise DataError(
            f"{path.name} has no column for {missing}",
            where=str(path),
            cause=f"the first line is {', '.join(header)[:80]!r}",
            next_step="name the columns: image, class, x0, y0, x1, y1; or image, class, x, y, width, height",
        )
    rows: dict[str, list[tuple[str, Box]]] = {}
    with path.open(encoding="utf-8-sig", newline="") as stream:
        for place, cells in enumerate(csv.reader(stream), 1):
            if place == 1 or not any(cell.strip() for cell in cells):
                continue
            line = f"{path.name}:{place}"
            if len(cells) != len(header):
                raise DataError(
                    f"{line} has {len(cells)} cells, the first line {len(header)}", where=str(path)
                )
            name = cells[image].strip().replace("\\", "/")
            of_image = rows.setdefault(name, [])
            if not cells[class_].strip() and not any(cells[at].strip() for at, _ in columns):
                continue
            values = [number(cells[at], header[at], str(path), line) for at, _ in columns]
            if columns[2][1]:
                values[2:] = values[0] + values[2], values[1] + values[3]
            x0, y0, x1, y1 = values
            of_image.append((cells[class_].strip(), Box(0, x0, y0, x1, y1, line=line)))
    texts = sorted({text for of_image in rows.values() for text, _ in of_image})
    numbers = _numbers(texts)
    boxes = {
        name: tuple(Box(numbers[text], b.x0, b.y0, b.x1, b.y1, line=b.line) for text, b in of_image)
        for name, of_image in rows.items()
    }
    highest = max(numbers.values(), default=-1)
    by_number = {value: text for text, value in numbers.items()}
    classes = {value: by_number.get(value, str(value)) for value in range(highest + 1)}
    return BoxLabels(str(path), classes, boxes)


def _numbers(texts: Sequence[str]) -> Mapping[str, int]:
    """Return the classes as they are if all are whole numbers, and else in alphabetical order."""
    if all(text.isdecimal() for text in texts):
        return {text: int(text) for text in texts}
    return {text: place for place, text in enumerate(texts)}


def _place(header: Sequence[str], names: Sequence[str]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _columns(header: Sequence[str]) -> list[tuple[int, bool]] | None:
    """Return the columns of a box, and whether each is a size instead of a corner."""
    sizes = [_place(header, names) for names in _SIZES]
    if all(at is not None for at in sizes):
        return [(at, place > 1) for place, at in enumerate(sizes) if at is not None]
    corners: list[tuple[int, bool]] = []
    for names in _CORNERS:
        at = next(
            (header.index(n) for n in names if n in header and (header.index(n), False) not in corners), None
        )
        if at is None:
            return None
        corners.append((at, False))
    return corners
