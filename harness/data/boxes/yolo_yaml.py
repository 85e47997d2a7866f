"""``data.yaml`` of YOLO's tools: the images of each split, and the names of the classes.

As Ultralytics reads it: paths are relative to ``path``, which is relative to the file; a split is a folder, a
text file of images, or a list of those; the labels of ``…/images/a.png`` are in ``…/labels/a.txt``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.commands import install
from harness.core.errors import DataError, TargetUnavailable
from harness.data import image_folders
from harness.data.files import check_file

SUFFIXES = (".yaml", ".yml")
#: Splits that are tested, the first that is there: the one that YOLO's tools evaluate.
_TESTED, _CALIBRATES = ("val", "valid", "test"), "train"
_NEXT = "write it as YOLO's tools do: path, train, val, names"


@dataclass(frozen=True, slots=True)
class Splits:
    """What a file says.

    Parameters
    ----------
    names : tuple of str
        Of the classes, in their order.
    test, train : tuple of Path
        Images; `train` is empty where the file has no such split.
    root : Path
        Folder that all of them lie in.
    notes : tuple of str
    """

    names: tuple[str, ...]
    test: tuple[Path, ...]
    train: tuple[Path, ...]
    root: Path
    notes: tuple[str, ...] = ()


def file_in(path: Path) -> Path | None:
    """Return the file itself, or the ``data.yaml`` with splits in a folder; None where there is none."""
    if path.suffix.lower() in SUFFIXES:
        return path
    files = [path / f"data{suffix}" for suffix in SUFFIXES] if path.is_dir() else []
    return next((file for file in files if file.is_file() and _has_splits(file)), None)


def _has_splits(file: Path) -> bool:
    """Whether lines begin with the name of a split; read as text, so that no library is needed to tell."""
    lines = file.read_text("utf-8", errors="replace").splitlines()
    return any(line.startswith(tuple(f"{name}:" for name in _TESTED)) for line in lines)


def read(file: Path, max_bytes: int) -> Splits:
    """Read a file, and list the images of its splits.

    Raises
    ------
    TargetUnavailable
        PyYAML is not installed.
    DataError
        The file is something else, or images are missing.
    """
    table = _table(file, max_bytes)
    names = class_names(table, str(file))
    test = next((name for name in _TESTED if table.get(name)), "")
    if not test:
        raise DataError(
            f"{file.name} names no split that can be tested: {', '.join(_TESTED)}", where=str(file),
            cause=f"it has {', '.join(map(str, table))}", next_step=_NEXT,
        )  # fmt: skip
    base = _base(file, table)
    parts = [tuple(_images(table.get(name), base, file, name)) for name in (test, _CALIBRATES)]
    both = sorted(set(parts[0]) & set(parts[1]))
    train = tuple(image for image in parts[1] if image not in set(both))
    notes = [f"{test} of {file.name} is the test set{' and train calibrates' if train else ''}"]
    if both:
        notes.append(f"{len(both)} images of train are in {test}, too, and do not calibrate")
    return Splits(names, parts[0], train, base, tuple(notes))


def _table(file: Path, max_bytes: int) -> Mapping[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise TargetUnavailable(
            f"{file.name} needs PyYAML, which is not installed", next_step=install("host")
        ) from error
    check_file(file, max_bytes)
    try:
        table = yaml.safe_load(file.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{file.name} is no YAML: {error}", where=str(file), next_step=_NEXT) from error
    if not isinstance(table, dict):
        raise DataError(f"{file.name} has no keys", where=str(file), next_step=_NEXT)
    return table


def class_names(table: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Return the names of the classes, which are a list, or numbers from 0 with their names.

    Raises
    ------
    DataError
        There are none, numbers are missing, or ``nc`` is another number.
    """
    given = table.get("names")
    if isinstance(given, dict):
        if sorted(given) != list(range(len(given))):
            listed = ", ".join(map(str, list(given)[:8]))
            raise DataError(
                f"names has the numbers {listed}, not every one from 0", where=where, next_step=_NEXT
            )
        given = [given[number] for number in range(len(given))]
    if not isinstance(given, list) or not given:
        raise DataError("there are no names of classes", where=where, next_step=_NEXT)
    if "nc" in table and table["nc"] != len(given):
        raise DataError(
            f"nc is {table['nc']}, and there are {len(given)} names", where=where, next_step="correct one"
        )
    return tuple(map(str, given))


def _base(file: Path, table: Mapping[str, Any]) -> Path:
    """The folder that splits are relative to; that of the file where ``path`` leads nowhere."""
    base = file.parent / str(table.get("path") or "")
    return base if base.is_dir() else file.parent


def _images(given: object, base: Path, file: Path, split: str) -> list[Path]:
    files: list[Path] = []
    for place in given if isinstance(given, list) else [given] if given else []:
        # Roboflow writes ../train/images of a folder that lies beside the file.
        tried = [base / str(place), file.parent / str(place), base / str(place).removeprefix("../")]
        path = next((one for one in tried if one.exists()), None)
        if path is None:
            raise DataError(
                f"{split} of {file.name} is {place}, which does not exist", where=str(file),
                cause=f"looked for {tried[0]}",
                next_step="correct path or the split, or move the images there",
            )  # fmt: skip
        files += image_folders.all_images(path) if path.is_dir() else _listed(path, base)
    return sorted(dict.fromkeys(files))


def _listed(path: Path, base: Path) -> list[Path]:
    """Return the images that a text file lists; ``./`` is its folder."""
    lines = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    files = [(path.parent if line.startswith("./") else base) / line for line in lines]
    if missing := [line for line, file in zip(lines, files, strict=True) if not file.is_file()]:
        raise DataError(
            f"{len(missing)} of {len(lines)} images of {path.name} are missing: {', '.join(missing[:3])}",
            where=str(path), next_step="correct the paths, or remove the lines",
        )  # fmt: skip
    return files


def labels_of(image: Path) -> Path:
    """Return the file of the labels of an image: the last folder ``images`` is ``labels``."""
    parts = list(image.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def names_beside(folder: Path, max_bytes: int) -> Sequence[str]:
    """Return the names in a ``data.yaml`` in a folder or above it; none where there is no such file."""
    for above in (folder, folder.parent):
        for suffix in SUFFIXES:
            if (file := above / f"data{suffix}").is_file():
                return class_names(_table(file, max_bytes), str(file))
    return ()
