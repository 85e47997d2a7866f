"""Pascal VOC XML: a file for each image, boxes as corners in pixels that are counted from 1."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from harness.core.errors import DataError
from harness.data.boxes.labels import Box, BoxLabels, number
from harness.data.files import check_file


def read(folder: Path, max_bytes: int) -> BoxLabels:
    """Read the files of a folder.

    Classes are numbered in alphabetical order, as in the original 20 classes. Objects marked as difficult
    count neither as detected nor as missed.

    Raises
    ------
    DataError
        A file is no annotation.
    """
    files = sorted(folder.rglob("*.xml"))
    if not files:
        raise DataError(f"{folder.name} has no .xml files", where=str(folder))
    named: dict[str, list[tuple[str, Box]]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for path in files:
        check_file(path, max_bytes)
        try:
            root = ElementTree.fromstring(path.read_bytes())  # noqa: S314 - see above
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            raise DataError(f"{path.name} is not XML: {error}", where=str(path)) from error
        if root.tag != "annotation":
            raise DataError(
                f"{path.name} is no annotation of Pascal VOC: its element is {root.tag}", where=str(path)
            )
        image = (root.findtext("filename") or "").strip().replace("\\", "/") or f"{path.stem}.jpg"
        named[image] = [_box(path, place, element) for place, element in enumerate(root.iter("object"))]
        width, height = (root.findtext(f"size/{side}") for side in ("width", "height"))
        if width and height and int(number(width, "width", str(path))):
            sizes[image] = int(number(width, "width", str(path))), int(number(height, "height", str(path)))
    names = sorted({name for rows in named.values() for name, _ in rows})
    position = {name: place for place, name in enumerate(names)}
    boxes = {
        image: tuple(
            Box(position[name], box.x0, box.y0, box.x1, box.y1, None, box.crowd, box.line)
            for name, box in rows
        )
        for image, rows in named.items()
    }
    note = (
        f"classes are numbered in alphabetical order: {', '.join(names[:8])}{', …' if len(names) > 8 else ''}"
    )
    return BoxLabels(str(folder), dict(enumerate(names)), boxes, sizes, notes=(note,))


def _box(path: Path, place: int, element: ElementTree.Element) -> tuple[str, Box]:
    line = f"{path.name}, object {place}"
    name = (element.findtext("name") or "").strip()
    texts = [element.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    if not name or any(text is None for text in texts):
        raise DataError(f"{line} has no name, or no bndbox with xmin, ymin, xmax and ymax", where=str(path))
    x0, y0, x1, y1 = (number(text, "a corner", str(path), line) for text in texts)
    difficult = (element.findtext("difficult") or "0").strip() == "1"
    return name, Box(0, x0 - 1, y0 - 1, x1, y1, None, difficult, line)
