"""The user's cache: files by their own hash, and an index from what made them to that hash.

Everything here can be deleted at any time and is made again. Writes are atomic (a temporary file beside,
then a rename), so that two runs at once and a run that is killed leave no half-written entry.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import sha256_file
from harness.core.errors import StoreError
from harness.store.cache_space import use

OTHER_FOLDER = "name another folder: --results DIR for runs, HARNESS_CACHE=DIR for the cache"


def key_of(value: Mapping[str, Any]) -> str:
    """Hash of a JSON value: what made an entry."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@functools.cache
def code_sha256(package: Path) -> str:
    """Hash of the sources of a package: what they make is made again when they change."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package)} {sha256_file(path)}\n".encode())
    return digest.hexdigest()


class Cache:
    """``data/<sha256>.npy``, ``artifacts/<sha256>/``, ``index/<key>.json`` under one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def recall(self, key: str) -> dict[str, Any] | None:
        """What was noted under `key`, or None; a damaged note counts as none."""
        try:
            value = json.loads((self.folder / "index" / f"{key}.json").read_text())
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    def note(self, key: str, value: Mapping[str, Any]) -> None:
        """Keep a JSON value under `key`."""
        path = self.folder / "index" / f"{key}.json"
        with writing(path):
            write_atomically(path, json.dumps(value, sort_keys=True).encode())

    def forget(self, key: str) -> None:
        """Drop what was noted under `key`."""
        (self.folder / "index" / f"{key}.json").unlink(missing_ok=True)

    def array_path(self, sha256: str) -> Path:
        """Where the array file of that hash lies."""
        return self.folder / "data" / f"{sha256}.npy"

    def has_array(self, sha256: str) -> bool:
        """Whether the array of that hash is here, and whole."""
        path = self.array_path(sha256)
        is_whole = path.is_file() and sha256_file(path) == sha256
        if is_whole:
            use(path)
        return is_whole

    def put_array(self, array: NDArray[Any]) -> str:
        """Store an array; the hash of its ``.npy`` file."""
        folder = self.folder / "data"
        with writing(folder), _temporary(folder) as temporary:
            with temporary.open("wb") as stream:
                hashing = _Hashing(stream)
                np.lib.format.write_array(hashing, array, allow_pickle=False)
            digest = hashing.sha256.hexdigest()
            temporary.replace(folder / f"{digest}.npy")
        return digest

    def artifact_folder(self, sha256: str) -> Path:
        """Where the files of the artifact of that hash lie."""
        return self.folder / "artifacts" / sha256

    def drop_artifact(self, sha256: str) -> None:
        """Forget an artifact whose files are not what they were."""
        shutil.rmtree(self.artifact_folder(sha256), ignore_errors=True)

    def put_artifact(self, sha256: str, files: Mapping[str, bytes | Path]) -> Path:
        """Store an artifact's files, given as bytes or as files to copy; the folder that they are in."""
        folder = self.artifact_folder(sha256)
        with writing(folder), _temporary(folder.parent) as temporary:
            if folder.is_dir():
                # One file's hash does not know its name: the same bytes may have come under another one.
                files = {name: content for name, content in files.items() if not (folder / name).is_file()}
            temporary.mkdir()
            for name, content in files.items():
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)  # external data may lie deeper
                if isinstance(content, Path):
                    shutil.copyfile(content, temporary / name)
                else:
                    (temporary / name).write_bytes(content)
            try:
                temporary.rename(folder)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                for name in files:
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (temporary / name).replace(folder / name)
        return folder


class _Hashing:
    """Hashes what it writes.

    ``np.save`` given a real file writes through C's own buffer and does not see that the last part of it
    met a full disk.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.sha256 = hashlib.sha256()
        self._stream = stream

    def write(self, data: bytes) -> None:
        self.sha256.update(data)
        self._stream.write(data)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failed write below `path` into one clear error.

    Raises
    ------
    StoreError
        The disk is full, the place is read-only, or something else is in the way.
    """
    try:
        yield
    except OSError as error:
        hints = {
            errno.ENOSPC: ("the disk is full", "free some room, then run again with --resume"),
            errno.EDQUOT: ("the quota is used up", "free some room, then run again with --resume"),
            errno.EFBIG: ("the file is larger than this account may write", "raise the limit: ulimit -f"),
            errno.EROFS: ("the file system is read-only", OTHER_FOLDER),
            errno.EACCES: ("you may not write there", OTHER_FOLDER),
        }
        cause, next_step = hints.get(error.errno or 0, (error.strerror or str(error), OTHER_FOLDER))
        raise StoreError(
            f"cannot write {error.filename or path}", where=str(path), cause=cause, next_step=next_step
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(path.parent) as temporary:
        temporary.write_bytes(content)
        temporary.replace(path)


@contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """A name in `folder` that nobody else uses; whatever is left of it is deleted."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".tmp-", dir=folder)
    os.close(handle)
    path = Path(name)
    path.unlink()
    try:
        yield path
    finally:
        for left in folder.glob(f"{path.name}*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
