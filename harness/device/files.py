"""The file store of a device: files by hash, fetched from the host and evicted when there is no room.

A device that sees the host's files fetches nothing. Any other asks the host for each file when a case needs
it, keeps it for the next run, and deletes the file that was used longest ago when there is no room.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from harness.core.artifact import Artifact, sha256_file
from harness.core.errors import DataError, WorkerError

Fetch = Callable[[str, str], "NDArray[Any]"]
"""Kind (``data``, ``artifacts``) and name of a file, to its bytes: uint8, shape (n,)."""


class FileStore:
    """``data/<sha256>.npy`` and ``artifacts/<sha256>/`` under one folder.

    Parameters
    ----------
    folder : Path
    fetch : callable, optional
        Asks the host; None where the device sees the host's files.
    room_byte : int, optional
        Of all files in the folder.
    """

    def __init__(self, folder: Path, fetch: Fetch | None = None, room_byte: int | None = None) -> None:
        self.folder, self._fetch, self._room_byte = folder, fetch, room_byte
        self._used: set[Path] = set()

    def data(self, sha256: str) -> Path:
        """Return the array file of that hash, complete.

        Raises
        ------
        DataError
            It is missing or damaged, and there is no host to ask.
        """
        return self._complete("data", f"{sha256}.npy", sha256)

    def artifact(self, artifact: Artifact) -> Artifact:
        """Return the artifact with its files on this device; the worker verifies their hashes."""
        if self._fetch is None:
            return artifact
        for file in artifact.files:
            self._complete("artifacts", f"{artifact.sha256}/{file.name}", file.sha256)
        return replace(artifact, folder=self.folder / "artifacts" / artifact.sha256)

    def _complete(self, kind: str, name: str, sha256: str) -> Path:
        path = self.folder / kind / name
        self._used.add(path)
        if path.is_file() and sha256_file(path) == sha256:
            with contextlib.suppress(OSError):
                os.utime(path)  # used now: others are evicted first
            return path
        if self._fetch is None:
            raise DataError(
                "a data file is missing or damaged", where=str(path), next_step="delete it and run again"
            )
        self._put(path, self._fetch(kind, name))
        if sha256_file(path) != sha256:
            path.unlink()
            raise WorkerError(
                f"{name} arrived damaged", where=str(path), cause="a broken connection, or a failing disk"
            )
        return path

    def _put(self, path: Path, content: NDArray[Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._make_room(content.nbytes)
        temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
        try:
            with temporary.open("wb") as stream:
                stream.write(content.data)
            temporary.replace(path)
        except OSError as error:
            raise WorkerError(
                f"cannot store {path.name} on the device: {error.strerror}",
                where=str(path.parent),
                next_step="free some space there, or lower disk_mb of the target",
            ) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _make_room(self, needed_byte: int) -> None:
        if self._room_byte is None:
            return
        files = sorted(self._files(), key=lambda file: file[0])
        used_byte = sum(size for _, size, _ in files)
        for _, size, path in files:
            if used_byte + needed_byte <= self._room_byte:
                return
            if path not in self._used:
                path.unlink(missing_ok=True)
                used_byte -= size
        if used_byte + needed_byte > self._room_byte:
            raise WorkerError(
                f"{(used_byte + needed_byte) / 1e6:.1f} MB are needed at the same time, the device grants "
                f"{self._room_byte / 1e6:.0f} MB",
                where=str(self.folder),
                next_step="raise disk_mb of the target, or lower its max_samples",
            )

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """Yield time of last use, bytes, path."""
        for kind in ("data", "artifacts"):
            for path in (self.folder / kind).rglob("*"):
                if path.is_file():
                    stat = path.stat()
                    yield stat.st_mtime, stat.st_size, path
