"""Folders of images: which files count, which class they have, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.core.errors import DataError
from harness.data.files import is_tool_file
from harness.data.image_files import suffixes

ClassOrder = Literal["numeric", "alphabetical"]
#: Folders above the class folders; a test set is looked for in this order.
_TEST_NAMES = ("test", "testing", "val", "valid", "validation")
_TRAIN_NAMES = ("train", "training")


@dataclass(frozen=True, slots=True)
class Part:
    """Files in order, with a label for each; None without class folders."""

    files: tuple[Path, ...]
    labels: npt.NDArray[np.int64] | None


@dataclass(frozen=True, slots=True)
class Listing:
    """The images of a folder.

    Parameters
    ----------
    test : Part
    train : Part or None
        From the folder ``train`` beside the test set, if there is one.
    class_names : tuple of str
        Names of the class folders by label; empty without class folders.
    notes : tuple of str
        What was left out, by reason, and how the folders were understood.
    """

    test: Part
    train: Part | None
    class_names: tuple[str, ...]
    notes: tuple[str, ...]


def list_images(path: Path, *, class_order: ClassOrder = "numeric", skip: Sequence[str] = ()) -> Listing:
    """Find the images of a folder: one folder per class, these below ``train`` and ``val``, or only images.

    Parameters
    ----------
    class_order : str
        Order of class folders whose names are all whole numbers; other names are in alphabetical order.
    skip : sequence of str
        Files to leave out, relative to `path`.

    Raises
    ------
    DataError
        There are no images, the parts have different classes, or a name in `skip` is not there.
    """
    scan = _Scan(path, frozenset(skip))
    top, notes = path, []
    while (inner := scan.only_folder(top)) is not None:
        top = inner
        notes.append(f"the classes are below {top.relative_to(path).as_posix()}/")
    roles = scan.roles(top)
    if roles:
        test, train, names = _parts(scan, roles, class_order, notes)
    else:
        test, names = scan.classes(top, class_order)
        train = None
    scan.check_skip()
    notes += _order_notes(names, class_order)
    return Listing(test, train, names, (*notes, *scan.remarks, *scan.notes()))


def all_images(path: Path) -> list[Path]:
    """Return all images in a folder and its folders, sorted.

    Raises
    ------
    DataError
        There are none.
    """
    scan = _Scan(path, frozenset())
    files = scan.below(path)
    scan.check_any(path, files)
    return files


def _parts(
    scan: _Scan, roles: dict[str, Path], class_order: ClassOrder, notes: list[str]
) -> tuple[Part, Part | None, tuple[str, ...]]:
    """Return the test set, the training set and the class names of folders such as ``train`` and ``val``."""
    read = {name: scan.classes(folder, class_order) for name, folder in roles.items()}
    by_classes = {names: roles[role].name for role, (_, names) in read.items() if names}
    if len(by_classes) > 1:
        (one, first), (other, second) = list(by_classes.items())[:2]
        apart = sorted(set(one) ^ set(other))
        raise DataError(
            f"{first} and {second} have different class folders; only one has "
            f"{', '.join(apart[:5])}{', …' if len(apart) > 5 else ''}",
            where=str(scan.root),
            cause="a class is numbered by the position of its folder, which would differ",
            next_step="give every part the same class folders, or name one of the parts as the data",
        )
    tests = [role for role in _TEST_NAMES if role in read]
    test = next((role for role in tests if read[role][1]), tests[0] if tests else "")
    train = next((role for role in _TRAIN_NAMES if role in read), "")
    if not test:
        notes.append(f"only {roles[train].name}/ has images: it is the data set")
        part, names = read[train]
        return part, None, names
    text = f"{roles[test].name}/ is the test set"
    text += f" and {roles[train].name}/ calibrates" if train else ""
    unused = [folder.name for role, folder in roles.items() if role not in (test, train)]
    notes.append(f"{text}; {', '.join(unused)} is not used" if unused else text)
    part, names = read[test]
    return part, read[train][0] if train else None, names


def _order_notes(names: tuple[str, ...], class_order: ClassOrder) -> list[str]:
    """Say how class folders called by numbers are numbered, where that can be misunderstood."""
    if not names or not all(map(str.isdecimal, names)):
        return []
    notes = []
    orders = {"numeric": sorted(names, key=int), "alphabetical": sorted(names)}
    if orders["numeric"] != orders["alphabetical"]:
        other = "alphabetical" if class_order == "numeric" else "numeric"
        notes.append(
            f"class folders are in {class_order} order ({', '.join(orders[class_order][:3])}, …), not in "
            f"{other} order ({', '.join(orders[other][:3])}, …): [data] class_order"
        )
    moved = [(name, label) for label, name in enumerate(names) if int(name) != label]
    if moved and class_order == "numeric":
        notes.append(f"class folder {moved[0][0]!r} is class {moved[0][1]}: the numbers are not 0, 1, 2, …")
    return notes


@dataclass(slots=True)
class _Scan:
    """Reads folders once each and counts what is left out."""

    root: Path
    skip: frozenset[str]
    skipped: set[str] = field(default_factory=set)
    remarks: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    read: dict[Path, tuple[list[Path], list[Path]]] = field(default_factory=dict)

    def entries(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """Return the images and the folders in a folder, sorted."""
        if folder in self.read:
            return self.read[folder]
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            raise DataError(
                f"the folder {folder.name} cannot be read: {error.strerror}", where=str(folder)
            ) from error
        images: list[Path] = []
        folders: list[Path] = []
        for entry in entries:
            name = entry.relative_to(self.root).as_posix() if self.skip else ""
            if is_tool_file(entry.name):
                self.left_out["hidden or tool files"] += 1
            elif entry.is_dir():
                folders.append(entry)
            elif not entry.is_file():
                self.left_out["broken links, FIFOs or devices"] += 1
            elif name and name in self.skip:
                self.skipped.add(name)
            elif entry.suffix.lower() in suffixes():
                images.append(entry)
            else:
                self.others[entry.suffix.lower() or "no suffix"] += 1
        self.read[folder] = images, folders
        return images, folders

    def below(self, folder: Path, above: tuple[Path, ...] = ()) -> list[Path]:
        """Return all images in a folder and its folders, sorted; a link to a folder above is not followed."""
        real = folder.resolve()
        if real in above:
            return []
        images, folders = self.entries(folder)
        return sorted([*images, *(file for f in folders for file in self.below(f, (*above, real)))])

    def only_folder(self, folder: Path) -> Path | None:
        """Return the one folder with images in a folder, if it has no images itself, only folders of them."""
        images, folders = self.entries(folder)
        filled = [f for f in folders if self.below(f)]
        if images or len(filled) != 1 or filled[0].name.lower() in (*_TEST_NAMES, *_TRAIN_NAMES):
            return None
        inner_images, inner_folders = self.entries(filled[0])
        several = len([f for f in inner_folders if self.below(f)]) > 1
        return filled[0] if several and not inner_images else None

    def roles(self, folder: Path) -> dict[str, Path]:
        """Return the folders such as ``train`` and ``val``, if all folders with images are such."""
        filled = {f.name.lower(): f for f in self.entries(folder)[1] if self.below(f)}
        return filled if filled and set(filled) <= {*_TEST_NAMES, *_TRAIN_NAMES} else {}

    def classes(self, folder: Path, order: ClassOrder) -> tuple[Part, tuple[str, ...]]:
        """Return the images of the class folders in a folder, or those in the folder itself, unlabelled."""
        images, folders = self.entries(folder)
        if not folders:
            self.check_any(folder, images)
            return Part(tuple(images), None), ()
        if images:
            self.left_out["images beside the class folders"] += len(images)
        if order == "numeric" and all(f.name.isdecimal() for f in folders):
            folders = sorted(folders, key=lambda f: (int(f.name), f.name))
        files_of = [self.below(f) for f in folders]
        for f, its_files in zip(folders, files_of, strict=True):
            self.check_any(f, its_files)
        if len(folders) == 1:  # which class of the model it is, nobody can know
            self.remarks.append(f"{folders[0].name}/ is the only class folder: its images have no labels")
            return Part(tuple(files_of[0]), None), ()
        labels = np.repeat(np.arange(len(folders), dtype=np.int64), [len(f) for f in files_of])
        files = tuple(file for its_files in files_of for file in its_files)
        return Part(files, labels), tuple(f.name for f in folders)

    def check_any(self, folder: Path, files: Sequence[Path]) -> None:
        """Refuse a folder without images."""
        if not files:
            raise DataError(
                f"{folder.name} contains no images",
                where=str(folder),
                cause="; ".join(self.notes()),
                next_step="use .jpg, .png or another format of Pillow, and remove folders without images",
            )

    def check_skip(self) -> None:
        """Refuse a name in ``skip`` that is not there: a misspelt one would leave nothing out."""
        if unknown := sorted(self.skip - self.skipped):
            raise DataError(
                f"skip names {len(unknown)} files that are not there: {', '.join(unknown[:5])}",
                where=str(self.root),
                cause="names are relative to the folder of the data, such as cat/a.png",
                next_step="fix or remove the names in [data] skip",
            )

    def notes(self) -> list[str]:
        """Return what was left out, by reason, in one line; none if nothing was."""
        reasons = [f"{reason}: {count}" for reason, count in self.left_out.items()]
        if self.others:
            kinds = ", ".join(f"{suffix} {count}" for suffix, count in self.others.most_common(4))
            more = ", …" if len(self.others) > 4 else ""
            reasons.append(f"files that are not images: {self.others.total()} ({kinds}{more})")
        if self.skipped:
            reasons.append(f"files named in skip: {len(self.skipped)}")
        return [f"left out of {self.root.name}/: {'; '.join(reasons)}"] if reasons else []
