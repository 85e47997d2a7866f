"""How to read the data of a model: the label column, and the size and colour of images."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.config.schema import MAX_BYTES, DataTable, ImageTable
from harness.core.artifact import TensorSpec
from harness.core.errors import DataError
from harness.data import image_files, table_values, tables
from harness.data.audio import files as audio_files
from harness.data.boxes import sets as box_sets
from harness.data.boxes import yolo_yaml
from harness.data.files import check_file
from harness.data.image_folders import list_images
from harness.data.sources import format_of
from harness.data.tables import Columns, Table
from harness.data.text_tables import LABEL_NAMES
from harness.init import audio
from harness.init.source import Source

if TYPE_CHECKING:
    import pandas as pd

Splitting = Literal["hash", "first", "none"]

#: Names of columns that name or number the rows, such as ``id``, ``PassengerId`` and ``Unnamed: 0``.
_ID_NAME = re.compile(r"(?i:(^|[_ .-])(id|idx|index|uuid|guid|key|row|no|nr)$|^unnamed: )|[a-z](Id|ID)$")
#: Other columns are tried too if these are not; each reads the table once more.
MOST_LAST_COLUMNS, MOST_CELLS = 64, 2_000_000
#: Names of a file of samples, and of the file of labels beside it.
LABELS_BESIDE = (
    (r"(.*)images-idx3-ubyte(.*)", r"\1labels-idx1-ubyte\2"),
    (r"images(.*)\.npy", r"labels\1.npy"),
    (r"x(.*)\.npy", r"y\1.npy"),
    (r"X(.*)\.npy", r"y\1.npy"),
)
#: Columns that are tried as labels at most.
MOST_COLUMNS = 8
#: Side of the images in pixels if neither the model nor the files fix it.
OPEN_SIZE = 224
#: Grey level around an image that is fitted into the frame, as YOLO's tools have it.
LETTERBOX_PAD = 114


@dataclass(frozen=True, slots=True)
class Reading:
    """What the user said about reading the data.

    Parameters
    ----------
    split : str
        How calibration samples are chosen.
    skip_damaged : bool
        Leave out image files that cannot be decoded, by name.
    missing : "drop", float or None
        What is done with missing values; None: they are refused.
    max_bytes : int
        Largest file, and largest size of the arrays.
    label_columns : tuple of str or int
        The columns of a table with the labels; none: they are looked for.
    columns : mapping of key to column
        Keys of ``[data]`` that name columns which describe the samples: ``group``, ``time``.
    """

    split: Splitting = "hash"
    skip_damaged: bool = False
    missing: Literal["drop"] | float | None = None
    max_bytes: int = MAX_BYTES
    label_columns: tuple[str | int, ...] = ()
    columns: Mapping[str, str | int] = field(default_factory=dict)


def find(
    data: str,
    labels: Path | None,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec] = (),
    *,
    reading: Reading,
    channels_first: bool,
) -> Source:
    """Find out how to read the data.

    Raises
    ------
    DataError
        There are no data, or the label column cannot be determined.
    """
    if ":" in data and not Path(data).exists():
        table = DataTable(callable=data, split=reading.split, missing=reading.missing)
        return Source((table.model_copy(update=reading.columns),))
    path = Path(data)
    beside = None if labels else _labels_beside(path)
    if beside is not None:
        note = f"labels come from {beside.name} beside the data: --labels names another file"
        source = find(data, beside, inputs, outputs, reading=reading, channels_first=channels_first)
        return replace(source, notes=(note, *source.notes))
    table = DataTable(
        path=data, labels=str(labels) if labels else "", split=reading.split, missing=reading.missing,
        max_bytes=reading.max_bytes,
    ).model_copy(update=reading.columns)  # fmt: skip
    if not path.exists():
        raise DataError(
            f"{data} does not exist",
            where="--data",
            next_step="name a file, a folder, or package.module:function",
        )
    if path.is_dir() or path.suffix.lower() in yolo_yaml.SUFFIXES:
        return _of_files(path, labels, inputs, table, reading, channels_first=channels_first)
    check_file(path, reading.max_bytes)
    if reading.skip_damaged:
        raise DataError(
            f"{path.name} is not a folder of images", where="--skip-damaged", next_step="leave it out"
        )
    if format_of(path, None) not in ("csv", "parquet"):
        return Source((table,))
    label = reading.label_columns
    described = Columns(tuple(reading.columns.values()))
    read = tables.read(path, max_bytes=reading.max_bytes, label_columns=label, metadata=described)
    ids = _id_columns(read, inputs, labels_apart=labels is not None)
    table, notes = table.model_copy(update={"label_column": _as_key(label), "ignore": ids}), _id_notes(ids)
    if labels is not None or label:
        return Source((table,), notes)
    read = replace(read, frame=read.frame.drop(columns=list(ids)))
    columns, more = _label_columns(read, inputs, outputs)
    rest = [(name,) for name in _undescribed(read) if (name,) not in columns]
    certain = len(columns) == 1 or len(columns[0]) > 1
    if certain or len(rest) > MOST_LAST_COLUMNS or read.frame.size > MOST_CELLS:
        rest = []
    (one, *others), last = (
        [table.model_copy(update={"label_column": _as_key(names)}) for names in group]
        for group in (columns, rest)
    )
    return Source((one,), (*notes, *more), other_columns=tuple(others), last_columns=tuple(last))


def _of_files(
    path: Path,
    labels: Path | None,
    inputs: Sequence[TensorSpec],
    table: DataTable,
    reading: Reading,
    *,
    channels_first: bool,
) -> Source:
    """Find out how to read files of audio or images."""
    if path.is_dir() and audio_files.is_audio(path):
        return audio.source(path, labels, inputs, table, is_described=bool(reading.columns))
    has_boxes = bool(box_sets.format_of(path, labels))
    files = box_sets.images_of(path, labels)
    skip, notes = _damaged(path, files) if reading.skip_damaged else ((), ())
    images, more = _images(files, path, inputs, channels_first=channels_first, has_boxes=has_boxes)
    ways = tuple(table.model_copy(update={"image": image, "skip": skip}) for image in images)
    source = Source(ways, (*notes, *more))
    return source if has_boxes else _with_other_order(source, path, table, skip)


def _labels_beside(path: Path) -> Path | None:
    """Return the file of labels that belongs to a file of samples by its name: MNIST's and NumPy's habits."""
    for pattern, name in LABELS_BESIDE:
        if re.fullmatch(pattern, path.name):
            labels = path.with_name(re.sub(pattern, name, path.name))
            return labels if labels.is_file() else None
    return None


def _with_other_order(source: Source, folder: Path, table: DataTable, skip: tuple[str, ...]) -> Source:
    """Add the alphabetical order of class folders called by numbers, in which many models are trained."""
    if table.labels:
        return source
    names = list_images(folder, skip=skip).class_names
    if list(names) == sorted(names):
        return source
    tables_ = tuple(one.model_copy(update={"class_order": "alphabetical"}) for one in source.tables)
    return replace(source, other_order=Source(tables_, source.notes))


def _damaged(path: Path, files: Sequence[Path]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the image files that cannot be decoded, relative to their folder, and a note."""
    folder = box_sets.root_of(path, files)
    names = tuple(file.relative_to(folder).as_posix() for file in image_files.damaged_files(files))
    if not names:
        return (), ("no image file is damaged",)
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return names, (
        f"{len(names)} of {len(files)} image files are damaged and left out, see [data] skip: {shown}",
    )


def _features(inputs: Sequence[TensorSpec]) -> int | None:
    """Return how many features a sample has; None where the model does not fix it."""
    shape = [size or 0 for size in inputs[0].shape[1:]]
    return math.prod(shape) if shape and all(shape) else None


def _id_columns(table: Table, inputs: Sequence[TensorSpec], *, labels_apart: bool) -> tuple[str | int, ...]:
    """Return the columns that name or number the rows and are no features of the model.

    Where the model fixes the number of features, it has to be that of the other columns.
    """
    frame, features = table.frame, _features(inputs)
    columns = [name for name in _undescribed(table) if name not in table.labels]
    named = [name for name in columns if _ID_NAME.search(str(name)) and tables.is_index(frame[name])]
    if features is None:
        return tuple(named)
    numbering = [name for name in columns if name in named or table_values.numbers_rows(frame[name])]
    for ids in (named, numbering):
        others = [name for name in columns if name not in ids]
        lower = {str(name).strip().lower() for name in others}
        if labels_apart or table.labels:
            possible = {len(others)}
        elif lower & set(LABEL_NAMES) or any(table_values.is_text(table, name) for name in others):
            possible = {len(others) - 1}
        else:
            possible = {len(others), len(others) - 1}
        if features in possible:
            return tuple(ids)
    return ()


def _id_notes(ids: tuple[str | int, ...]) -> tuple[str, ...]:
    if not ids:
        return ()
    names = ", ".join(map(repr, ids))
    verb = "the column {} names or numbers" if len(ids) == 1 else "the columns {} name or number"
    return (f"{verb.format(names)} the rows and is left out: [data] ignore",)


def _label_columns(
    table: Table, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> tuple[tuple[tuple[str | int, ...], ...], tuple[str, ...]]:
    """Return the columns that may have the labels, the likeliest first, and a note; none: all are features.

    A column with the name of labels, else the one of text; else all that look like classes and the first and
    the last one, which are then tried. Of a model with several outputs a sample, as many columns: the last
    and the first ones are tried.
    """
    columns, features = _undescribed(table), _features(inputs)
    if features == len(columns):
        return ((),), ()
    lower = {str(name).strip().lower(): name for name in reversed(columns)}
    named = next((lower[name] for name in LABEL_NAMES if name in lower), None)
    if named is not None and features in (None, len(columns) - 1):
        return ((named,),), (f"labels come from the column {named!r}",)
    text = [name for name in columns if table_values.is_text(table, name)]
    if features is None and len(text) == 1:
        return ((text[0],),), (f"labels come from the column {text[0]!r}, the only one of text",)
    targets = 0 if features is None else len(columns) - features
    if targets > 1 and not text and targets in {spec.shape[-1] for spec in outputs if len(spec.shape) > 1}:
        return (tuple(columns[-targets:]), tuple(columns[:targets])), ()
    if targets != 1:
        raise _no_label_column(table, features, named)
    if len(text) == 1:
        return ((text[0],),), (f"labels come from the column {text[0]!r}, the only one of text",)
    likely = text or [name for name in columns if _are_classes(table.frame[name])]
    ends = [columns[-1], columns[0]]
    ordered = sorted(likely, key=lambda name: ends.index(name) if name in ends else len(ends))
    return tuple((name,) for name in dict.fromkeys([*ordered, *ends]))[:MOST_COLUMNS], ()


def _as_key(columns: tuple[str | int, ...]) -> str | int | tuple[str | int, ...] | None:
    """Return columns as `label_column` has them: one by itself."""
    return columns if len(columns) > 1 else next(iter(columns), None)


def _undescribed(table: Table) -> list[str | int]:
    """Return the columns that do not describe the samples."""
    return [name for name in table.frame.columns if name not in table.metadata.values()]


def _no_label_column(table: Table, features: int | None, named: str | int | None) -> DataError:
    columns = _undescribed(table)
    cause = "the label column cannot be determined" if named is None else ""
    if table.text is not None and table.text.separator == "," and features and len(columns) >= 2 * features:
        cause = "decimal commas in a file whose cells are separated by commas, or another model"
    beside = "" if named is None else f" beside {named!r}"
    return DataError(
        f"{table.path.name} has {len(columns) - (named is not None)} columns{beside}, the model takes "
        f"{features or 'any number of'} features",
        where=str(table.path),
        cause=cause,
        next_step="remove columns that the model does not take, or name those that tell where and when a "
        "sample was taken: --group SITE, --time DATE; name a column label in the first line, name each "
        "column of labels with --label-column, or give a file of labels: --labels FILE",
    )


def _are_classes(column: pd.Series[Any]) -> bool:
    """Whether a column of numbers looks like classes: whole numbers from 0, each more than once."""
    values = column.dropna()
    if values.dtype.kind not in "iubf" or not len(values):
        return False
    whole = values.dtype.kind in "iub" or bool((values == values.round()).all())
    return whole and bool(values.min() >= 0) and 2 * values.nunique() <= len(values)


def _images(
    files: Sequence[Path], where: Path, inputs: Sequence[TensorSpec], *, channels_first: bool, has_boxes: bool
) -> tuple[list[ImageTable], tuple[str, ...]]:
    """Return the ways to resize images to the model's size: crop the centre, cover, or stretch.

    Images with boxes are not cropped: they are fitted into the frame, with grey around them, or stretched.
    """
    shape = inputs[0].shape[1:]
    if len(inputs) != 1 or len(shape) != 3:
        raise DataError(
            f"images do not fit the model, which takes {', '.join(spec.name for spec in inputs)}",
            where=str(where),
            next_step="save an .npz with an array for each input",
        )
    first = shape[0] in (1, 3) and (channels_first or shape[2] not in (1, 3))
    channels, *size = (shape[0], *shape[1:]) if first else (shape[2], *shape[:2])
    colour: Literal["L", "RGB"] = "L" if channels == 1 else "RGB"
    # Of a damaged file nothing is known; reading its pixels names it.
    sizes = {file_size for file in files if (file_size := image_files.upright_size(file)) is not None}
    notes: tuple[str, ...] = ()
    if None in size and len(sizes) == 1:
        return [ImageTable(colour=colour)], notes
    height, width = (OPEN_SIZE if side is None else side for side in size)
    if None in size:
        notes = (f"the model does not fix the image size: {height}x{width} is used, see [data.image] size",)
    if sizes == {(height, width)}:
        return [ImageTable(colour=colour)], notes
    if has_boxes:
        fitted = ImageTable(size=(height, width), resize="contain", pad=LETTERBOX_PAD, colour=colour)
        return [fitted, ImageTable(size=(height, width), resize="stretch", colour=colour)], notes
    ways = [ImageTable(size=(height, width), resize="cover", crop=0.875, colour=colour)]
    ways.append(ImageTable(size=(height, width), resize="cover", colour=colour))
    ways.append(ImageTable(size=(height, width), resize="stretch", colour=colour))
    return ways, notes
