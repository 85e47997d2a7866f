"""A worker that was started somewhere, as the host holds it: two streams, an exit status, an end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import BinaryIO, Protocol, cast

from harness.core.wire import Readable
from harness.device import worker


class Program(Protocol):
    """What a link starts.

    Attributes
    ----------
    stdin : binary stream
        Raises ``BrokenPipeError`` where nobody reads it any more.
    stdout : readable
        Ends with the program, or with the way to it.
    """

    @property
    def stdin(self) -> BinaryIO: ...  # noqa: D102
    @property
    def stdout(self) -> Readable: ...  # noqa: D102

    def status(self) -> int:
        """Exit status of a program whose output ended; one that lives on regardless is ended."""
        ...

    def said(self) -> str:
        """Return the last lines of its standard error."""
        ...

    def end(self) -> None:
        """End it and whatever it spawned, from any thread."""
        ...

    def close(self) -> None:
        """Let its streams go, after its end."""
        ...


class Child:
    """A child process of this one, in a session of its own.

    Ctrl-C then reaches the harness only, and ending the session ends the program's children too.

    Parameters
    ----------
    command : sequence of str
    environment : mapping
        What it finds in its environment besides this process's.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the other streams
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,
            env={**os.environ, **environment},
        )
        self.stdin = cast(BinaryIO, self._process.stdin)
        self.stdout = cast(BinaryIO, self._process.stdout)

    def status(self) -> int:
        """Exit status of a program whose output ended; one that lives on regardless is ended."""
        try:
            return self._process.wait(worker.EXIT_GRACE_S)
        except subprocess.TimeoutExpired:
            self.end()
            return self._process.wait()

    def said(self) -> str:
        """Return the last lines of its standard error."""
        return worker.tail(self._stderr)

    def end(self) -> None:
        """End it and whatever it spawned."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """Let its streams go."""
        with contextlib.suppress(BrokenPipeError):  # what it never read is still in the buffer
            self.stdin.close()
        self.stdout.close()
        self._stderr.close()
