"""What the cache takes on the disk, by kind, and how it is bounded."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.core.errors import UsageError

#: What lies in the cache, by the name of its folder; everything is made again when it is needed.
KINDS = {
    "artifacts": "models in every format",
    "data": "data sets and their shifted copies",
    "index": "what made an artifact, a data set or a figure",
    "query": "the index of stored runs",
    "explain": "files of explanations",
    "bundles": "what is sent to boards",
    "emulators": "programs that emulate boards",
    "userlands": "systems of emulated boards",
    "tracebacks": "tracebacks of unexpected errors",
}
#: Kinds whose entries are evicted, the least recently used first; they are by far the largest.
EVICTED = ("artifacts", "data")
#: What was used within this time stays: a run that goes on may need it.
STAYS_S = 24 * 3600.0
#: The largest size of what is evicted, where the environment does not say.
VARIABLE, MOST_BYTE = "HARNESS_CACHE_MAX", 20 * 10**9
UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True, slots=True)
class Space:
    """What one kind takes.

    Parameters
    ----------
    kind : str
    entries : int
    size_byte : int
    oldest_s : float
        Seconds since the least recently used entry was used.
    """

    kind: str
    entries: int
    size_byte: int
    oldest_s: float


def most_byte() -> int:
    """Return the largest size of artifacts and data sets together: ``HARNESS_CACHE_MAX``.

    Raises
    ------
    UsageError
        It is not a size.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        return MOST_BYTE
    number, unit = text[:-2].strip(), text[-2:].upper()
    with contextlib.suppress(ValueError):
        if unit in UNITS and float(number) > 0:
            return int(float(number) * UNITS[unit])
    raise UsageError(f"{text!r} is not a size", where=VARIABLE, next_step="give one like 20GB or 500MB")


def spaces(folder: Path) -> list[Space]:
    """Return what each kind takes; kinds without entries are left out."""
    now_s = time.time()
    made = []
    for kind in KINDS:
        entries = list(_entries(folder / kind))
        if entries:
            oldest_s = now_s - min(used_s for _, _, used_s in entries)
            made.append(Space(kind, len(entries), sum(size for _, size, _ in entries), max(0.0, oldest_s)))
    return made


def clear(folder: Path, kinds: Collection[str]) -> int:
    """Delete kinds; returns how many bytes they took."""
    freed = sum(size for kind in kinds for _, size, _ in _entries(folder / kind))
    for kind in kinds:
        shutil.rmtree(folder / kind, ignore_errors=True)
    return freed


def bound(folder: Path, most: int) -> int:
    """Delete the least recently used artifacts and data sets beyond a size; returns the bytes of them.

    What was used within `STAYS_S` stays.
    """
    entries = sorted(
        (entry for kind in EVICTED for entry in _entries(folder / kind)), key=lambda entry: entry[2]
    )
    total, freed, limit_s = sum(size for _, size, _ in entries), 0, time.time() - STAYS_S
    for path, size, used_s in entries:
        if total - freed <= most or used_s > limit_s:
            break
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        freed += size
    return freed


def use(path: Path) -> None:
    """Note that an entry is used now."""
    with contextlib.suppress(OSError):  # a cache that is read-only serves, too
        os.utime(path)


def _entries(folder: Path) -> Iterator[tuple[Path, int, float]]:
    """Path, bytes and time of last use of each file or folder in a folder; of files that vanish none."""
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            with contextlib.suppress(FileNotFoundError):
                path = Path(entry.path)
                size = sum(_bytes(path)) if entry.is_dir(follow_symlinks=False) else entry.stat().st_size
                yield path, size, entry.stat().st_mtime


def _bytes(folder: Path) -> Iterator[int]:
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if file.is_file() and not file.is_symlink():
                yield file.stat().st_size
