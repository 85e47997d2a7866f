"""How a failed or interrupted command ends: what is printed, what is saved, the exit code."""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from harness.core.errors import BackendError, HarnessError
from harness.core.exit_code import ExitCode

#: Modules that a host needs and a board does not. This package runs on both.
HOST_PACKAGES = (
    "flatbuffers", "onnx", "onnxruntime", "pandas", "PIL", "pyarrow", "pydantic", "rich", "scipy", "sklearn",
)  # fmt: skip


def end(error: BaseException, command: str) -> ExitCode:
    """Print why a command ended and return its exit code, which is never ``FAILED``.

    Parameters
    ----------
    error : BaseException
        An error of the harness, an interruption, or an exception that nobody expected.
    command : str
        Name of the command; part of the name of the traceback file.
    """
    if isinstance(error, HarnessError):
        _print(f"harness: {error}")
        if isinstance(error, BackendError) and error.raw and error.raw not in str(error):
            _print(f"  full   {save(error.raw, command)}")
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        text = error.args[0] if error.args else "nothing was stored"
        _print(f"harness: interrupted; {text}")
        return ExitCode.NOT_MEASURED
    if isinstance(error, BrokenPipeError):
        # The reader (head, less) has closed the pipe; prevent Python's own message at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.NOT_MEASURED
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in HOST_PACKAGES:
        from harness.core.commands import install

        _print(
            f"harness: {error.name} is not installed\n"
            "  cause  this command needs the host installation; a board has only a part of it\n"
            f"  next   {install('host')}"
        )
        return ExitCode.USAGE
    # Imports numpy, which would make every start a tenth of a second slower.
    from harness.core.unexpected import full_text, one_line

    _print(f"harness: unexpected {one_line(error)}; traceback: {save(full_text(error), command)}")
    return ExitCode.NOT_MEASURED


def save(text: str, command: str) -> Path | str:
    """Write a text to a new file in the cache, else in the temporary folder, and return its path."""
    from harness.config.folders import cache_folder

    prefix = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{command}-"
    for folder in (cache_folder() / "tracebacks", Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=prefix, suffix=".txt", dir=folder)
            with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as stream:
                stream.write(text)
        except OSError:
            continue
        return Path(name)
    _print(text)
    return "printed above (no folder is writable)"


def _print(text: str) -> None:
    print(text, file=sys.stderr)
