"""Samples from image files: of a folder per class, of a plain folder, and of a table of files and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from harness.core.errors import DataError
from harness.data import image_folders, table_values, tables
from harness.data.datasets import stratified_order
from harness.data.files import MAX_BYTES
from harness.data.image_files import read_images
from harness.data.images import ImageRecipe
from harness.data.readers import Contents
from harness.data.tables import NO_COLUMNS, Columns, Table
from harness.data.text_tables import LABEL_NAMES


@dataclass(frozen=True, slots=True)
class Reading:
    """How images are read: the recipe, files to leave out, the order of class folders, the largest size."""

    recipe: ImageRecipe
    skip: tuple[str, ...] = ()
    class_order: image_folders.ClassOrder = "numeric"
    max_bytes: int = MAX_BYTES


def read_folder(path: Path, reading: Reading, *, calibration_max: int) -> tuple[Contents, Contents | None]:
    """Read a folder of images.

    Returns
    -------
    test : Contents
    calibration : Contents or None
        At most `calibration_max` samples of the folder ``train`` beside the test set, in nearly the class
        proportions of the whole folder; None if there is no such folder.
    """
    listing = image_folders.list_images(path, class_order=reading.class_order, skip=reading.skip)
    test = listing.test
    pixels, notes = read_images(test.files, reading.recipe, root=path, max_bytes=reading.max_bytes)
    contents = Contents(
        {"": pixels}, test.labels, listing.class_names, (*listing.notes, *notes), files=test.files
    )
    if listing.train is None:
        return contents, None
    train = listing.train
    ids = np.arange(len(test.files), len(test.files) + len(train.files))
    chosen = np.sort(stratified_order(train.labels, ids, seed=0)[:calibration_max])
    pixels, notes = pixels[:0], ()
    if len(chosen):
        files = [train.files[i] for i in chosen]
        pixels, notes = read_images(files, reading.recipe, root=path, max_bytes=reading.max_bytes)
    labels = None if train.labels is None or test.labels is None else train.labels[chosen]
    names = listing.class_names if labels is not None else ()
    return contents, Contents({"": pixels}, labels, names, notes, rows=ids[chosen])


def read_list(
    path: Path,
    table_path: Path,
    reading: Reading,
    *,
    header: bool | None,
    label_columns: Sequence[str | int],
    metadata: Columns = NO_COLUMNS,
) -> Contents:
    """Read the images of a table that has their files, relative to the folder, and their labels."""
    read = partial(tables.read, table_path, label_columns=label_columns, metadata=metadata)
    table = read(header=header)
    if header is None and table.text is not None:
        # The first line is a header if none of its cells names a file.
        cells = [_as_posix(cell) for cell in table.text.names()]
        named = not any((path / cell).is_file() for cell in cells if cell)
        if named != table.text.header:
            table = read(header=named)
    columns = list(table.frame.columns)
    if len(columns) < 2 or not len(table.frame):
        raise DataError(
            f"{table_path.name} has {len(columns)} columns and {len(table.frame)} rows; it needs file names "
            "and labels",
            where=str(table_path),
            cause="the file may have another separator",
            next_step="write a row for each image: its file, and its label",
        )
    file_column = next((name for name in columns if _names_file(path, table, name)), columns[0])
    described = table.metadata.values()
    others = [name for name in columns if name != file_column and name not in described]
    if not others:
        raise DataError(f"{table_path.name} has no column with labels", where=str(table_path))
    likely = [name for label in LABEL_NAMES for name in others if str(name).lower() == label]
    wanted = table.labels or (likely or others)[:1]
    names = _file_names(path, table, file_column)
    if unknown := sorted(set(reading.skip) - set(names)):
        raise DataError(
            f"skip names {len(unknown)} files that are not in the table: {', '.join(unknown[:5])}",
            where=str(table_path),
            next_step="fix or remove the names in [data] skip",
        )
    rows = np.array([row for row, name in enumerate(names) if name not in reading.skip], np.int64)
    if not len(rows):
        raise DataError(
            f"{table_path.name} names no images", where=str(table_path), next_step="name a file in each row"
        )
    labels, class_names = table_values.labels_of(table, wanted)
    files = tuple(path / names[row] for row in rows)
    pixels, notes = read_images(files, reading.recipe, root=path, max_bytes=reading.max_bytes)
    if reading.skip:
        notes = (f"left out of {path.name}/: files named in skip: {len(reading.skip)}", *notes)
    if unused := [str(name) for name in others if name not in wanted]:
        chosen = f"labels come from {', '.join(map(repr, wanted))} of {table_path.name}"
        notes = (*notes, f"{chosen}; not used: {', '.join(unused[:8])}")
    about = {name: values[rows] for name, values in table_values.descriptions(table).items()}
    return Contents(
        {"": pixels}, labels[rows], class_names, (*table.notes, *notes), metadata=about, files=files
    )


def _names_file(path: Path, table: Table, column: str | int) -> bool:
    names = (_as_posix(name) for name in table.frame[column][:5])
    return any((path / name).is_file() for name in names if name)


def _as_posix(name: object) -> str:
    return str(name).strip().replace("\\", "/")  # Windows separates folders by a backslash


def _file_names(path: Path, table: Table, column: str | int) -> Sequence[str]:
    """Return the names of the files, all of which exist."""
    names = [_as_posix(name) for name in table.frame[column]]
    missing = [name for name in names if not (path / name).is_file()]
    if not missing:
        return names
    cause = f"file names are relative to {path}"
    next_step = "fix the names, or set header = true or false if the first line is misread"
    above = next((p for p in (path.parent, table.path.parent) if (p / missing[0]).is_file()), None)
    suffixes = sorted({file.suffix for file in path.iterdir() if file.stem == missing[0] and file.is_file()})
    if above is not None:
        cause += f", and these to {above}"
        next_step = f"name {above} as the data"
    elif suffixes:
        cause = f"the names have no suffix; the files have {suffixes[0]}"
        next_step = "write the names with their suffix"
    raise DataError(
        f"{len(missing)} of {len(names)} files in {table.path.name} do not exist; the first is "
        f"{Path(missing[0]).name!r}",
        where=str(table.path),
        cause=cause,
        next_step=next_step,
    )
