"""Images with labels of boxes: which format they have, and one array of labels for all of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from harness.core.detection.truth import pack
from harness.core.errors import DataError
from harness.data import image_folders
from harness.data.boxes import coco, table, voc, yolo
from harness.data.boxes.labels import BoxLabels, objects_of, paired
from harness.data.boxes.placement import placement
from harness.data.image_files import read_images, upright_size
from harness.data.image_sets import Reading
from harness.data.readers import Contents

FORMATS = ("coco", "yolo", "voc", "box-csv")
#: Folders of labels and of images beside each other.
_LABEL_FOLDERS = {"labels": ".txt", "Annotations": ".xml", "annotations": ".xml"}
_IMAGE_FOLDERS = ("images", "JPEGImages")


def format_of(path: Path, labels: Path | None) -> str:
    """Return the format of the labels of a folder of images; empty where they are no boxes.

    Parameters
    ----------
    path : Path
        Folder of images, or one with folders of images and of labels.
    labels : Path, optional
        File or folder of labels; default: a folder such as ``labels`` in `path`.
    """
    if labels is None:
        labels = labels_in(path)
    if labels is None:
        return ""
    if labels.is_dir():
        suffixes = {file.suffix.lower() for file in labels.rglob("*") if file.is_file()}
        return "voc" if ".xml" in suffixes else "yolo" if ".txt" in suffixes else ""
    if labels.suffix.lower() == ".json":
        return "coco"
    return "box-csv" if labels.suffix.lower() == ".csv" and table.has_boxes(labels) else ""


def labels_in(path: Path) -> Path | None:
    """Return the folder of labels in a folder that has one of images, too."""
    if not any((path / name).is_dir() for name in _IMAGE_FOLDERS):
        return None
    return next(
        (
            path / name
            for name, suffix in _LABEL_FOLDERS.items()
            if next((path / name).rglob(f"*{suffix}"), None)
        ),
        None,
    )


def read(path: Path, labels: Path | None, format_: str, reading: Reading) -> Contents:
    """Read images and their boxes.

    Parameters
    ----------
    path, labels : Path
        As for `format_of`.
    format_ : str
        One of `FORMATS`.
    reading : Reading

    Raises
    ------
    DataError
        Labels and images do not fit together, or one of them cannot be read.
    """
    where = labels or labels_in(path)
    if where is None:
        raise DataError(
            f"{format_} needs labels of boxes", where=str(path),
            next_step="set [data] labels (harness init --labels) to the file or folder of the labels",
        )  # fmt: skip
    folder = path if labels else next(path / name for name in _IMAGE_FOLDERS if (path / name).is_dir())
    every = image_folders.all_images(folder)
    if unknown := sorted(set(reading.skip) - {_name(file, path) for file in every}):
        raise DataError(
            f"skip names {len(unknown)} files that are not there: {', '.join(unknown[:5])}", where=str(folder)
        )
    skipped = {_name(file, folder) for file in every if _name(file, path) in reading.skip}
    boxes = _without(_labels(where, format_, every, folder, reading.max_bytes), skipped)
    files = [file for file in every if _name(file, path) not in reading.skip]
    chosen, names, notes = paired(boxes, folder, files, without="empty" if format_ == "yolo" else "left out")
    pixels, more = read_images(chosen, reading.recipe, root=folder, max_bytes=reading.max_bytes)
    sizes = [_size(file) for file in chosen]
    objects = objects_of(boxes, names, sizes)
    packed = pack(
        [
            (placement(reading.recipe, height, width), of_image)
            for (width, height), of_image in zip(sizes, objects, strict=True)
        ]
    )
    all_notes = (*boxes.notes, *notes, *more)
    return Contents({"": pixels}, packed, tuple(boxes.classes.values()), all_notes, files=tuple(chosen))


def _labels(where: Path, format_: str, files: Sequence[Path], folder: Path, max_bytes: int) -> BoxLabels:
    match format_:
        case "coco":
            return coco.read(where, max_bytes)
        case "yolo":
            return yolo.read(where, files, folder, max_bytes)
        case "voc":
            return voc.read(where, max_bytes)
        case _:
            return table.read(where, max_bytes)


def _without(labels: BoxLabels, skip: Collection[str]) -> BoxLabels:
    if not skip:
        return labels
    left = {name: rows for name, rows in labels.boxes.items() if name not in skip}
    return BoxLabels(labels.where, labels.classes, left, labels.sizes, labels.normalized, labels.notes)


def _size(file: Path) -> tuple[int, int]:
    """Width and height of an image that was decoded."""
    size = upright_size(file)
    assert size is not None, "what is decoded has a header"
    return size[1], size[0]


def _name(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix()
