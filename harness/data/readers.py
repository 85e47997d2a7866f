"""Read files of arrays, with one function per format.

No code from a file is run: ``allow_pickle=False`` everywhere. The size of an array is taken from its header
and checked before the array is read.
"""

from __future__ import annotations

import gzip
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from harness.core.errors import DataError
from harness.data import files as data_files
from harness.data import ragged
from harness.data.labels import classes_of_text

Array = npt.NDArray[np.generic]

#: Arrays of an archive that are labels, unless the model has an input of that name.
LABEL_KEYS = ("labels", "label", "y", "targets", "target")
#: Names of samples in an archive that has its parts by name.
_SAMPLES = ("x", "image", "images", "data", "features", "inputs")
# Exceptions of NumPy, zipfile and zlib for damaged, encrypted and malicious files.
_DAMAGE = (
    ValueError, OSError, EOFError, MemoryError, RuntimeError, SyntaxError, TypeError, OverflowError,
    struct.error, tokenize.TokenError, zlib.error, zipfile.BadZipFile,
)  # fmt: skip
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of a file.

    Parameters
    ----------
    inputs : mapping of name to ndarray
        The key "" is the input of a format without names.
    labels : ndarray, optional
    class_names : tuple of str
    notes : tuple of str
        What was left out or converted.
    rows : ndarray, shape (n,), int64, optional
        Position of each sample in the file, if some were left out.
    metadata : mapping of str to ndarray, shape (n,)
        Columns that describe the samples and are not fed to the model.
    files : tuple of Path
        Image file of each sample; empty where the samples are no image files.
    lengths : ndarray, shape (n,), int64, optional
        Tokens of each sample, where samples are documents: behind them its arrays are padded.
    """

    inputs: Mapping[str, Array]
    labels: Array | None = None
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    rows: npt.NDArray[np.int64] | None = None
    metadata: Mapping[str, Array] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    lengths: ragged.Lengths | None = None


def read_npz(
    path: Path,
    *,
    names: Collection[str] = (),
    metadata: Collection[str] = (),
    max_bytes: int = data_files.MAX_BYTES,
) -> Contents:
    """Read arrays by input name; ``labels`` or a similar name are the labels.

    With an array ``lengths`` that is no input, samples are documents (see `harness.data.ragged`).

    Parameters
    ----------
    names : collection of str
        The model's inputs: other arrays are not read. Empty: all arrays are inputs. A single array of another
        name is that of a single input.
    metadata : collection of str
        Arrays that describe the samples, and are no inputs.
    """
    with _open(path, max_bytes) as file:
        archive = _load(file, path)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(
                f"{path.name} is one array and not an .npz archive",
                where=str(path),
                next_step="rename the file to .npy",
            )
        available = [n for n in archive.files if not any(map(data_files.is_tool_file, n.split("/")))]
        columns = _columns(metadata, available, names, path)
        keys = [key for key in LABEL_KEYS if key in available and key not in names and key not in columns]
        if len(keys) > 1:
            raise DataError(
                f"{path.name} contains both {keys[0]!r} and {keys[1]!r}",
                where=str(path),
                next_step="remove one of them, or set labels to another file",
            )
        sizes = [ragged.LENGTHS] if ragged.LENGTHS in available and ragged.LENGTHS not in names else []
        others = [name for name in available if name not in (*keys, *columns, *sizes)]
        made = ragged.MADE.difference(others) if sizes else frozenset[str]()
        is_only = len(set(names) - made) == len(others) == 1
        if not is_only:
            _check_names([name for name in names if name not in made], others, path)
        inputs = [name for name in others if not names or name in names or is_only]
        members = [*inputs, *keys, *columns, *sizes]
        _check_sizes(archive, path, members, max_bytes)
        arrays = {name: _member(archive, path, name) for name in members}
    described = {name: arrays.pop(name) for name in columns}
    unused = [name for name in others if name not in inputs]
    notes = () if not unused else (f"arrays of {path.name} that are not used: {', '.join(unused[:8])}",)
    if is_only and inputs[0] not in names:
        (name,) = set(names) - made
        notes = (f"the array {inputs[0]!r} of {path.name} is taken for the only input, {name!r}",)
        arrays[name] = arrays.pop(inputs[0])
    labels, lengths = arrays.pop(keys[0]) if keys else None, None
    if sizes:
        of_each = arrays.pop(sizes[0])
        arrays, lengths = ragged.documents(arrays, of_each, names, str(path))
        if labels is not None and labels.shape != lengths.shape:  # a label for each token
            labels = ragged.documents({"labels": labels}, of_each, (), str(path))[0]["labels"]
    return Contents(arrays, labels, notes=notes, metadata=described, lengths=lengths)


def read_parts(
    path: Path, *, names: Collection[str] = (), calibration_max: int, max_bytes: int = data_files.MAX_BYTES
) -> tuple[Contents, Contents | None] | None:
    """Read an archive with the parts of a training: ``x_train``, ``y_train``, ``x_test``, ``y_test``.

    Returns
    -------
    test, calibration : Contents
        At most `calibration_max` samples of the part ``train``, from its beginning; None without this part.
    None
        The archive has no such arrays, or the model has several inputs, or one of such a name.
    """
    with _open(path, max_bytes) as file:
        archive = _load(file, path)
        parts = _parts(archive.files) if isinstance(archive, np.lib.npyio.NpzFile) else {}
        if not isinstance(archive, np.lib.npyio.NpzFile) or "test" not in parts or len(names) > 1:
            return None
        if set(names) & set(archive.files):
            return None
        used = [name for part in ("test", "train") for name in parts.get(part, {}).values()]
        _check_sizes(archive, path, used, max_bytes)
        arrays = {name: _member(archive, path, name) for name in used}
        unused = [name for name in archive.files if name not in used]
    test = {kind: arrays[name] for kind, name in parts["test"].items()}
    train = {kind: arrays[name][:calibration_max] for kind, name in parts.get("train", {}).items()}
    notes = [f"{path.name}: {' and '.join(parts['test'].values())} are the test samples"]
    if train and calibration_max:
        notes[0] += f", the first {len(train['x']):,} of {parts['train']['x']} calibrate"
    if unused:
        notes.append(f"arrays of {path.name} that are not used: {', '.join(unused[:8])}")
    class_names: tuple[str, ...] = ()
    if "y" in test and test["y"].dtype.kind in "US":  # numbered together, for the parts may lack classes
        texts = [part["y"] for part in (test, train) if "y" in part]
        indices, class_names = classes_of_text(np.concatenate([text.reshape(-1) for text in texts]))
        test["y"] = indices[: len(test["y"])]
        if "y" in train:
            train["y"] = indices[len(test["y"]) :]
    contents = Contents({"": test["x"]}, test.get("y"), class_names, tuple(notes))
    return contents, Contents(
        {"": train["x"]}, train.get("y"), class_names
    ) if train and calibration_max else None


def _parts(names: Collection[str]) -> dict[str, dict[str, str]]:
    """Return the names of samples (x) and labels (y) by part; only parts with samples."""
    parts: dict[str, dict[str, str]] = {}
    for name in names:
        words = name.lower().split("_")
        part = next((word for word in words if word in ("train", "test")), "")
        rest = "_".join(word for word in words if word != part)
        kind = "x" if rest in _SAMPLES else "y" if rest in LABEL_KEYS else ""
        if part and kind:
            parts.setdefault(part, {}).setdefault(kind, name)
    return {part: arrays for part, arrays in parts.items() if "x" in arrays}


def _columns(
    metadata: Collection[str], available: list[str], names: Collection[str], path: Path
) -> list[str]:
    """Return the arrays that describe the samples, which exist and are no inputs."""
    for name in metadata:
        if name in names:
            raise DataError(
                f"{name!r} is an input of the model, and a column of [data] is not fed to it",
                where=str(path),
                next_step="save a copy under another name, and name that",
            )
        if name not in available:
            raise DataError(
                f"{path.name} has no array {name!r}",
                where=str(path),
                cause=f"its arrays are {', '.join(available[:20])}",
                next_step="save one value for each sample under that name",
            )
    return list(metadata)


def _check_names(names: Collection[str], available: list[str], path: Path) -> None:
    missing = [name for name in names if name not in available]
    if missing and available:
        raise DataError(
            f"there is no array for the input {missing[0]!r}",
            where=str(path),
            cause=f"the arrays are {', '.join(available)}",
            next_step="give the arrays the names of the model's inputs; one without samples is a constant: "
            "init --value NAME=NUMBER, or [input.NAME] value",
        )


def _check_sizes(archive: np.lib.npyio.NpzFile, path: Path, names: list[str], max_bytes: int) -> None:
    """Refuse an archive by the headers of its arrays: compressed, a small file can hold any size."""
    stored = cast("zipfile.ZipFile", archive.zip)
    total = 0
    for name in names:
        if f"{name}.npy" not in stored.namelist():
            continue  # not an array: reading it says so
        try:
            with stored.open(f"{name}.npy") as member:
                total += _array_byte(cast("BinaryIO", member), path, name)
        except _DAMAGE as error:
            raise _unreadable(path, error, f"array {name!r} ") from error
    data_files.check_bytes(path, total, max_bytes, "what the archive holds")


def _member(archive: np.lib.npyio.NpzFile, path: Path, name: str) -> Array:
    try:
        array = archive[name]
        if not isinstance(array, np.ndarray):  # NumPy returns other members as bytes
            raise ValueError("not a NumPy array")
    except _DAMAGE as error:
        raise _unreadable(path, error, f"array {name!r} ") from error
    return array


def _array_byte(file: BinaryIO, path: Path, name: str = "") -> int:
    """Return the bytes of an array from its header, which is read from the file."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"version {version} of the .npy format, which only structured arrays need")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise _pickled(path, f"array {name!r} " if name else "")
    return math.prod(shape) * dtype.itemsize


def read_npy(path: Path, max_bytes: int = data_files.MAX_BYTES) -> Contents:
    """Read the one input from an .npy file."""
    return Contents({"": load_npy(path, max_bytes)})


def load_npy(path: Path, max_bytes: int = data_files.MAX_BYTES) -> Array:
    """Read the array of an .npy file."""
    with _open(path, max_bytes) as file:
        if file.read(4) == b"PK\3\4":
            raise DataError(
                f"{path.name} is an archive and not one array",
                where=str(path),
                next_step="rename the file to .npz",
            )
        file.seek(0)
        try:
            data_files.check_bytes(path, _array_byte(file, path), max_bytes, "the array")
        except _DAMAGE as error:
            raise _unreadable(path, error) from error
        file.seek(0)
        return cast("Array", _load(file, path))


def read_idx(path: Path, max_bytes: int = data_files.MAX_BYTES) -> Contents:
    """Read the one input from an idx file (MNIST's format), plain or gzip; grey images become NHWC."""
    array = idx_array(path, max_bytes)
    return Contents({"": array[..., np.newaxis] if array.ndim == 3 and array.dtype == np.uint8 else array})


def idx_array(path: Path, max_bytes: int = data_files.MAX_BYTES) -> Array:
    """Decode an idx file: two zero bytes, type, rank, big-endian sizes, values.

    Returns
    -------
    ndarray, in the byte order of this machine
    """
    with _open(path, max_bytes) as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not compressed:
            return _idx_values(file, path, max_bytes)
        try:
            with gzip.open(file) as stream:
                return _idx_values(cast("BinaryIO", stream), path, max_bytes)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"{path.name} cannot be decompressed: {error}",
                where=str(path),
                cause="truncated or damaged download",
                next_step="download the file again",
            ) from error


def _idx_values(file: BinaryIO, path: Path, max_bytes: int) -> Array:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _IDX_DTYPES:
        raise DataError(
            f"{path.name} is not an idx file",
            where=str(path),
            cause=f"it starts with {head.hex(' ')}" if head else "it is empty",
            next_step="set format if the file has another one",
        )
    dtype, rank = np.dtype(_IDX_DTYPES[head[2]]), head[3]
    sizes = file.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise DataError(f"{path.name} ends within its header", where=str(path), cause="truncated")
    shape = struct.unpack(f">{rank}I", sizes)
    expected = math.prod(shape) * dtype.itemsize
    data_files.check_bytes(path, expected, max_bytes, "the array")
    data = file.read(expected + 1)
    if len(data) != expected:
        held = (
            f"{len(data)} bytes of values"
            if len(data) < expected
            else f"more than {expected} bytes of values"
        )
        raise DataError(
            f"{path.name} has {held}; its header says {expected} for {shape}",
            where=str(path),
            cause="truncated or damaged download",
            next_step="download the file again",
        )
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _load(file: BinaryIO, path: Path) -> Array | np.lib.npyio.NpzFile:
    # An open file: NumPy does not close a file that it opened itself if an archive is damaged.
    try:
        loaded: Array | np.lib.npyio.NpzFile = np.load(file, allow_pickle=False)
    except _DAMAGE as error:
        raise _unreadable(path, error) from error
    return loaded


def _open(path: Path, max_bytes: int) -> BinaryIO:
    data_files.check_file(path, max_bytes)
    try:
        return path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception, what: str = "") -> DataError:
    if "pickle" in str(error):
        return _pickled(path, what)
    return DataError(
        f"{path.name}: {what}cannot be read: {error}",
        where=str(path),
        cause="permission denied"
        if isinstance(error, PermissionError)
        else "the file is damaged, truncated or has another format",
    )


def _pickled(path: Path, what: str) -> DataError:
    return DataError(
        f"{path.name}: {what}contains pickled Python objects, which could run code and are not loaded",
        where=str(path),
        cause="an array of dtype object, or not a NumPy file",
        next_step="save plain numeric arrays: np.savez(path, image=images_uint8, labels=labels)",
    )
