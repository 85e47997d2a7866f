"""How a process ended, and what it leaves behind."""

from __future__ import annotations

import os
import select
import time
from typing import Any

STDERR_TAIL_LINES = 8
#: A process that ended and left no other behind closes its output at once; a busy machine gets this long.
CLOSING_S = 0.5
_CHUNK_BYTE = 1 << 16


def exit_text(code: int) -> str:
    """Say how a process ended; a shell reports a signal as 128 plus its number."""
    if 128 < code <= 128 + 64:
        code = 128 - code
    if code >= 0:
        return f"ended with exit status {code}"
    import signal

    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"


def tail(stream: Any) -> str:  # noqa: ANN401 - tempfile's own type
    """Return the last lines of a binary file; after a crash, the head of faulthandler's stack."""
    stream.seek(0)
    lines = stream.read().decode(errors="replace").strip().splitlines()
    crash = next((i for i, line in enumerate(lines) if line.startswith("Fatal Python error")), None)
    if crash is not None:
        stack = next((i for i, line in enumerate(lines) if line.startswith("Current thread")), crash + 1)
        lines = [*lines[max(0, crash - 2) : crash + 1], *lines[stack : stack + STDERR_TAIL_LINES - 3]]
    return "\n".join(lines[-STDERR_TAIL_LINES:])


def is_held(output: int) -> bool:
    """Whether somebody still holds the other end of a pipe whose process has ended: a child that outlives it.

    Parameters
    ----------
    output : int
        A descriptor that is read from; what is in the pipe is lost.
    """
    end_s = time.monotonic() + CLOSING_S
    while (left_s := end_s - time.monotonic()) > 0:
        if select.select([output], [], [], left_s)[0] and not os.read(output, _CHUNK_BYTE):
            return False
    return True
