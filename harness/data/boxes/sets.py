"""Images with labels of boxes: which format they have, and one array of labels for all of them."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.core.detection.truth import pack
from harness.core.errors import DataError
from harness.data import image_folders
from harness.data.boxes import coco, table, voc, yolo, yolo_yaml
from harness.data.boxes.labels import BoxLabels, objects_of, paired
from harness.data.boxes.placement import placement
from harness.data.datasets import stratified_order
from harness.data.files import MAX_BYTES
from harness.data.image_files import read_images, upright_size
from harness.data.image_sets import Reading
from harness.data.readers import Contents

FORMATS = ("coco", "yolo", "yolo-yaml", "voc", "box-csv")
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
    if labels is None and yolo_yaml.file_in(path) is not None:
        return "yolo-yaml"
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


def images_of(path: Path, labels: Path | None) -> list[Path]:
    """Return the images of a folder, or of the splits of a ``data.yaml``."""
    file = yolo_yaml.file_in(path) if labels is None else None
    if file is None:
        return image_folders.all_images(path)
    splits = yolo_yaml.read(file, MAX_BYTES)
    return sorted({*splits.test, *splits.train})


def _read_splits(path: Path, reading: Reading, calibration_max: int) -> tuple[Contents, Contents | None]:
    """Read the splits of a ``data.yaml``, or of a folder with such a file."""
    file = yolo_yaml.file_in(path)
    assert file is not None, "the format was told by it"
    splits = yolo_yaml.read(file, reading.max_bytes)
    root = root_of(path, (*splits.test, *splits.train))
    _check_skip(reading, (*splits.test, *splits.train), root)
    test = _of_files(_not_skipped(splits.test, root, reading), root, splits, file, reading)
    test = replace(test, notes=(*splits.notes, *test.notes))
    train = _not_skipped(splits.train, root, reading)
    if not train or not calibration_max:
        return test, None
    ids = np.arange(len(test.files), len(test.files) + len(train))
    chosen = np.sort(stratified_order(None, ids, seed=0)[:calibration_max])
    calibration = _of_files([train[place] for place in chosen], root, splits, file, reading)
    return test, replace(calibration, rows=ids[chosen])


def _check_skip(reading: Reading, files: Sequence[Path], root: Path) -> None:
    if unknown := sorted(set(reading.skip) - {_name(file, root) for file in files}):
        raise DataError(
            f"skip names {len(unknown)} files that are not there: {', '.join(unknown[:5])}", where=str(root)
        )


def root_of(path: Path, images: Sequence[Path]) -> Path:
    """Return the folder that names of images are relative to: the data, or the nearest above all images."""
    folder = path if path.is_dir() else path.parent
    if all(image.is_relative_to(folder) for image in images):
        return folder
    return Path(os.path.commonpath([image.parent for image in images]))


def _not_skipped(files: Sequence[Path], root: Path, reading: Reading) -> list[Path]:
    return [image for image in files if _name(image, root) not in reading.skip]


def _of_files(
    files: Sequence[Path], root: Path, splits: yolo_yaml.Splits, file: Path, reading: Reading
) -> Contents:
    boxes = yolo.read_beside(files, root, splits.names, str(file), reading.max_bytes)
    return _contents(boxes, root, files, reading, without="empty")


def read(
    path: Path, labels: Path | None, format_: str, reading: Reading, *, calibration_max: int
) -> tuple[Contents, Contents | None]:
    """Read images and their boxes.

    Parameters
    ----------
    path, labels : Path
        As for `format_of`.
    format_ : str
        One of `FORMATS`.
    reading : Reading
    calibration_max : int

    Returns
    -------
    test : Contents
    calibration : Contents or None
        At most `calibration_max` images of the split ``train``, drawn with a fixed seed; None without splits.

    Raises
    ------
    DataError
        Labels and images do not fit together, or one of them cannot be read.
    """
    if format_ == "yolo-yaml":
        return _read_splits(path, reading, calibration_max)
    return _read_folder(path, labels, format_, reading), None


def _read_folder(path: Path, labels: Path | None, format_: str, reading: Reading) -> Contents:
    where = labels or labels_in(path)
    if where is None:
        raise DataError(
            f"{format_} needs labels of boxes", where=str(path),
            next_step="set [data] labels (harness init --labels) to the file or folder of the labels",
        )  # fmt: skip
    folder = path if labels else next(path / name for name in _IMAGE_FOLDERS if (path / name).is_dir())
    every = image_folders.all_images(folder)
    _check_skip(reading, every, path)
    skipped = {_name(file, folder) for file in every if _name(file, path) in reading.skip}
    boxes = _without(_labels(where, format_, every, folder, reading.max_bytes), skipped)
    files = [file for file in every if _name(file, path) not in reading.skip]
    return _contents(boxes, folder, files, reading, without="empty" if format_ == "yolo" else "left out")


def _contents(
    boxes: BoxLabels, folder: Path, files: Sequence[Path], reading: Reading, *, without: str
) -> Contents:
    """Read the pixels of images, and place their boxes in them."""
    chosen, names, notes = paired(boxes, folder, files, without=without)
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
