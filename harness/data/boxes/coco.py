"""COCO JSON: images, annotations with boxes x, y, width, height, and categories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.core.errors import DataError
from harness.data.boxes.labels import Box, BoxLabels, listed, number
from harness.data.files import check_file


def read(path: Path, max_bytes: int) -> BoxLabels:
    """Read a file.

    Raises
    ------
    DataError
        It is no COCO JSON, or annotations name images or categories that it does not have.
    """
    check_file(path, max_bytes)
    try:
        table = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path.name} is not JSON: {error}", where=str(path)) from error
    parts = {
        key: table.get(key) if isinstance(table, dict) else None
        for key in ("images", "annotations", "categories")
    }
    if absent := [key for key, rows in parts.items() if not isinstance(rows, list)]:
        raise DataError(
            f"{path.name} is no COCO JSON: it has no list {absent[0]!r}",
            where=str(path),
            cause="a list of results has no labels; they are in the file of instances"
            if isinstance(table, list)
            else "",
            next_step="give a file with images, annotations and categories",
        )
    where = str(path)
    images = {_key(row, "id", where): row for row in parts["images"] or ()}
    classes = {
        int(_key(row, "id", where)): str(row.get("name", row["id"])) for row in parts["categories"] or ()
    }
    boxes: dict[Any, list[Box]] = {identity: [] for identity in images}
    orphans, unknown = [], []
    for place, row in enumerate(parts["annotations"] or ()):
        image, category = (_key(row, key, where) for key in ("image_id", "category_id"))
        line = f"annotations[{place}]"
        if image not in images:
            orphans.append(f"{line} has image_id {image}")
            continue
        if category not in classes:
            unknown.append(f"{line} has category_id {category}")
            continue
        x, y, width, height = _extent(row, line, where)
        area = number(row["area"], "area", where, line) if row.get("area") is not None else None
        boxes[image].append(
            Box(int(category), x, y, x + width, y + height, area, bool(row.get("iscrowd", 0)), line)
        )
    for rows, what in ((orphans, "images"), (unknown, "categories")):
        if rows:
            raise DataError(
                f"{len(rows)} annotations name {what} that are not in the file: {listed(rows)}",
                where=where, next_step=f"remove these annotations, or complete the list of {what}",
            )  # fmt: skip
    names = {identity: str(_key(row, "file_name", where)) for identity, row in images.items()}
    sizes = {
        names[identity]: (int(row["width"]), int(row["height"]))
        for identity, row in images.items()
        if row.get("width") and row.get("height")
    }
    return BoxLabels(
        where,
        dict(sorted(classes.items())),
        {names[identity]: tuple(rows) for identity, rows in boxes.items()},
        sizes,
    )


def _key(row: Any, key: str, where: str) -> Any:  # noqa: ANN401 - JSON
    if not isinstance(row, dict) or not isinstance(row.get(key), int | str) or isinstance(row.get(key), bool):
        raise DataError(f"an entry has no {key}: {str(row)[:80]}", where=where)
    return row[key]


def _extent(row: dict[str, Any], line: str, where: str) -> tuple[float, ...]:
    box = row.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        raise DataError(
            f"{line} has no bbox of four numbers: {str(box)[:60]}", where=where,
            next_step="give every annotation a bbox: x, y, width, height",
        )  # fmt: skip
    return tuple(number(value, "bbox", where, line) for value in box)
