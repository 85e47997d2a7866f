"""YOLO text files: a line ``class cx cy width height`` for each object, as shares of the image's size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.core.errors import DataError
from harness.data.boxes import yolo_yaml
from harness.data.boxes.labels import Box, BoxLabels, listed, number
from harness.data.files import check_file

#: Files beside the labels that name the classes, one a line.
CLASS_FILES = ("classes.txt", "obj.names", "labels.txt", "_darknet.labels")


def read(folder: Path, images: Sequence[Path], root: Path, max_bytes: int) -> BoxLabels:
    """Read the files of a folder.

    Parameters
    ----------
    folder : Path
        Folder of the labels, with the same folders in it as that of the images, or with none.
    images : sequence of Path
    root : Path
        Folder of the images.

    Raises
    ------
    DataError
        Lines are no boxes, or files have no image.
    """
    by_stem = {file.relative_to(root).with_suffix("").as_posix(): file for file in images}
    by_name = {file.stem: file for file in images}
    names = _names(folder) or list(yolo_yaml.names_beside(folder, max_bytes))
    boxes: dict[str, tuple[Box, ...]] = {}
    orphans = []
    for path in sorted(folder.rglob("*.txt")):
        if path.name in CLASS_FILES:
            continue
        relative = path.relative_to(folder).with_suffix("").as_posix()
        image = by_stem.get(relative) or by_name.get(path.stem)
        if image is None:
            orphans.append(path.name)
            continue
        check_file(path, max_bytes)
        boxes[image.relative_to(root).as_posix()] = tuple(_boxes(path))
    if orphans:
        raise DataError(
            f"{len(orphans)} files of labels have no image in {root.name}: {listed(orphans)}",
            where=str(folder),
            next_step="name the folder of these images, or remove the files",
        )
    if not boxes:
        raise DataError(
            f"{folder.name} has no labels",
            where=str(folder),
            next_step="give a folder of .txt files, one an image",
        )
    return BoxLabels(str(folder), _classes(names, boxes), boxes, normalized=True)


def read_beside(
    images: Sequence[Path], root: Path, names: Sequence[str], where: str, max_bytes: int
) -> BoxLabels:
    """Read the labels of images as ``data.yaml`` has them; an image without a file has no objects.

    Raises
    ------
    DataError
        Lines are no boxes, or no image has labels.
    """
    boxes: dict[str, tuple[Box, ...]] = {}
    for image in images:
        path = yolo_yaml.labels_of(image)
        if path.is_file():
            check_file(path, max_bytes)
            boxes[image.relative_to(root).as_posix()] = tuple(_boxes(path))
    if not boxes:
        raise DataError(
            f"none of {len(images)} images has labels",
            where=where,
            cause=f"looked for {yolo_yaml.labels_of(images[0])}",
            next_step="put the labels into a folder labels beside that of the images",
        )
    return BoxLabels(where, _classes(names, boxes), boxes, normalized=True)


def _classes(names: Sequence[str], boxes: Mapping[str, Sequence[Box]]) -> dict[int, str]:
    highest = max((box.number for rows in boxes.values() for box in rows), default=-1)
    classes = {
        place: names[place] if place < len(names) else str(place)
        for place in range(max(len(names), highest + 1))
    }
    if names and highest >= len(names):
        classes = dict(enumerate(names))  # what is beyond them is refused with the boxes
    return classes


def _names(folder: Path) -> list[str]:
    for name in CLASS_FILES:
        for above in (folder, folder.parent):
            if (above / name).is_file():
                return [
                    line.strip() for line in (above / name).read_text("utf-8").splitlines() if line.strip()
                ]
    return []


def _boxes(path: Path) -> list[Box]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is no text: {error}", where=str(path)) from error
    rows = []
    for place, text in enumerate(lines, 1):
        parts = text.split()
        if not parts:
            continue
        line = f"{path.name}:{place}"
        values = [number(part, "a value", str(path), line) for part in parts]
        is_polygon = len(values) >= 7 and len(values) % 2 == 1
        if (len(values) != 5 and not is_polygon) or values[0] < 0 or values[0] != int(values[0]):
            raise DataError(
                f"{line}: {text[:60]!r} is not a class from 0 and a box",
                where=str(path),
                cause="six values are a class, a box and a score: predictions, not labels"
                if len(values) == 6
                else "",
                next_step="write: class cx cy width height, as shares of the image's size",
            )
        if is_polygon:
            x_all, y_all = values[1::2], values[2::2]
            corners = min(x_all), min(y_all), max(x_all), max(y_all)
        else:
            x, y, width, height = values[1:]
            corners = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        rows.append(Box(int(values[0]), *corners, line=line))
    return rows
