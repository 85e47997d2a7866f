"""Finding and awaiting processes that a test may have left behind."""

from __future__ import annotations

import os
import select
from pathlib import Path

#: How long the system may take to end a process whose host is gone.
GONE_S = 30


def processes(word: str) -> list[int]:
    """Other processes whose environment holds `word`."""
    matching = []
    for folder in Path("/proc").iterdir():
        try:
            has_word = folder.name.isdigit() and word.encode() in (folder / "environ").read_bytes()
        except OSError:
            continue
        if has_word and int(folder.name) != os.getpid():
            matching.append(int(folder.name))
    return matching


def wait_until_gone(pids: list[int]) -> None:
    """Wait for the end of processes that are not children of this one."""
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            assert select.select([handle], [], [], GONE_S)[0], f"the process {pid} lives on"
        finally:
            os.close(handle)
