"""Data sets: what a sample is, where it comes from, and which samples calibrate and which test.

Everything that is chosen here is chosen by hash, never by a random generator's stream, so that a choice
stays the same on every machine, for every NumPy, and in whatever order the samples come.
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
        int64 class indices or float64 values; None where there are none.
    ids : ndarray, shape (n,), int64
        A stable number of each sample, from which its random seeds derive.
    class_names : tuple of str
        The names of the classes by index; empty where they are unknown.
    """

    inputs: Mapping[str, npt.NDArray[np.generic]]
    labels: npt.NDArray[np.generic] | None
    ids: npt.NDArray[np.int64]
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, positions: npt.NDArray[np.int64]) -> Dataset:
        """Give the samples at ``positions``, in that order; each keeps its id."""
        return Dataset(
            inputs={name: array[positions] for name, array in self.inputs.items()},
            labels=None if self.labels is None else self.labels[positions],
            ids=self.ids[positions],
            class_names=self.class_names,
        )


@dataclass(frozen=True, slots=True)
class Split:
    """What calibrates a compression, and what tests it; no sample is in both."""

    calibration: Dataset
    test: Dataset


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where samples come from.

    Parameters
    ----------
    path : Path or None
        A file, or the folder of images.
    labels : Path or None
        Labels of their own: .npy, idx or one-column text; for ``image-csv`` the table of files and labels.
    format : str
        One of ``FORMATS``; ``auto`` tells by folder, suffix and first bytes.
    callable : str
        ``package.module:function``: takes nothing, gives a Dataset or a Split.
    label_column : str or int or None
        The label's column of a table, by name or index; None where the table has no label.
    header : bool or None
        Whether a table's first line names its columns; None looks.
    input_names : tuple of str
        The model's inputs; a format that holds one unnamed input takes the one name given here.
    image : ImageRecipe or None
        How image files are resized; None keeps them as they are.
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
    """Read and check a data set; of a callable that gives a Split, the test part."""
    loaded = load_either(source)
    return loaded.test if isinstance(loaded, Split) else loaded


def load_split(source: DataSource, *, calibration_max: int = 200, calibration_share: float = 0.2) -> Split:
    """Read and check a data set, and split it by hash unless its callable has split it already."""
    loaded = load_either(source)
    if isinstance(loaded, Split):
        return loaded
    return split_by_hash(loaded, calibration_max=calibration_max, calibration_share=calibration_share)


def check_labels(dataset: Dataset, n_classes: int, *, where: str) -> None:
    """Refuse labels that are no class of a model with ``n_classes`` outputs."""
    if dataset.labels is None:
        return
    labels = np.asarray(dataset.labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(
            f"labels of a classification are whole numbers, one a sample, and these are {labels.dtype} of "
            f"shape {labels.shape}",
            where=where,
            next_step='give class indices from 0, or set task = "regression"',
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if len(wrong):
        position = int(wrong[0])
        raise DataError(
            f"{len(wrong)} of {len(labels)} labels are outside 0..{n_classes - 1}: sample {position} "
            f"(from 0) has {labels[position]}",
            where=where,
            cause=f"the model has {n_classes} outputs"
            + "; classes counted from 1?" * bool(labels.min() == 1),
            next_step="give class indices from 0, or choose another label_column",
        )


def split_by_hash(dataset: Dataset, *, calibration_max: int = 200, calibration_share: float = 0.2) -> Split:
    """Split by the blake2b of each sample's bytes.

    The samples with the smallest hashes calibrate. The order of the samples does not matter, and equal
    samples fall on the same side, so that no test sample was seen in calibration.

    Parameters
    ----------
    calibration_max : int
        Most samples that calibrate.
    calibration_share : float
        Largest share of all samples that calibrate, in (0, 1).
    """
    positions_of: dict[bytes, list[int]] = {}
    for position, digest in enumerate(_sample_digests(dataset)):
        positions_of.setdefault(digest, []).append(position)
    budget = max(1, min(calibration_max, int(len(dataset) * calibration_share)))
    chosen: list[int] = []
    for digest in sorted(positions_of)[: len(positions_of) - 1]:  # at least one distinct sample tests
        if len(chosen) + len(positions_of[digest]) <= budget:
            chosen += positions_of[digest]
    if not chosen:
        raise DataError(
            f"{len(dataset)} samples cannot be split into calibration and test",
            cause=f"only {len(positions_of)} of them differ",
            next_step="give more samples, or a calibration set of its own",
        )
    calibrates = np.zeros(len(dataset), dtype=bool)
    calibrates[chosen] = True
    return Split(dataset.take(np.flatnonzero(calibrates)), dataset.take(np.flatnonzero(~calibrates)))


def stratified_order(
    labels: npt.NDArray[np.generic] | None, ids: npt.NDArray[np.int64], *, seed: int
) -> npt.NDArray[np.int64]:
    """Order samples so that every prefix holds the classes in nearly the proportions of the whole.

    Within a class the order is that of a hash of (seed, id); the j-th of a class of m samples stands at
    (j + ½)/m of the whole. Without labels, or with labels that are no classes (floating point, or several
    a sample), it is the order of the hash alone. The sequence of ids does not depend on the order given.

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
    # Stable, so that classes of equal size, which tie at each step, follow the hash.
    return np.asarray(sorted(hash_order, key=place.__getitem__), dtype=np.int64)


def content_sha256(array: npt.NDArray[np.generic]) -> str:
    """Hash an array's dtype, shape and bytes; the same on machines of either byte order.

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
    """Read and check a data set; a callable may give it split already."""
    if source.format not in FORMATS:
        raise DataError(
            f"unknown data format {source.format!r}", next_step=f"use one of {', '.join(FORMATS)}"
        )
    if source.callable:
        return _call(source)
    path = source.path
    if path is None:
        raise DataError("no data: neither a path nor a callable is given", next_step="set path or callable")
    for file in (path, source.labels):
        if file is not None and not file.exists():
            raise DataError(f"{file.name} does not exist", where=str(file), next_step="check the path")
    format_ = _format_of(path, source.labels) if source.format == "auto" else source.format
    contents = _read(path, format_, source)
    where, labels, names = str(path), contents.labels, contents.class_names
    if source.labels is not None and format_ != "image-csv":
        if labels is not None:
            raise DataError(
                f"labels twice: in {path.name} and in {source.labels.name}",
                where=where,
                next_step="take one of them away (labels, label_column, or the array in the archive)",
            )
        where = f"{path}, labels {source.labels}"
        own = readers.read_labels(source.labels)
        labels, names = own.labels, own.class_names
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
                    "a folder of images with a table needs the table", where=str(path), next_step="set labels"
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
        raise DataError(f"{path.name} is one image", where=str(path), next_step="name the folder of images")
    return "idx"  # has no suffix of its own; its reader says so where it is not


def _call(source: DataSource) -> Dataset | Split:
    where = source.callable
    module, _, function = source.callable.partition(":")
    try:
        loader = getattr(importlib.import_module(module), function)
    except Exception as error:  # a stranger's module may raise anything
        raise DataError(
            f"no callable {source.callable!r}: {error}",
            where=where,
            cause=type(error).__name__,
            next_step="write package.module:function, and install the package where harness runs",
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
            next_step="call it from Python without arguments, as the harness does",
        ) from error
    parts = (loaded.calibration, loaded.test) if isinstance(loaded, Split) else (loaded,)
    for part in parts:
        if not isinstance(part, Dataset):
            raise DataError(
                f"the loader gave {type(part).__name__}",
                where=where,
                next_step="return a harness.data.datasets.Dataset or Split",
            )
        _check(part, where)
    return loaded  # type: ignore[no-any-return]  # checked part by part above


def _named(
    inputs: Mapping[str, npt.NDArray[np.generic]], names: tuple[str, ...], where: str
) -> Mapping[str, npt.NDArray[np.generic]]:
    """Give the arrays under the names of the model's inputs, which are all of them if any are given."""
    if tuple(inputs) == ("",):
        if len(names) > 1:
            raise DataError(
                f"one array for {len(names)} inputs: {', '.join(names)}",
                where=where,
                next_step="save an .npz with an array for each input",
            )
        return {names[0] if names else DEFAULT_INPUT: inputs[""]}
    if not inputs:
        raise DataError("no input arrays", where=where, next_step="save an array for each input of the model")
    if missing := [name for name in names if name not in inputs]:
        raise DataError(
            f"no array for input {missing[0]!r}",
            where=where,
            cause=f"the arrays are {', '.join(inputs)}",
            next_step="name the arrays as the model names its inputs",
        )
    return {name: inputs[name] for name in names or inputs}


def _as_labels(labels: npt.NDArray[np.generic] | None) -> npt.NDArray[np.generic] | None:
    """Give labels as int64 or float64; what is neither stays, for `_check` to name it."""
    if labels is None or labels.dtype.kind not in "iubf":
        return labels
    return labels.astype(np.float64 if labels.dtype.kind == "f" else np.int64)


def _check(dataset: Dataset, where: str) -> None:
    """Refuse a set that is empty, of unequal lengths, or not made of finite numbers."""
    n = len(dataset.ids)
    arrays = {f"input {name!r}": array for name, array in dataset.inputs.items()}
    if dataset.labels is not None:
        arrays["labels"] = dataset.labels
    for name, array in arrays.items():
        if array.ndim == 0 or array.dtype.kind not in "iubf":
            raise DataError(
                f"{name} has dtype {array.dtype} and shape {array.shape}, and must be numbers, samples first",
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
            f"{', '.join(f'{name} has {length}' for name, length in lengths.items())} samples; ids {n}",
            where=where,
            cause="inputs and labels of different sets, or an array without the axis of samples",
        )
    if len(np.unique(dataset.ids)) != n:
        raise DataError("the ids of the samples are not all different", where=where)
    if dataset.class_names and dataset.labels is not None:
        check_labels(dataset, len(dataset.class_names), where=where)


def _sample_digests(dataset: Dataset) -> list[bytes]:
    """Hash each sample's bytes over all inputs, in the order of the inputs' names."""
    arrays = [np.ascontiguousarray(dataset.inputs[name]) for name in sorted(dataset.inputs)]
    digests = []
    for position in range(len(dataset)):
        digest = hashlib.blake2b(digest_size=16)
        for array in arrays:
            digest.update(array[position].tobytes())
        digests.append(digest.digest())
    return digests
