"""Data sets: samples, their sources, and the split into calibration and test samples.

Samples are chosen by hash and not by a random generator, so that the choice is the same on every machine,
with every NumPy version, and for every order of the samples.
"""

from __future__ import annotations

import hashlib
import importlib
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.core.errors import DataError, HarnessError
from harness.data import readers
from harness.data.images import IMAGE_SUFFIXES, ImageRecipe

FORMATS = ("auto", "npz", "npy", "idx", "image-folder", "image-csv", "csv", "parquet", "callable")
DEFAULT_INPUT = "input"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Samples in their raw dtype, before any normalisation.

    Parameters
    ----------
    inputs : Mapping[str, ndarray]
        Input name → array, shape (n, ...); images are uint8 NHWC.
    labels : ndarray or None, shape (n,) or (n, k)
        int64 class indices or float64 values; None without labels.
    ids : ndarray, shape (n,), int64
        A fixed number of each sample, from which its random seeds are derived.
    class_names : tuple of str
        Names of the classes by index; empty if unknown.
    """

    inputs: Mapping[str, npt.NDArray[np.generic]]
    labels: npt.NDArray[np.generic] | None
    ids: npt.NDArray[np.int64]
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, positions: npt.NDArray[np.int64]) -> Dataset:
        """Return the samples at ``positions``, in that order, with their ids."""
        return Dataset(
            inputs={name: array[positions] for name, array in self.inputs.items()},
            labels=None if self.labels is None else self.labels[positions],
            ids=self.ids[positions],
            class_names=self.class_names,
        )


@dataclass(frozen=True, slots=True)
class Split:
    """Calibration samples and test samples; no sample is in both."""

    calibration: Dataset
    test: Dataset


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
    label_column : str or int or None
        The label column of a table, by name or index; None if the table has no labels.
    header : bool or None
        Whether the first line of a table has the column names; None: decide by its content.
    input_names : tuple of str
        The model's inputs; the input of a format without names gets the one name.
    image : ImageRecipe or None
        How image files are resized; None: not at all.
    """

    path: Path | None = None
    labels: Path | None = None
    format: str = "auto"
    callable: str = ""
    label_column: str | int | None = None
    header: bool | None = None
    input_names: tuple[str, ...] = ()
    image: ImageRecipe | None = None


def load(source: DataSource) -> Dataset:
    """Read and check a data set; if a callable returns a Split, its test part."""
    loaded = load_either(source)
    return loaded.test if isinstance(loaded, Split) else loaded


def load_split(source: DataSource, *, calibration_max: int = 200, calibration_share: float = 0.2) -> Split:
    """Read and check a data set, and split it by hash unless its callable returns a Split."""
    loaded = load_either(source)
    if isinstance(loaded, Split):
        return loaded
    return split_by_hash(loaded, calibration_max=calibration_max, calibration_share=calibration_share)


def check_labels(dataset: Dataset, n_classes: int, *, where: str) -> None:
    """Refuse labels that are not classes of a model with ``n_classes`` outputs."""
    if dataset.labels is None:
        return
    labels = np.asarray(dataset.labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(
            f"labels of a classification must be whole numbers, one per sample; these are {labels.dtype} of "
            f"shape {labels.shape}",
            where=where,
            next_step='use class indices from 0, or set task = "regression"',
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if len(wrong):
        position = int(wrong[0])
        cause = f"the model has {n_classes} outputs"
        if labels.min() == 1:
            cause += "; classes counted from 1?"
        raise DataError(
            f"{len(wrong)} of {len(labels)} labels are outside 0..{n_classes - 1}: sample {position} "
            f"(from 0) has {labels[position]}",
            where=where,
            cause=cause,
            next_step="use class indices from 0, or set another label_column",
        )


def split_by_hash(dataset: Dataset, *, calibration_max: int = 200, calibration_share: float = 0.2) -> Split:
    """Split by the blake2b hash of each sample's bytes.

    The samples with the smallest hashes are calibration samples. The order of the samples does not matter,
    and equal samples are on the same side, so that no test sample is used for calibration.

    Parameters
    ----------
    calibration_max : int
        Maximum number of calibration samples.
    calibration_share : float
        Maximum share of calibration samples, in (0, 1).
    """
    positions_of: dict[bytes, list[int]] = {}
    for position, digest in enumerate(_sample_digests(dataset)):
        positions_of.setdefault(digest, []).append(position)
    budget = max(1, min(calibration_max, int(len(dataset) * calibration_share)))
    chosen: list[int] = []
    for digest in sorted(positions_of)[: len(positions_of) - 1]:
        if len(chosen) + len(positions_of[digest]) <= budget:
            chosen += positions_of[digest]
    if not chosen:
        raise DataError(
            f"{len(dataset)} samples cannot be split into calibration and test",
            cause=f"only {len(positions_of)} of them are different",
            next_step="use more samples, or a separate calibration set",
        )
    is_calibration = np.zeros(len(dataset), dtype=bool)
    is_calibration[chosen] = True
    return Split(dataset.take(np.flatnonzero(is_calibration)), dataset.take(np.flatnonzero(~is_calibration)))


def stratified_order(
    labels: npt.NDArray[np.generic] | None, ids: npt.NDArray[np.int64], *, seed: int
) -> npt.NDArray[np.int64]:
    """Order samples so that every prefix has nearly the class proportions of the whole set.

    Within a class, samples are ordered by a hash of (seed, id); the j-th of m samples of a class has the
    position (j + ½)/m. Without labels, or with labels that are not classes (floating point, or several per
    sample), the order is that of the hash. The sequence of ids does not depend on the given order.

    Returns
    -------
    ndarray, shape (n,), int64
        A permutation of positions: ``ids[order]`` is the sequence of ids.
    """
    digests = [
        hashlib.blake2b(f"{seed}/{sample}".encode(), digest_size=16).digest() for sample in ids.tolist()
    ]
    hash_order = sorted(range(len(ids)), key=digests.__getitem__)
    if labels is None or labels.ndim != 1 or labels.dtype.kind not in "iub":
        return np.asarray(hash_order, dtype=np.int64)
    size = dict(zip(*(a.tolist() for a in np.unique(labels, return_counts=True)), strict=True))
    seen = dict.fromkeys(size, 0)
    place = np.empty(len(ids), dtype=np.float64)
    for position in hash_order:
        label = labels[position].item()
        place[position] = (seen[label] + 0.5) / size[label]
        seen[label] += 1
    # A stable sort: classes of equal size, which tie at each step, follow the hash.
    return np.asarray(sorted(hash_order, key=place.__getitem__), dtype=np.int64)


def content_sha256(array: npt.NDArray[np.generic]) -> str:
    """Hash an array's dtype, shape and bytes, independent of the machine's byte order.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{little.dtype.str}{array.shape}".encode())
    digest.update(little.tobytes())
    return digest.hexdigest()


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
    format_ = _format_of(path, source.labels) if source.format == "auto" else source.format
    contents = _read(path, format_, source)
    where, labels, names = str(path), contents.labels, contents.class_names
    if source.labels is not None and format_ != "image-csv":
        if labels is not None:
            raise DataError(
                f"labels are in {path.name} and in {source.labels.name}",
                where=where,
                next_step="remove one of them (labels, label_column, or the array in the archive)",
            )
        where = f"{path}, labels {source.labels}"
        label_contents = readers.read_labels(source.labels)
        labels, names = label_contents.labels, label_contents.class_names
    inputs = _named(contents.inputs, source.input_names, where)
    n = len(next(iter(inputs.values()))) if next(iter(inputs.values())).ndim else 0
    dataset = Dataset(inputs, _as_labels(labels), np.arange(n, dtype=np.int64), names)
    _check(dataset, where)
    return dataset


def _read(path: Path, format_: str, source: DataSource) -> readers.Contents:
    image = source.image or ImageRecipe()
    match format_:
        case "npz":
            return readers.read_npz(path)
        case "npy":
            return readers.read_npy(path)
        case "idx":
            return readers.read_idx(path)
        case "image-folder":
            return readers.read_image_folder(path, image)
        case "image-csv":
            if source.labels is None:
                raise DataError(
                    "image-csv needs a table of files and labels", where=str(path), next_step="set labels"
                )
            return readers.read_image_csv(path, source.labels, image, header=source.header)
        case _:
            return readers.read_table(
                path, label_column=source.label_column, header=source.header, parquet=format_ == "parquet"
            )


def _format_of(path: Path, labels: Path | None) -> str:
    if path.is_dir():
        return "image-csv" if labels is not None and labels.suffix in (".csv", ".tsv") else "image-folder"
    by_suffix = {".npz": "npz", ".npy": "npy", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}
    if path.suffix in by_suffix:
        return by_suffix[path.suffix]
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise DataError(
            f"{path.name} is a single image", where=str(path), next_step="name the folder of images"
        )
    return "idx"  # has no suffix of its own; its reader raises if the file is something else


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
    for part in parts:
        if not isinstance(part, Dataset):
            raise DataError(
                f"the loader returned {type(part).__name__}",
                where=where,
                next_step="return a harness.data.datasets.Dataset or Split",
            )
        _check(part, where)
    return loaded  # type: ignore[no-any-return]  # checked part by part above


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
            next_step="give the arrays the names of the model's inputs",
        )
    return {name: inputs[name] for name in names or inputs}


def _as_labels(labels: npt.NDArray[np.generic] | None) -> npt.NDArray[np.generic] | None:
    """Convert labels to int64 or float64; other dtypes are left for `_check` to refuse."""
    if labels is None or labels.dtype.kind not in "iubf":
        return labels
    return labels.astype(np.float64 if labels.dtype.kind == "f" else np.int64)


def _check(dataset: Dataset, where: str) -> None:
    """Refuse a set that is empty, has different lengths, or values that are not finite numbers."""
    n = len(dataset.ids)
    arrays = {f"input {name!r}": array for name, array in dataset.inputs.items()}
    if dataset.labels is not None:
        arrays["labels"] = dataset.labels
    for name, array in arrays.items():
        if array.ndim == 0 or array.dtype.kind not in "iubf":
            raise DataError(
                f"{name} has dtype {array.dtype} and shape {array.shape}; it must be numeric, with samples on"
                " the first axis",
                where=where,
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            position = int(np.argwhere(~np.isfinite(array))[0][0])
            raise DataError(f"{name} of sample {position} (from 0) is not finite", where=where)
    lengths = {name: len(array) for name, array in arrays.items()}
    if n == 0 or not dataset.inputs:
        raise DataError("the data set is empty", where=where)
    if set(lengths.values()) != {n}:
        raise DataError(
            f"{', '.join(f'{name} has {length}' for name, length in lengths.items())} samples; {n} ids",
            where=where,
            cause="inputs and labels belong to different sets, or an array has no sample axis",
        )
    if len(np.unique(dataset.ids)) != n:
        raise DataError("the ids of the samples are not unique", where=where)
    if dataset.class_names and dataset.labels is not None:
        check_labels(dataset, len(dataset.class_names), where=where)


def _sample_digests(dataset: Dataset) -> list[bytes]:
    """Return a hash of each sample's bytes over all inputs in the order of their names."""
    arrays = [np.ascontiguousarray(dataset.inputs[name]) for name in sorted(dataset.inputs)]
    digests = []
    for position in range(len(dataset)):
        digest = hashlib.blake2b(digest_size=16)
        for array in arrays:
            digest.update(array[position].tobytes())
        digests.append(digest.digest())
    return digests
