"""What explanations put into the cache: those that run at once share it, the last removes it."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.store.cache import Cache, write_atomically, writing


class _Sha256(io.RawIOBase):
    """Hashes what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.sha256 = hashlib.sha256()

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        self.sha256.update(data)
        return len(data)


class Scratch:
    """Arrays and artifacts of one explanation.

    ``explain/uses.json`` in the cache names each file that explanations put there, its inode, and who uses
    it; it is read and written under ``explain/lock``. Each explanation holds a lock on a file of its own
    while it runs, so that one that was killed no longer counts. What was in the cache before, or was put
    there again by a run (its inode is another one then), is never removed.

    Parameters
    ----------
    cache : Cache
    """

    def __init__(self, cache: Cache) -> None:
        self._cache, self._folder = cache, cache.folder / "explain"
        self._user = secrets.token_hex(8)
        self._alive: int | None = None

    def put_array(self, array: NDArray[Any]) -> str:
        """Store an array; the hash of its ``.npy`` file."""
        stream = _Sha256()
        np.lib.format.write_array(stream, array, allow_pickle=False)
        digest = stream.sha256.hexdigest()
        with self._using(self._cache.array_path(digest)) as is_here:
            if not is_here:
                self._cache.put_array(array)
        return digest

    def put_artifact(self, digest: str, files: Mapping[str, bytes]) -> Path:
        """Store an artifact's files; the folder that they are in."""
        with self._using(self._cache.artifact_folder(digest)):
            return self._cache.put_artifact(digest, files)

    def close(self) -> None:
        """Remove what no other explanation uses."""
        if self._alive is None:
            return
        with self._uses() as uses:
            os.close(self._alive)
            (self._folder / f"{self._user}.alive").unlink(missing_ok=True)
            self._alive = None
            for name, entry in list(uses.items()):
                entry["users"] = [user for user in entry["users"] if user != self._user]
                if not entry["users"]:
                    del uses[name]
                    path = self._cache.folder / name
                    if _inode(path) == entry["inode"]:
                        shutil.rmtree(path) if path.is_dir() else path.unlink()

    @contextmanager
    def _using(self, path: Path) -> Iterator[bool]:
        """Count this explanation among the users of a file that it stores; whether another stored it."""
        name = str(path.relative_to(self._cache.folder))
        with self._uses() as uses:
            before = _inode(path)
            entry = uses.get(name)
            is_shared = entry is not None and before == entry["inode"]
            yield is_shared
            if is_shared:
                uses[name]["users"] = sorted({*uses[name]["users"], self._user})
            elif before is None:
                uses[name] = {"inode": _inode(path), "users": [self._user]}

    @contextmanager
    def _uses(self) -> Iterator[dict[str, dict[str, Any]]]:
        """The table, with the users that still run; written at the end where it changed."""
        table = self._folder / "uses.json"
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / "lock").open("wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
                if self._alive is None:
                    self._alive = os.open(self._folder / f"{self._user}.alive", os.O_CREAT | os.O_RDWR, 0o600)
                    fcntl.flock(self._alive, fcntl.LOCK_EX)
                try:
                    stored = table.read_text()
                    uses = json.loads(stored)
                except (OSError, ValueError):
                    stored, uses = "", {}
                running = self._running()
                for entry in uses.values():
                    entry["users"] = [user for user in entry["users"] if user in running]
                yield uses
                if (changed := json.dumps(uses)) != stored:
                    write_atomically(table, changed.encode())

    def _running(self) -> set[str]:
        """The explanations that hold their lock; files of others are removed."""
        running = {self._user}
        for path in self._folder.glob("*.alive"):
            if path.stem == self._user:
                continue
            with path.open("rb") as stream:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    running.add(path.stem)
                else:
                    path.unlink()
        return running


def _inode(path: Path) -> int | None:
    return path.stat().st_ino if path.exists() else None
