"""Where samples come from: files of every format, folders of images, and callables; read and checked."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.core.errors import DataError, HarnessError
from harness.data import checks, image_files, image_folders, image_sets, readers, table_values, tables
from harness.data import files as data_files
from harness.data.audio import files as audio_files
from harness.data.audio import sets as audio_sets
from harness.data.audio.files import AudioRecipe
from harness.data.boxes import sets as box_sets
from harness.data.boxes import yolo_yaml
from harness.data.datasets import Dataset, Split
from harness.data.images import ImageRecipe
from harness.data.labels import classes_of_text
from harness.data.metadata import column_name
from harness.data.readers import Array, Contents
from harness.data.table_values import Missing
from harness.data.tables import NO_COLUMNS, Columns

FORMATS = (
    "auto", "npz", "npy", "idx", "image-folder", "image-csv", *box_sets.FORMATS, *audio_sets.FORMATS, "csv",
    "parquet", "callable",
)  # fmt: skip
#: Formats with columns beside the samples.
DESCRIBED = ("npz", "image-csv", *audio_sets.FORMATS, "csv", "parquet", "callable")
DEFAULT_INPUT = "input"
_AS_TABLE, _AS_ARRAYS = (
    "save it as CSV or Parquet",
    "save the arrays as .npz: np.savez(path, x=x, labels=labels)",
)
_FOREIGN = {
    **dict.fromkeys(
        (".xlsx", ".xls", ".ods", ".json", ".jsonl", ".feather", ".arff", ".xml", ".sqlite"), _AS_TABLE
    ),
    **dict.fromkeys(
        (".h5", ".hdf5", ".mat", ".pkl", ".pickle", ".pt", ".pth", ".tfrecord", ".zarr"), _AS_ARRAYS
    ),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".rar"), "unpack the archive, and name the folder"),
}


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where samples come from.

    Parameters
    ----------
    path : Path or None
        A file, or a folder of images.
    labels : Path or None
        File of labels: .npy, idx or one-column text; for ``image-csv`` the table of files and labels.
    format : str
        One of ``FORMATS``; ``auto`` decides by folder and suffix.
    callable : str
        ``package.module:function`` without parameters, returns a Dataset or a Split.
    label_columns : tuple of str or int
        The label columns of a table, by name or index: none, one, or one for each label or target.
    header : bool or None
        Whether the first line of a table has the column names; None: decide by its content.
    input_names : tuple of str
        The model's inputs; the input of a format without names gets the one name.
    image : ImageRecipe or None
        How image files are resized; None: not at all.
    audio : AudioRecipe or None
        How audio files are cut into windows.
    skip : tuple of str
        Image or audio files to leave out, relative to the folder.
    class_order : str
        Order of class folders that are called by numbers.
    missing : "drop", float or None
        Leave out the samples with missing values (NaN), replace the values, or refuse them.
    max_bytes : int
        Largest file, and largest size of the arrays.
    calibration_max : int
        Maximum number of samples from the folder ``train`` beside a test set.
    metadata : Columns
        Columns or arrays that describe the samples and are not fed to the model.
    """

    path: Path | None = None
    labels: Path | None = None
    format: str = "auto"
    callable: str = ""
    label_columns: tuple[str | int, ...] = ()
    header: bool | None = None
    input_names: tuple[str, ...] = ()
    image: ImageRecipe | None = None
    audio: AudioRecipe | None = None
    skip: tuple[str, ...] = ()
    class_order: image_folders.ClassOrder = "numeric"
    missing: Missing = None
    max_bytes: int = data_files.MAX_BYTES
    calibration_max: int = 200
    metadata: Columns = NO_COLUMNS


def load(source: DataSource) -> Dataset:
    """Read and check a data set; if a callable returns a Split, its test part."""
    loaded = load_either(source)
    return loaded.test if isinstance(loaded, Split) else loaded


def load_either(source: DataSource) -> Dataset | Split:
    """Read and check a data set; a callable may return a Split."""
    if source.format not in FORMATS:
        raise DataError(
            f"unknown data format {source.format!r}", next_step=f"use one of {', '.join(FORMATS)}"
        )
    if source.callable:
        return _call(source)
    path = source.path
    if path is None:
        raise DataError("no data: neither a path nor a callable is set", next_step="set path or callable")
    for file in (path, source.labels):
        if file is not None and not file.exists():
            raise DataError(f"{file.name} does not exist", where=str(file), next_step="check the path")
    format_ = format_of(path, source.labels) if source.format == "auto" else source.format
    if source.skip and not format_.startswith(("image", "audio")) and format_ not in box_sets.FORMATS:
        raise DataError(
            f"skip is set, and {path.name} is not a folder of images or audio",
            where=str(path),
            next_step='remove skip from [data]; rows of tables are left out by missing = "drop"',
        )
    if source.metadata.columns and source.metadata.required and format_ not in DESCRIBED:
        raise DataError(
            f"{path.name} ({format_}) has no column {column_name(source.metadata.columns[0])!r}",
            where=str(path),
            cause="only tables and .npz archives have columns beside the samples",
            next_step="give a table, an .npz, or a folder of images with a CSV of files, labels and columns",
        )
    if source.metadata.ignored and source.metadata.required and format_ not in ("csv", "parquet"):
        raise DataError(
            f"ignore is set, and {path.name} ({format_}) is not a table",
            where=str(path),
            next_step="remove ignore from [data]; arrays of an .npz that are no input are not read",
        )
    contents, calibration = _read(path, format_, source)
    where = str(path)
    if source.labels is not None and format_ not in ("image-csv", *box_sets.FORMATS, *audio_sets.FORMATS):
        if contents.labels is not None:
            raise DataError(
                f"labels are in {path.name} and in {source.labels.name}",
                where=where,
                next_step="remove one of them (labels, label_column, or the array in the archive)",
            )
        contents = _with_labels(contents, source.labels, source.max_bytes)
        if calibration is not None:
            calibration = replace(calibration, labels=None, class_names=())
        where = f"{path}, labels {source.labels}"
    dataset = _dataset(contents, source, where)
    checks.check(dataset, where)
    return dataset if calibration is None else Split(_dataset(calibration, source, where), dataset)


def _with_labels(contents: Contents, path: Path, max_bytes: int) -> Contents:
    """Add the labels of a file of their own; those of samples that were left out are left out too."""
    read = table_values.read_labels(path, max_bytes)
    labels = read.labels
    if contents.rows is not None and labels is not None:
        if len(labels) <= contents.rows.max():
            raise DataError(f"{path.name} has {len(labels)} labels, the data more rows", where=str(path))
        labels = labels[contents.rows]
    return replace(
        contents, labels=labels, class_names=read.class_names, notes=(*contents.notes, *read.notes)
    )


def _dataset(contents: Contents, source: DataSource, where: str) -> Dataset:
    """Return the samples in native dtypes, named as the model's inputs, with missing values settled."""
    inputs = {
        name: _native(array) for name, array in _named(contents.inputs, source.input_names, where).items()
    }
    first = next(iter(inputs.values()))
    ids = contents.rows if contents.rows is not None else np.arange(len(first) if first.ndim else 0)
    labels, class_names = contents.labels, contents.class_names
    if labels is not None and labels.dtype.kind in "US":
        labels, class_names = classes_of_text(labels)
    dataset = Dataset(
        inputs, _as_labels(labels), ids.astype(np.int64), class_names, contents.notes, contents.metadata,
        contents.files, contents.lengths,
    )  # fmt: skip
    return checks.without_missing(dataset, source.missing)


def _native(array: Array) -> Array:
    """Return an array in the byte order of this machine, in C order."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")) if array.ndim else array


def _read(path: Path, format_: str, source: DataSource) -> tuple[Contents, Contents | None]:
    """Read the samples, and those for calibration that lie in a folder beside them."""
    recipe = source.image or ImageRecipe()
    images = image_sets.Reading(recipe, source.skip, source.class_order, source.max_bytes)
    match format_:
        case "npz":
            return _read_npz(path, source)
        case "npy" | "idx":
            read_array = readers.read_npy if format_ == "npy" else readers.read_idx
            read = read_array(path, source.max_bytes)
        case "image-folder":
            return image_sets.read_folder(path, images, calibration_max=source.calibration_max)
        case "image-csv":
            if source.labels is None:
                raise DataError(
                    "image-csv needs a table of files and labels", where=str(path), next_step="set labels"
                )
            read = image_sets.read_list(
                path, source.labels, images, header=source.header, label_columns=source.label_columns,
                metadata=source.metadata,
            )  # fmt: skip
        case _ if format_ in audio_sets.FORMATS:
            read = _read_audio(path, format_, source)
        case _ if format_ in box_sets.FORMATS:
            return box_sets.read(path, source.labels, format_, images, calibration_max=source.calibration_max)
        case _:
            read = table_values.read_table(
                path,
                label_columns=source.label_columns,
                header=source.header,
                missing=source.missing,
                max_bytes=source.max_bytes,
                parquet=format_ == "parquet",
                metadata=source.metadata,
            )
    return read, None


def _read_audio(path: Path, format_: str, source: DataSource) -> Contents:
    if source.audio is None:
        raise DataError(
            f"{path.name} has audio files, and nothing says how they are cut", where=str(path),
            next_step="add [data.audio] with rate_hz and window_samples",
        )  # fmt: skip
    wanted = [column_name(column) for column in source.metadata.columns]
    if others := [name for name in wanted if name != audio_sets.FILE]:
        raise DataError(
            f"audio has no column {others[0]!r}", where=str(path),
            next_step=f'its windows are described by "{audio_sets.FILE}" alone, the file that each is of',
        )  # fmt: skip
    reading = audio_sets.Reading(source.audio, source.skip, bool(wanted), source.max_bytes)
    return audio_sets.read(path, source.labels, format_, reading)


def _read_npz(path: Path, source: DataSource) -> tuple[Contents, Contents | None]:
    names = tuple(map(column_name, source.metadata.columns)) if source.metadata.required else ()
    inputs, max_bytes = source.input_names, source.max_bytes
    parts = None
    if not names:
        most = source.calibration_max
        parts = readers.read_parts(path, names=inputs, calibration_max=most, max_bytes=max_bytes)
    if parts is not None:
        return parts
    return readers.read_npz(path, names=inputs, metadata=names, max_bytes=max_bytes), None


def format_of(path: Path, labels: Path | None) -> str:
    """Return the format of a file or folder by its kind and suffix."""
    if path.is_dir():
        if audio_files.is_audio(path):
            return audio_sets.format_of(labels)
        is_list = labels is not None and labels.is_file() and _is_list(labels)
        return box_sets.format_of(path, labels) or ("image-csv" if is_list else "image-folder")
    suffix = path.suffix.lower()
    if suffix in yolo_yaml.SUFFIXES:
        return "yolo-yaml"
    if suffix in (".npz", ".npy", ".parquet"):
        return suffix[1:]
    unpacked = Path(path.stem).suffix.lower() if suffix == ".gz" else suffix
    if unpacked in tables.TEXT_SUFFIXES:
        return "csv"
    if suffix in image_files.suffixes():
        raise DataError(
            f"{path.name} is a single image", where=str(path), next_step="name the folder of images"
        )
    if suffix in _FOREIGN:
        raise DataError(
            f"{path.name}: {suffix} files are not read", where=str(path), next_step=_FOREIGN[suffix]
        )
    return "idx"  # has no suffix of its own; its reader raises if the file is something else


def _is_list(labels: Path) -> bool:
    """Whether a file of labels has file names too: a CSV, or a text with more than one column."""
    suffix = labels.suffix.lower()
    if suffix not in tables.TEXT_SUFFIXES:
        return suffix == ".parquet"
    return suffix in (".csv", ".tsv") or tables.read(labels).frame.shape[1] > 1


def _call(source: DataSource) -> Dataset | Split:
    where = source.callable
    module, _, function = source.callable.partition(":")
    try:
        loader = getattr(importlib.import_module(module), function)
    except Exception as error:  # a third-party module may raise anything
        raise DataError(
            f"{source.callable!r} cannot be loaded: {error}",
            where=where,
            cause=type(error).__name__,
            next_step="use package.module:function, and install the package in this environment",
        ) from error
    try:
        loaded = loader()
    except HarnessError:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise DataError(
            f"the loader failed: {type(error).__name__}: {error}",
            where=f"{where}, at {last.filename}:{last.lineno}",
            next_step="call the function in Python without arguments",
        ) from error
    parts = (loaded.calibration, loaded.test) if isinstance(loaded, Split) else (loaded,)
    if wrong := [part for part in parts if not isinstance(part, Dataset)]:
        raise DataError(
            f"the loader returned {type(wrong[0]).__name__}",
            where=where,
            next_step="return a harness.data.datasets.Dataset or Split",
        )
    used = set(map(column_name, source.metadata.columns))
    described = (
        replace(part, metadata={name: x for name, x in part.metadata.items() if name in used})
        for part in parts
    )
    complete = [checks.without_missing(part, source.missing) for part in described]
    for part in complete:
        checks.check(part, where)
    return Split(*complete) if isinstance(loaded, Split) else complete[0]


def _named(
    inputs: Mapping[str, npt.NDArray[np.generic]], names: tuple[str, ...], where: str
) -> Mapping[str, npt.NDArray[np.generic]]:
    """Return the arrays by the names of the model's inputs; all arrays if there are no names."""
    if tuple(inputs) == ("",):
        if len(names) > 1:
            raise DataError(
                f"one array for {len(names)} inputs: {', '.join(names)}",
                where=where,
                next_step="save an .npz with an array for each input",
            )
        return {names[0] if names else DEFAULT_INPUT: inputs[""]}
    if not inputs:
        raise DataError(
            "there are no input arrays", where=where, next_step="save an array for each input of the model"
        )
    if missing := [name for name in names if name not in inputs]:
        raise DataError(
            f"there is no array for the input {missing[0]!r}",
            where=where,
            cause=f"the arrays are {', '.join(inputs)}",
            next_step="give the arrays the names of the model's inputs; one without samples is a constant: "
            "init --value NAME=NUMBER, or [input.NAME] value",
        )
    return {name: inputs[name] for name in names or inputs}


def _as_labels(labels: npt.NDArray[np.generic] | None) -> npt.NDArray[np.generic] | None:
    """Convert labels to int64 or float64; other dtypes are left for `_check` to refuse."""
    if labels is None or labels.dtype.kind not in "iubf":
        return labels
    return labels.astype(np.float64 if labels.dtype.kind == "f" else np.int64)
