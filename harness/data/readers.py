"""Read files into arrays, with one function per format.

No code from a file is run: ``allow_pickle=False`` everywhere.
"""

from __future__ import annotations

import csv
import gzip
import math
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from harness.core.commands import install
from harness.core.errors import DataError
from harness.data.images import IMAGE_SUFFIXES, ImageRecipe, read_images

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.generic]

LABEL_KEYS = ("labels", "y")
# Exceptions of NumPy and zlib for damaged files.
_DAMAGE = (ValueError, OSError, EOFError, MemoryError, zlib.error, zipfile.BadZipFile)
_IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of a file. The key "" in ``inputs`` is the input of a format without names."""

    inputs: Mapping[str, Array]
    labels: Array | None = None
    class_names: tuple[str, ...] = ()


def read_npz(path: Path) -> Contents:
    """Read arrays by input name; ``labels`` or ``y`` are the labels."""
    arrays: dict[str, Array] = {}
    with _open(path) as file:
        archive = _load(file, path)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(
                f"{path.name} is one array and not an .npz archive",
                where=str(path),
                next_step="rename the file to .npy",
            )
        for name in archive.files:
            try:
                arrays[name] = archive[name]
                if not isinstance(arrays[name], np.ndarray):  # NumPy returns other members as bytes
                    raise ValueError("not a NumPy array")
            except _DAMAGE as error:
                raise _unreadable(path, error, f"array {name!r} ") from error
    keys = [key for key in LABEL_KEYS if key in arrays]
    if len(keys) == 2:
        raise DataError(
            f"{path.name} contains both 'labels' and 'y'",
            where=str(path),
            next_step="remove one of them, or set labels to another file",
        )
    labels = arrays.pop(keys[0]) if keys else None
    return Contents(arrays, labels)


def read_npy(path: Path) -> Contents:
    """Read the one input from an .npy file."""
    return Contents({"": _load_npy(path)})


def read_idx(path: Path) -> Contents:
    """Read the one input from an idx file (MNIST's format), plain or gzip; grey images become NHWC."""
    array = idx_array(path)
    return Contents({"": array[..., np.newaxis] if array.ndim == 3 and array.dtype == np.uint8 else array})


def read_labels(path: Path) -> Contents:
    """Read labels from a file of their own: .npy, idx, or text with one label per line."""
    if path.suffix == ".npy":
        return Contents({}, _load_npy(path))
    if path.suffix in (".csv", ".tsv", ".txt"):
        table = _read_csv(path, header=False)
        if table.shape[1] != 1:
            raise DataError(
                f"{path.name} has {table.shape[1]} columns; a file of labels has one",
                where=str(path),
                next_step="keep one column",
            )
        labels, names = classes_of(table.iloc[:, 0], str(path))
        return Contents({}, labels, names)
    return Contents({}, idx_array(path))


def idx_array(path: Path) -> Array:
    """Decode an idx file: two zero bytes, type, rank, big-endian sizes, values.

    Returns
    -------
    ndarray, in the byte order of this machine
    """
    with _open(path) as file:
        data = file.read()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"{path.name} cannot be decompressed: {error}",
                where=str(path),
                cause="truncated or damaged download",
                next_step="download the file again",
            ) from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_DTYPES:
        raise DataError(
            f"{path.name} is not an idx file",
            where=str(path),
            cause=f"it starts with {data[:4].hex(' ')}" if data else "it is empty",
            next_step="set format if the file has another one",
        )
    dtype, rank = np.dtype(_IDX_DTYPES[data[2]]), data[3]
    start = 4 + 4 * rank
    if len(data) < start:
        raise DataError(f"{path.name} ends within its header", where=str(path), cause="truncated")
    shape = struct.unpack(f">{rank}I", data[4:start])
    expected = math.prod(shape) * dtype.itemsize
    if len(data) - start != expected:
        raise DataError(
            f"{path.name} has {len(data) - start} bytes of values; its header says {expected} for {shape}",
            where=str(path),
            cause="truncated or damaged download",
            next_step="download the file again",
        )
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def read_image_folder(path: Path, recipe: ImageRecipe) -> Contents:
    """Read a folder of one folder per class; classes are the names of the folders in alphabetical order.

    A folder of images without subfolders has no labels.
    """
    folders = sorted(p for p in _entries(path) if p.is_dir())
    if not folders:
        return Contents({"": read_images(_images_in(path), recipe)})
    files_of = [_images_in(folder, deep=True) for folder in folders]
    labels = np.repeat(np.arange(len(folders)), [len(files) for files in files_of])
    files = [file for files in files_of for file in files]
    return Contents({"": read_images(files, recipe)}, labels, tuple(folder.name for folder in folders))


def read_image_csv(path: Path, table_path: Path, recipe: ImageRecipe, *, header: bool | None) -> Contents:
    """Read the images of a table: the first column has files relative to the folder, the second labels."""
    if header is None:
        # The first line is a header if it does not name a file.
        first = _first_row(table_path)
        header = not (first and (path / first[0]).is_file())
    table = _read_csv(table_path, header=header)
    if table.shape[1] < 2:
        raise DataError(
            f"{table_path.name} has one column; it needs file names and labels",
            where=str(table_path),
            cause="the file may have another separator",
        )
    files = [path / str(name) for name in table.iloc[:, 0]]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(files)} files in {table_path.name} do not exist, the first is "
            f"{missing[0].name!r}",
            where=str(table_path),
            cause=f"file names are relative to {path}",
            next_step="fix the names, or set header = true or false if the first line is misread",
        )
    if not files:
        raise DataError(f"{table_path.name} names no images", where=str(table_path))
    labels, names = classes_of(table.iloc[:, 1], f"{table_path}, column 2")
    return Contents({"": read_images(files, recipe)}, labels, names)


def read_table(path: Path, *, label_column: str | int | None, header: bool | None, parquet: bool) -> Contents:
    """Read a table with at most one label column; the other columns are features.

    Features are int64 if every value is written as a whole number, and float32 otherwise.
    """
    table = (
        _read_parquet(path) if parquet else _read_csv(path, header=_has_header(path, label_column, header))
    )
    if isinstance(label_column, str):
        if label_column not in table.columns:
            raise DataError(
                f"{path.name} has no column {label_column!r}",
                where=str(path),
                cause=f"its columns are {', '.join(map(str, table.columns[:20]))}",
                next_step="set label_column to one of them, or to an index from 0",
            )
        label_column = list(table.columns).index(label_column)
    elif label_column is not None and not -table.shape[1] <= label_column < table.shape[1]:
        raise DataError(
            f"{path.name} has {table.shape[1]} columns, but no column {label_column}",
            where=str(path),
            next_step="label_column counts from 0",
        )
    labels: Array | None = None
    names: tuple[str, ...] = ()
    if label_column is not None:
        name = table.columns[label_column]
        labels, names = classes_of(table.iloc[:, label_column], f"{path}, column {name!r}")
        table = table.drop(columns=name)
    return Contents({"": _features(table, path)}, labels, names)


def classes_of(column: pd.Series[Any], where: str) -> tuple[Array, tuple[str, ...]]:
    """Convert a column to labels: numbers unchanged, text to the index of its sorted distinct values."""
    if column.isna().any():
        row = int(np.flatnonzero(column.isna())[0])
        raise DataError(f"row {row} (from 0) has no label", where=where, next_step="fill or remove the row")
    values = column.to_numpy()
    if values.dtype.kind in "iub":
        return values.astype(np.int64), ()
    if values.dtype.kind == "f":
        return values, ()
    names, indices = np.unique(values.astype(str), return_inverse=True)
    return indices.astype(np.int64), tuple(names.tolist())


def _features(table: pd.DataFrame, path: Path) -> Array:
    if table.empty:
        raise DataError(f"{path.name} has no rows or no feature columns: it is empty", where=str(path))
    for name in table.columns:
        column = table[name]
        if column.dtype.kind not in "iubf":
            raise DataError(
                f"column {name!r} contains {column.iloc[0]!r}, which is not a number",
                where=str(path),
                next_step="set it as label_column, encode it as numbers, or set header = true or false",
            )
        if not np.isfinite(column).all():
            row = int(np.flatnonzero(~np.isfinite(column))[0])
            raise DataError(
                f"row {row} (from 0) of column {name!r} is {column.iloc[row]}",
                where=str(path),
                next_step="fill or remove the row",
            )
    whole = all(table[name].dtype.kind in "iub" for name in table.columns)
    return table.to_numpy(dtype=np.int64 if whole else np.float32)


def _has_header(path: Path, label_column: str | int | None, header: bool | None) -> bool:
    """Whether the first line has the column names: true if one of its features is not a number."""
    if header is not None or isinstance(label_column, str):
        return header is not False
    first = _first_row(path)
    if label_column is not None and -len(first) <= label_column < len(first):
        del first[label_column]
    return not all(_is_number(cell) for cell in first)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _first_row(path: Path) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            return next(csv.reader(lines, delimiter=_separator(path)), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, error) from error


def _separator(path: Path) -> str:
    return "\t" if path.suffix == ".tsv" else ","


def _read_csv(path: Path, *, header: bool) -> pd.DataFrame:
    import pandas as pd

    try:
        with warnings.catch_warnings():
            # Pandas drops the surplus cells of rows that are longer than the header, with a warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                path,
                header=0 if header else None,
                sep=_separator(path),
                index_col=False,
                encoding="utf-8-sig",
                keep_default_na=False,  # a class may be called NA
                na_values=[""],
            )
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path.name} is empty", where=str(path)) from error
    except (OSError, ValueError, pd.errors.ParserWarning) as error:
        raise _unreadable(path, error) from error


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except ImportError as error:
        raise DataError(
            f"{path.name} needs pyarrow, which is not installed",
            where=str(path),
            next_step=install("host"),
        ) from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _load_npy(path: Path) -> Array:
    with _open(path) as file:
        array = _load(file, path)
    if not isinstance(array, np.ndarray):
        raise DataError(
            f"{path.name} is an archive and not one array",
            where=str(path),
            next_step="rename the file to .npz",
        )
    return array


def _load(file: BinaryIO, path: Path) -> Array | np.lib.npyio.NpzFile:
    # An open file: NumPy does not close a file that it opened itself if an archive is damaged.
    try:
        loaded: Array | np.lib.npyio.NpzFile = np.load(file, allow_pickle=False)
    except _DAMAGE as error:
        raise _unreadable(path, error) from error
    return loaded


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception, what: str = "") -> DataError:
    if "pickle" in str(error):
        return DataError(
            f"{path.name}: {what}contains pickled Python objects, which could run code and are not loaded",
            where=str(path),
            cause="an array of dtype object, or not a NumPy file",
            next_step="save plain numeric arrays: np.savez(path, image=images_uint8, labels=labels)",
        )
    return DataError(
        f"{path.name}: {what}cannot be read: {error}",
        where=str(path),
        cause="permission denied"
        if isinstance(error, PermissionError)
        else "the file is damaged, truncated or has another format",
    )


def _entries(path: Path) -> list[Path]:
    try:
        return sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise _unreadable(path, error) from error


def _images_in(folder: Path, *, deep: bool = False) -> Sequence[Path]:
    entries = folder.rglob("*") if deep else folder.iterdir()
    files = sorted(file for file in entries if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    if not files:
        raise DataError(
            f"{folder.name} contains no images",
            where=str(folder),
            next_step=f"use files with one of the suffixes {' '.join(sorted(IMAGE_SUFFIXES))}",
        )
    return files
