"""A worker process as the host sees it: two streams, an exit status, an end."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import select
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from typing import IO, Any, BinaryIO, Protocol, cast

from harness.core.wire import Readable
from harness.device import process_end, worker
from harness.executors import board_side

#: Environment variable of a program and of all that it starts, so that none outlives it.
TOKEN = "HARNESS_PROGRAM"  # noqa: S105 - a name, not a password
#: The end of a program whose output another process still holds open is noticed within this time.
POLL_MS = 200
BUFFER_BYTE = 2**20


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

    Ctrl-C then reaches the harness only, and killing the session kills the program's children too. A child
    that left the session has the program's token, and ends with it.

    Parameters
    ----------
    command : sequence of str
    environment : mapping
        Added to the environment of this process.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the other streams
        token = secrets.token_hex(16)
        self._mark, self._ended = f"{TOKEN}={token}", threading.Event()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,
            env={**os.environ, **environment, TOKEN: token},
            bufsize=0,
        )
        pipes = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        into, out = (_Pipe(pipe, self._process, self._ended) for pipe in pipes)
        self.stdin = cast(BinaryIO, io.BufferedWriter(into, BUFFER_BYTE))
        self.stdout = cast(BinaryIO, io.BufferedReader(out, BUFFER_BYTE))

    def status(self) -> int:
        """Exit status of a program whose output ended; it is killed if it does not exit soon."""
        try:
            return self._process.wait(worker.EXIT_GRACE_S)
        except subprocess.TimeoutExpired:
            self.end()
            return self._process.wait()

    def stderr_tail(self) -> str:
        """Return the last lines of its standard error."""
        return process_end.tail(self._stderr)

    def end(self) -> None:
        """Kill it and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._ended.set()
        board_side.end_processes(self._mark)

    def close(self) -> None:
        """Close its streams."""
        with contextlib.suppress(BrokenPipeError):  # the buffer may hold what the program never read
            self.stdin.close()
        self.stdout.close()
        self._stderr.close()


class _Pipe(io.RawIOBase):
    """One end of a pipe to a process; the end of the process is the end of the pipe, whoever holds it too."""

    def __init__(self, pipe: IO[bytes], process: subprocess.Popen[bytes], ended: threading.Event) -> None:
        self._pipe, self._process, self._ended = pipe, process, ended
        self._writes = pipe.writable()
        os.set_blocking(pipe.fileno(), False)
        self._poll = select.poll()
        self._poll.register(pipe.fileno(), select.POLLOUT if self._writes else select.POLLIN)

    def readable(self) -> bool:
        return not self._writes

    def writable(self) -> bool:
        return self._writes

    def _ready(self) -> bool:
        """Wait until it can be read or written; False once the process has ended."""
        while not self._ended.is_set():
            if self._poll.poll(POLL_MS):
                return True
            if self._process.poll() is not None:
                return bool(self._poll.poll(0))  # what it wrote at last
        return False

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - Buffer, from Python 3.12 on
        while self._ready():
            with contextlib.suppress(BlockingIOError):
                return os.readv(self._pipe.fileno(), [buffer])
        return 0

    def write(self, data: Any) -> int:  # noqa: ANN401 - Buffer
        while self._ready():
            with contextlib.suppress(BlockingIOError):
                return os.write(self._pipe.fileno(), data)
        raise BrokenPipeError

    def close(self) -> None:
        super().close()
        self._pipe.close()
