"""A command in a process of its own, so that a runtime that crashes ends with a message."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from harness.core.errors import ModelError
from harness.device import worker

#: Set in the child, which then runs the command itself.
IN_CHILD = "HARNESS_IN_CHILD"


def is_child() -> bool:
    """Whether this process is such a child."""
    return IN_CHILD in os.environ


def run(argv: Sequence[str], model: str) -> int:
    """Run ``harness`` with these arguments, print what it prints, and return its exit code.

    Raises
    ------
    ModelError
        A signal ended it.
    """
    command = worker.command(worker.own_python(), "harness.cli.main", *argv)
    ended = subprocess.run(
        command,
        env=os.environ | {IN_CHILD: "1"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    sys.stdout.write(ended.stdout)
    if ended.returncode:  # else it is the chatter of runtimes alone
        sys.stderr.write(ended.stderr if ended.returncode > 0 else "")
    if ended.returncode >= 0:
        return ended.returncode
    raise ModelError(
        f"the runtime died while it opened or ran {model} ({signal.Signals(-ended.returncode).name}); "
        "nothing was written",
        where=model,
        cause=_last_words(ended.stderr) or "a fault of the runtime, or too little memory",
        next_step="open the file with the runtime alone, in Python; another version of it may run it",
    )


def _last_words(text: str) -> str:
    """Return the last line that the runtime printed before Python's own report of the crash."""
    lines = [line.strip() for line in text.partition("Fatal Python error")[0].splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""
