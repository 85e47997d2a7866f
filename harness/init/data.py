"""How to read the data of a model: the label column, and the size and colour of images."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.config.schema import DataTable, ImageTable
from harness.core.artifact import TensorSpec
from harness.core.errors import DataError
from harness.data.datasets import DataSource, load
from harness.data.images import IMAGE_SUFFIXES

Splitting = Literal["hash", "first", "none"]

LABEL_NAMES = ("label", "labels", "class", "target", "y", "category")
TABLES = (".csv", ".tsv", ".parquet")
#: Side of the images in pixels if neither the model nor the files fix it.
OPEN_SIZE = 224


@dataclass(frozen=True, slots=True)
class Source:
    """One table ``[data]``, or several that resize images in different ways, the most likely first."""

    tables: tuple[DataTable, ...]
    notes: tuple[str, ...] = ()


def find(
    data: str, labels: Path | None, inputs: Sequence[TensorSpec], *, split: Splitting, channels_first: bool
) -> Source:
    """Find out how to read the data.

    Raises
    ------
    DataError
        There are no data, or the label column cannot be determined.
    """
    if ":" in data and not Path(data).exists():
        return Source((DataTable(callable=data, split=split),))
    path = Path(data)
    table = DataTable(path=data, labels=str(labels) if labels else "", split=split)
    if not path.exists():
        raise DataError(
            f"{data} does not exist",
            where="--data",
            next_step="name a file, a folder, or package.module:function",
        )
    if path.is_dir():
        images, notes = _images(path, inputs, channels_first=channels_first)
        return Source(tuple(table.model_copy(update={"image": image}) for image in images), notes)
    if path.suffix in TABLES and labels is None:
        column = _label_column(path, inputs)
        return Source((table.model_copy(update={"label_column": column}),), _column_notes(column))
    return Source((table,))


def _column_notes(column: str | int | None) -> tuple[str, ...]:
    return () if column is None else (f"labels come from the column {column!r}",)


def _label_column(path: Path, inputs: Sequence[TensorSpec]) -> str | int | None:
    """Return the label column, by name, else the first or the last; None if all columns are features."""
    names = _columns(path)
    shape = [size or 0 for size in inputs[0].shape[1:]]
    features = math.prod(shape) if shape and all(shape) else None
    if features == len(names):
        return None
    for name in names:
        if name.strip().lower() in LABEL_NAMES:
            return name
    if features is None or features != len(names) - 1:
        raise DataError(
            f"{path.name} has {len(names)} columns, the model takes {features or 'any number of'} features",
            where=str(path),
            cause="the label column cannot be determined",
            next_step="name a column label in the first line, or give a file of labels: --labels FILE",
        )
    first, last = (_is_class_column(path, column) for column in (0, len(names) - 1))
    return 0 if first or not last else len(names) - 1


def _is_class_column(path: Path, column: int) -> bool:
    """Whether a column looks like classes: text, or whole numbers from 0; each class more than once."""
    try:
        labels = load(DataSource(path=path, label_column=column)).labels
    except DataError:
        return False  # the other columns are not features
    if labels is None or labels.dtype.kind not in "iu":
        return False
    return bool(labels.min() >= 0) and 2 * len(set(labels.tolist())) <= len(labels)


def _columns(path: Path) -> list[str]:
    if path.suffix == ".parquet":
        import pandas as pd

        return [str(name) for name in pd.read_parquet(path).columns]
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as lines:
        return next(csv.reader(lines, delimiter="\t" if path.suffix == ".tsv" else ","), [])


def _images(
    folder: Path, inputs: Sequence[TensorSpec], *, channels_first: bool
) -> tuple[list[ImageTable], tuple[str, ...]]:
    """Return the ways to resize images to the model's size: crop the centre, cover, or stretch."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise DataError(
            f"{folder.name} contains no images",
            where=str(folder),
            next_step=f"use files with one of the suffixes {' '.join(sorted(IMAGE_SUFFIXES))}",
        )
    shape = inputs[0].shape[1:]
    if len(inputs) != 1 or len(shape) != 3:
        raise DataError(
            f"images do not fit the model, which takes {', '.join(spec.name for spec in inputs)}",
            where=str(folder),
            next_step="save an .npz with an array for each input",
        )
    first = shape[0] in (1, 3) and (channels_first or shape[2] not in (1, 3))
    channels, *size = (shape[0], *shape[1:]) if first else (shape[2], *shape[:2])
    colour: Literal["L", "RGB"] = "L" if channels == 1 else "RGB"
    sizes = _sizes(files)
    notes: tuple[str, ...] = ()
    if None in size and len(sizes) == 1:
        return [ImageTable(colour=colour)], notes
    height, width = (OPEN_SIZE if side is None else side for side in size)
    if None in size:
        notes = (f"the model does not fix the image size: {height}x{width} is used, see [data.image] size",)
    if sizes == {(height, width)}:
        return [ImageTable(colour=colour)], notes
    ways = [ImageTable(size=(height, width), resize="cover", crop=0.875, colour=colour)]
    ways.append(ImageTable(size=(height, width), resize="cover", colour=colour))
    ways.append(ImageTable(size=(height, width), resize="stretch", colour=colour))
    return ways, notes


def _sizes(files: Sequence[Path]) -> set[tuple[int, int]]:
    """Return heights and widths from the headers of the files; no image is decoded."""
    from PIL import Image, UnidentifiedImageError

    sizes = set()
    for file in files:
        try:
            with Image.open(file) as image:
                sizes.add((image.height, image.width))
        except (UnidentifiedImageError, OSError) as error:
            raise DataError(
                f"{file.name} cannot be read as an image: {error}",
                where=str(file),
                cause="the file is damaged or not an image",
                next_step="repair or remove the file",
            ) from error
    return sizes
