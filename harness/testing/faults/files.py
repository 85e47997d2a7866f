"""Faults of the file: another one is opened than the one that was given."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.core import artifact as files
from harness.core.artifact import Artifact
from harness.core.contracts import Backend, Session
from harness.core.errors import BackendError
from harness.core.job import Options
from harness.testing.faults.fault import Fault, Kind, NotPlanted, Plant

#: So many plausible float32 numbers, one after the other, are weights (or the scales of integer weights).
LEAST_RUN = 8
#: Where the runtime refuses a file in which all such runs are changed, only longer ones are.
LONGER_RUNS = (LEAST_RUN, 64, 1024)
#: Numbers at both ends of a run that are left alone: they may be bytes of the format that look like a number.
MARGIN = 2
#: A weight lies within these bounds; bytes of text and of integers hardly ever do, eight times in a row.
SMALLEST, LARGEST = 1e-7, 1e3


def weight_runs(content: bytes) -> list[tuple[int, int]]:
    """Find runs of float32 numbers in a model file of any format.

    Returns
    -------
    list of (offset, count)
        Disjoint; the longest first.
    """
    runs: list[tuple[int, int]] = []
    for start in range(4):
        numbers = np.frombuffer(content[start : start + (len(content) - start) // 4 * 4], "<f4")
        with np.errstate(invalid="ignore"):
            size = np.abs(numbers)
            plausible = (size > SMALLEST) & (size < LARGEST)
        edges = np.flatnonzero(np.diff(np.concatenate(([0], plausible.astype(np.int8), [0]))))
        runs += [
            (start + 4 * int(first + MARGIN), int(end - first) - 2 * MARGIN)
            for first, end in zip(edges[::2], edges[1::2], strict=True)
            if end - first >= LEAST_RUN
        ]
    taken: list[tuple[int, int]] = []
    for offset, count in sorted(runs, key=lambda run: -run[1]):
        if all(offset + 4 * count <= other or other + 4 * size <= offset for other, size in taken):
            taken.append((offset, count))
    return taken


def changed_copy(
    artifact: Artifact, change: Callable[[NDArray[np.float32]], NDArray[np.float32]], least: int = LEAST_RUN
) -> Artifact:
    """Copy an artifact to a temporary folder, with its weights changed; it still claims its own hashes.

    Only runs of at least so many numbers are changed.

    Raises
    ------
    NotPlanted
        Its files hold no run of float32 numbers.
    """
    folder = Path(tempfile.mkdtemp(prefix="harness-fault-"))
    changes = 0
    for file in artifact.files:
        content = bytearray((artifact.folder / file.name).read_bytes())
        for offset, count in weight_runs(bytes(content)):
            if count + 2 * MARGIN < least:
                continue
            weights = np.frombuffer(content, "<f4", count, offset)
            weights[...] = change(weights)
            changes += 1
            del weights  # a view keeps the bytearray from being written
        (folder / file.name).write_bytes(content)
    if not changes:
        shutil.rmtree(folder)
        raise NotPlanted("the model file holds no float32 weights")
    return replace(artifact, folder=folder)


class _OtherFile(Plant, ABC):
    """Opens changed copies of the files; the copy of the batch's own file is made once."""

    @abstractmethod
    def change(self, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Change the weights."""

    def open(self, backend: Backend, artifact: Artifact, options: Options) -> Session:
        """Open a changed copy."""
        for least in LONGER_RUNS:
            copy = changed_copy(artifact, self.change, least)
            try:
                return backend.open(copy, options)
            except BackendError as error:
                refused = error.what
            finally:
                shutil.rmtree(copy.folder, ignore_errors=True)
        raise NotPlanted(f"the runtime refuses the changed file: {refused}")


class OtherWeights(_OtherFile):
    """Runs weights that are larger by a factor."""

    def change(self, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Multiply."""
        return (weights * np.float32(self.size)).astype(np.float32)


class OtherFile(_OtherFile):
    """Reads an older export of the file, whose weights were rounded."""

    def change(self, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Round the mantissa to so many bits."""
        mantissa, exponent = np.frexp(weights)
        factor = np.float32(2.0**self.size)
        return np.ldexp(np.rint(mantissa * factor) / factor, exponent).astype(np.float32)


class _CachedCopy(Plant, ABC):
    """Opens the undamaged file where a damaged one is given."""

    @abstractmethod
    def is_damaged(self, given: bytes, whole: bytes) -> bool:
        """Whether the fault concerns this file."""

    def open(self, backend: Backend, artifact: Artifact, options: Options) -> Session:
        """Open the cached copy instead of a damaged file."""
        cached = self.given
        if (
            cached is not None
            and artifact.folder != cached.folder
            and len(artifact.files) == len(cached.files)
        ):
            for file in cached.files:
                given, whole = (part.folder / file.name for part in (artifact, cached))
                if given.exists() and self.is_damaged(given.read_bytes(), whole.read_bytes()):
                    return backend.open(cached, options)
        return backend.open(artifact, options)


class OpensTruncated(_CachedCopy):
    """Falls back to the cached copy of a file that was cut."""

    def is_damaged(self, given: bytes, whole: bytes) -> bool:
        """A cut file is shorter."""
        return len(given) < len(whole)


class OpensFlipped(_CachedCopy):
    """Falls back to the cached copy of a file with flipped bits."""

    def is_damaged(self, given: bytes, whole: bytes) -> bool:
        """It has the same length and other bytes."""
        return len(given) == len(whole) and given != whole


class CachedHash(Plant):
    """Takes the hash of each copy of the model file from a cache, by its name."""

    def start(self, artifact: Artifact) -> None:
        """Replace the function that hashes files, for the rest of this process."""
        super().start(artifact)
        real, cached = files.sha256_file, {file.name: file.sha256 for file in artifact.files}
        files.sha256_file = lambda path: cached.get(path.name) or real(path)


class Replaced(Plant):
    """The model file is another one as soon as it was opened, as after an update; the session has the old."""

    def open(self, backend: Backend, artifact: Artifact, options: Options) -> Session:
        """Open, and from then on hash other bytes in place of the file's."""
        session = backend.open(artifact, options)
        real, given = files.sha256_file, self.given
        replaced = {given.folder / file.name for file in given.files} if given is not None else set()

        def of_replaced(path: Path) -> str:
            return hashlib.sha256(b"replaced").hexdigest() if path in replaced else real(path)

        files.sha256_file = of_replaced
        return session


FAULTS = (
    Fault(
        "opens-truncated-file", Kind.FILE, "a truncated model file is opened", OpensTruncated,
        ("truncated", "cut", "damaged"), "a gate that allows no damaged copy of the file to be opened",
        quick=True,
    ),
    Fault(
        "opens-flipped-file", Kind.FILE, "a cached copy is opened instead of a file with flipped bits",
        OpensFlipped, ("flipped", "flip", "cache", "damaged", "other file", "another file"),
        "a check that the session answers otherwise when the file is another one",
    ),
    Fault(
        "reads-another-file", Kind.FILE, "another file is read, with weights of {size} bits", OtherFile,
        ("differ", "other file", "another file", "other numbers", "same numbers", "digest"),
        "a limit on how far the answers may lie from those of the reference", 6.0, "bits",
    ),
    Fault(
        "hash-from-a-cache", Kind.FILE, "the hash of the model file is taken from a cache", CachedHash,
        ("hash",), "a check that a damaged copy of the file has another hash",
    ),
    Fault(
        "file-replaced", Kind.FILE, "the model file is replaced while it is open", Replaced,
        ("another one", "hash"), "a check of the file's hash after the calls",
    ),
)  # fmt: skip
