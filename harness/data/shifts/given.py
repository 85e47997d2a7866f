"""Shifted sets that the user brings: a folder in the layout of ImageNet-C, or arrays.

``FOLDER/FAMILY/SEVERITY/CLASS/FILE`` has one image for each sample of the clean folder, under the same class
and name; ``FOLDER/FAMILY/SEVERITY.npy`` has the samples in the order of the clean data.
``FOLDER/labels.npy``, where it is there, has to have the labels of the clean data.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from harness.config.fields import is_name
from harness.core.artifact import sha256_file
from harness.core.errors import DataError
from harness.data.datasets import Dataset
from harness.data.image_files import read_images
from harness.data.images import ImageRecipe
from harness.data.shifts.apply import Array
from harness.data.shifts.family import SEVERITIES

LABELS = "labels.npy"
#: Hashes of the files, as sha256sum writes them; checked where it is there.
SUMS = "SHA256SUMS"
LAYOUT = (
    "a folder for each family, with 1 to 5 in it: folders of classes with images, or arrays 1.npy to 5.npy"
)
Cell = tuple[str, int]


def given_sets(folder: Path) -> dict[Cell, Path]:
    """Return the family and severity of each set, and its folder or file.

    Raises
    ------
    DataError
        The folder is not there, or has another layout.
    """
    sets: dict[Cell, Path] = {}
    for path in sorted(folder.glob("*/*")):
        severity = path.stem if path.suffix in (".npy", "") else ""
        if severity not in map(str, SEVERITIES) or (path.suffix == "" and not path.is_dir()):
            raise _refused(f"{path.relative_to(folder)} is no severity of 1 to 5", folder)
        cell = _named(path.parent), int(severity)
        if cell in sets:
            raise _refused(f"{cell[0]} has the severity {severity} twice, as images and as an array", folder)
        sets[cell] = path
    if not sets:
        raise _refused("there are no shifted sets" if folder.is_dir() else "there is no such folder", folder)
    return sets


def read(path: Path, folder: Path, clean: Dataset, recipe: ImageRecipe | None) -> Mapping[str, Array]:
    """Read one set in the order of the clean samples.

    Parameters
    ----------
    path : Path
        A value of `given_sets`.
    folder : Path
        The folder of all of them.
    clean : Dataset
        Ids are positions in the data as they were read.
    recipe : ImageRecipe, optional
        How images are decoded and resized: as those of the clean data.

    Raises
    ------
    DataError
        Samples are missing, or labels, shape or dtype are not those of the clean data.
    """
    if len(clean.inputs) != 1:
        raise _refused(f"the model takes {len(clean.inputs)} inputs, and a shifted set has one", folder)
    ((name, raw),) = clean.inputs.items()
    _check_labels(folder, clean)
    samples = _images(path, folder, clean, recipe) if path.is_dir() else _array(path, folder, clean)
    if samples.shape != raw.shape or samples.dtype != raw.dtype:
        raise _refused(
            f"{path.relative_to(folder)} has samples of {samples.dtype} {samples.shape[1:]}, "
            f"and the clean data of {raw.dtype} {raw.shape[1:]}",
            folder,
        )
    return {name: samples}


def _images(path: Path, folder: Path, clean: Dataset, recipe: ImageRecipe | None) -> Array:
    if not clean.files:
        raise _refused("the clean data are no image files, with whose names these would be paired", folder)
    stems = {(file.parent.name, file.stem): file for file in sorted(path.glob("*/*"))}
    wanted = [(file.parent.name, file.stem) for file in clean.files]
    missing = ["/".join(key) for key in wanted if key not in stems]
    if missing:
        raise _refused(
            f"{path.relative_to(folder)} has no image for {len(missing)} of {len(wanted)} clean ones, "
            f"such as {missing[0]}",
            folder,
        )
    pixels, _ = read_images([stems[key] for key in wanted], recipe or ImageRecipe(), root=path)
    return pixels


def _array(path: Path, folder: Path, clean: Dataset) -> Array:
    _check_hash(path, folder)
    samples = _loaded(path, folder)
    _check_length(samples, path, folder, clean)
    return np.ascontiguousarray(samples[clean.ids])


def _check_labels(folder: Path, clean: Dataset) -> None:
    path = folder / LABELS
    if not path.exists() or clean.labels is None:
        return
    labels = _loaded(path, folder)
    _check_length(labels, path, folder, clean)
    others = np.flatnonzero(np.any(np.atleast_2d((labels[clean.ids] != clean.labels).T), axis=0))
    if len(others):
        first = int(clean.ids[others[0]])
        raise _refused(
            f"{len(others)} of {len(clean)} labels in {LABELS} are not those of the clean data, "
            f"the first one of sample {first}",
            folder,
        )


def _check_hash(path: Path, folder: Path) -> None:
    if not (folder / SUMS).exists():
        return
    name = path.relative_to(folder).as_posix()
    if f"{sha256_file(path)}  {name}" not in (folder / SUMS).read_text().splitlines():
        raise _refused(f"{name} does not have the hash of {SUMS}", folder)


def _loaded(path: Path, folder: Path) -> Array:
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise _refused(f"{path.relative_to(folder)} cannot be read: {error}", folder) from error
    return array


def _check_length(array: Array, path: Path, folder: Path, clean: Dataset) -> None:
    if not array.ndim or len(array) <= int(clean.ids.max()):
        raise _refused(
            f"{path.relative_to(folder)} has {len(array) if array.ndim else 0} samples, "
            f"and the clean data at least {int(clean.ids.max()) + 1}",
            folder,
        )


def _named(folder: Path) -> str:
    try:
        return is_name(folder.name)
    except ValueError as error:
        raise _refused(f"a family cannot have this name: {error}", folder.parent) from error


def _refused(what: str, folder: Path) -> DataError:
    return DataError(
        f"the shifted sets do not fit: {what}", where=f"shifts.sets: {folder}", next_step=f"give {LAYOUT}"
    )
