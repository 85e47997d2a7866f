"""What a file of box labels says, checked against the images: one form for every format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness.core.detection.truth import Objects
from harness.core.errors import DataError

#: Pixels by which a box may reach beyond its image: tools round edges.
TOLERANCE = 2.0
#: Examples that a message lists.
_LISTED = 3


@dataclass(frozen=True, slots=True)
class Box:
    """One object of one image.

    Parameters
    ----------
    number : int
        Class by its number in the labels, or its position among the names.
    x0, y0, x1, y1 : float
        In pixels of the image, or as shares of its size.
    area : float, optional
        In pixels of the image; default: that of the box.
    crowd : bool
    line : str
        Where it is, for a message.
    """

    number: int
    x0: float
    y0: float
    x1: float
    y1: float
    area: float | None = None
    crowd: bool = False
    line: str = ""


@dataclass(frozen=True, slots=True)
class BoxLabels:
    """The labels of a set of images.

    Parameters
    ----------
    where : str
        The file or folder, for messages.
    classes : mapping of int to str
        Number of each class in the labels to its name, in the order of the classes of the model.
    boxes : mapping of str to tuple of Box
        File of an image, as the labels name it, to its objects; empty of an image without any.
    sizes : mapping of str to (int, int)
        Width and height of an image where the labels say them.
    normalized : bool
        Boxes are shares of the size of the image.
    notes : tuple of str
    """

    where: str
    classes: Mapping[int, str]
    boxes: Mapping[str, tuple[Box, ...]]
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    normalized: bool = False
    notes: tuple[str, ...] = ()


def objects_of(labels: BoxLabels, images: Sequence[str], sizes: Sequence[tuple[int, int]]) -> list[Objects]:
    """Return the objects of images, with all boxes inside of them.

    Parameters
    ----------
    images : sequence of str
        As the labels name them.
    sizes : sequence of (int, int)
        Width and height of each.

    Raises
    ------
    DataError
        Sizes differ from those in the labels, boxes have no area or lie outside, or a class has no name.
    """
    _check_sizes(labels, images, sizes)
    wrong: dict[str, list[str]] = {"empty": [], "outside": [], "class": []}
    position = {number: place for place, number in enumerate(labels.classes)}
    all_objects, total = [], 0
    for image, (width, height) in zip(images, sizes, strict=True):
        boxes = labels.boxes.get(image, ())
        total += len(boxes)
        scale = np.array([width, height] * 2 if labels.normalized else [1.0] * 4)
        corners = np.array([[b.x0, b.y0, b.x1, b.y1] for b in boxes]).reshape(-1, 4) * scale
        for box, row in zip(boxes, corners, strict=True):
            place = f"{box.line or image}: [{', '.join(f'{value:g}' for value in row)}] in {width}×{height}"
            if box.number not in position:
                wrong["class"].append(f"{box.line or image}: class {box.number}")
            elif not np.isfinite(row).all() or row[2] <= row[0] or row[3] <= row[1]:
                wrong["empty"].append(place)
            elif row[:2].min() < -TOLERANCE or row[2] > width + TOLERANCE or row[3] > height + TOLERANCE:
                wrong["outside"].append(place)
        edges = np.array([width, height] * 2)
        inside = np.clip(corners, 0, edges)
        sides = inside[:, 2:] - inside[:, :2]
        areas = [
            area if b.area is None else b.area for b, area in zip(boxes, sides.prod(axis=1), strict=True)
        ]
        all_objects.append(
            Objects(
                np.array([position.get(b.number, -1) for b in boxes], np.int64),
                np.array([b.number for b in boxes], np.int64),
                inside,
                np.array(areas, np.float64),
                np.array([b.crowd for b in boxes], bool),
            )
        )
    _refuse(labels, wrong, total)
    return all_objects


def _refuse(labels: BoxLabels, wrong: Mapping[str, list[str]], total: int) -> None:
    named = list(labels.classes)[:8]
    causes = {
        "class": (
            f"have a class that the labels do not name; they name {', '.join(map(str, named))}",
            "the list of classes belongs to other labels",
            "complete the list of classes, or correct the numbers",
        ),
        "empty": (
            "have no width or no height, or a negative one (x0, y0, x1, y1)",
            "corners are swapped, or a size is read as a corner",
            "remove or correct these boxes",
        ),
        "outside": (
            "lie outside of their images (x0, y0, x1, y1 in width×height)",
            "pixels are read as shares or shares as pixels, x and y are swapped, or the images were resized",
            "correct the labels, or use the images that they were made for",
        ),
    }
    for kind, (what, cause, next_step) in causes.items():
        if examples := wrong[kind]:
            raise DataError(
                f"{len(examples)} of {total} boxes {what}: {listed(examples)}",
                where=labels.where, cause=cause, next_step=next_step,
            )  # fmt: skip


def _check_sizes(labels: BoxLabels, images: Sequence[str], sizes: Sequence[tuple[int, int]]) -> None:
    other = [
        f"{image} has {size[0]}×{size[1]} pixels, the labels say {'×'.join(map(str, labels.sizes[image]))}"
        for image, size in zip(images, sizes, strict=True)
        if image in labels.sizes and labels.sizes[image] != size
    ]
    if other:
        raise DataError(
            f"{len(other)} of {len(images)} images have another size than in the labels: {listed(other)}",
            where=labels.where,
            cause="the images were resized after they were labelled, or are turned by their EXIF data",
            next_step="use the images that were labelled",
        )


def paired(
    labels: BoxLabels, root: Path, images: Sequence[Path], *, without: str
) -> tuple[list[Path], list[str], list[str]]:
    """Pair the images of a folder with their labels.

    Parameters
    ----------
    root : Path
        Folder that the labels name files relative to; a name alone is looked for in its folders, too.
    images : sequence of Path
        All images below it.
    without : {"empty", "left out"}
        What an image is that the labels do not name: one without objects, or none of the set.

    Returns
    -------
    files : list of Path
    names : list of str
        As the labels have them.
    notes : list of str

    Raises
    ------
    DataError
        Labels name images that are not there, or none of the images.
    """
    by_path = {file.relative_to(root).as_posix(): file for file in images}
    by_name: dict[str, list[Path]] = {}
    for file in images:
        by_name.setdefault(file.name, []).append(file)
    find: Callable[[str], Path | None] = lambda name: by_path.get(name) or _only(by_name.get(Path(name).name))  # noqa: E731
    chosen = {name: find(name) for name in labels.boxes}
    missing = [name for name, file in chosen.items() if file is None]
    if missing:
        what = (
            "none of the images is there" if len(missing) == len(chosen) else f"the first: {listed(missing)}"
        )
        raise DataError(
            f"{len(missing)} of {len(chosen)} labelled images are not in {root.name}; {what}",
            where=labels.where,
            cause=f"file names are relative to {root.name}, as {missing[0]!r}; it has {len(images)} images",
            next_step="name the folder of these images, or remove their labels",
        )
    files = {file: name for name, file in chosen.items() if file is not None}
    others = [file for file in images if file not in files]
    notes = []
    if others and without == "empty":
        notes.append(f"{len(others)} of {len(images)} images have no labels and count as empty ones")
        files |= {file: file.relative_to(root).as_posix() for file in others}
    elif others:
        notes.append(f"left out: {len(others)} of {len(images)} images that the labels do not name")
    order = sorted(files)
    return order, [files[file] for file in order], notes


def _only(files: Sequence[Path] | None) -> Path | None:
    return files[0] if files and len(files) == 1 else None


def listed(examples: Sequence[str]) -> str:
    """Return the first examples and how many more there are."""
    more = f"; and {len(examples) - _LISTED} more" if len(examples) > _LISTED else ""
    return "; ".join(examples[:_LISTED]) + more


def number(value: object, what: str, where: str, line: str = "") -> float:
    """Return a finite number, or refuse it.

    Raises
    ------
    DataError
    """
    try:
        read = float(str(value).strip())
    except ValueError:
        read = float("nan")
    if isinstance(value, bool) or not np.isfinite(read):
        raise DataError(f"{line or what}: {what} is {value!r}, not a number", where=where)
    return read
