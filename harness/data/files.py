"""Which files are read: regular ones, within a limit of bytes; and which are only by-products of tools."""

from __future__ import annotations

import stat
from pathlib import Path

from harness.config.schema import MAX_BYTES
from harness.core.errors import DataError

__all__ = ["MAX_BYTES", "check_bytes", "check_file", "is_tool_file"]

_TOOL_NAMES = frozenset(
    {"__macosx", "__pycache__", "$recycle.bin", "@eadir", "desktop.ini", "ehthumbs.db", "thumbs.db"}
)
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


def is_tool_file(name: str) -> bool:
    """Whether a file or folder of this name was left by a system or an editor, and is no data."""
    return name.startswith(".") or name.lower() in _TOOL_NAMES


def check_file(path: Path, max_bytes: int = MAX_BYTES) -> None:
    """Refuse what is not a regular file, before it is opened, and a file that is too large.

    Raises
    ------
    DataError
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(
            f"{path.name} cannot be read: {error.strerror}",
            where=str(path),
            next_step="check the path and the permissions",
        ) from error
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "not a regular file")
        raise DataError(
            f"{path.name} is {kind}; data are read from regular files only",
            where=str(path),
            next_step="write the data to a file, and name that file",
        )
    check_bytes(path, status.st_size, max_bytes, "the file")


def check_bytes(path: Path, size_byte: int, max_bytes: int, what: str) -> None:
    """Refuse data of more than `max_bytes`; `what` names the part of the file that is so large."""
    if size_byte > max_bytes:
        raise DataError(
            f"{path.name}: {what} has {size_byte:,} bytes, more than max_bytes = {max_bytes:,}",
            where=str(path),
            cause="a very large data set, or a damaged or malicious file",
            next_step=f"use fewer samples; or, with enough memory, set [data] max_bytes = {size_byte} "
            f"(harness init --max-bytes {size_byte})",
        )
