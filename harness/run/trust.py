"""Settings that run code, in files of another user: a plan must be safe to ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from harness.config.targets import target_files
from harness.core.errors import UsageError
from harness.run.request import Request
from harness.run.selection import Selection, select

#: Keys of ``[executor]`` that name a program, packages to install, or a file that can name programs.
RUNS_CODE = ("python", "requirements", "ssh_config")


def refuse_code_of_others(request: Request) -> None:
    """Refuse a request whose files belong to another user and would run code on this machine.

    Raises
    ------
    UsageError
        Names each setting and its file.
    """
    selection = select(request)
    others = [f"{setting} in {file}" for setting, file in _settings(selection) if not is_own(file)]
    if others:
        raise UsageError(
            f"files of another user would run code: {'; '.join(others)}",
            cause="plan imports and starts nothing that this user did not write",
            next_step="read these files, and then: harness plan --trust …",
        )


def _settings(selection: Selection) -> Iterator[tuple[str, Path]]:
    data = selection.validation.data
    for name, source in (("data", data), ("data.calibration", data.calibration)):
        if source is not None and source.callable:
            yield f"{name}.callable = {source.callable!r}", selection.file
    files = target_files()
    for target in selection.targets:
        for key in RUNS_CODE:
            if key in target.executor:
                yield f"executor.{key}", files[target.name]


def is_own(file: Path) -> bool:
    """Whether a file and its folder belong to this user or to root, as far as the system has owners."""
    if not hasattr(os, "getuid"):
        return True
    return all(path.stat().st_uid in (os.getuid(), 0) for path in (file, file.resolve().parent))
