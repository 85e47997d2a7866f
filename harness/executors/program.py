"""A worker process as the host sees it: two streams, an exit status, an end."""

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
    """What a connection starts.

    Attributes
    ----------
    stdin : binary stream
        Raises ``BrokenPipeError`` if nothing reads it any more.
    stdout : readable
        Ends when the program ends or the connection is lost.
    """

    @property
    def stdin(self) -> BinaryIO: ...  # noqa: D102
    @property
    def stdout(self) -> Readable: ...  # noqa: D102

    def status(self) -> int:
        """Exit status of a program whose output ended; it is killed if it does not exit soon."""
        ...

    def stderr_tail(self) -> str:
        """Return the last lines of its standard error."""
        ...

    def end(self) -> None:
        """Kill it and its children; from any thread."""
        ...

    def close(self) -> None:
        """Close its streams, after its end."""
        ...


class Child:
    """A child process of this one, in a session of its own.

    Ctrl-C then reaches the harness only, and killing the session kills the program's children too.

    Parameters
    ----------
    command : sequence of str
    environment : mapping
        Added to the environment of this process.
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
        """Exit status of a program whose output ended; it is killed if it does not exit soon."""
        try:
            return self._process.wait(worker.EXIT_GRACE_S)
        except subprocess.TimeoutExpired:
            self.end()
            return self._process.wait()

    def stderr_tail(self) -> str:
        """Return the last lines of its standard error."""
        return worker.tail(self._stderr)

    def end(self) -> None:
        """Kill it and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """Close its streams."""
        with contextlib.suppress(BrokenPipeError):  # the buffer may hold what the program never read
            self.stdin.close()
        self.stdout.close()
        self._stderr.close()
