"""Standard input of a worker: messages of the host, and the end of the worker when the host is gone.

The host keeps standard input open. When it closes, the worker exits, whatever it is doing. If a connection
can break without a notice (a pulled cable), the host sends a message every few seconds, and silence counts
as the end.
"""

from __future__ import annotations

import json
import os
import queue
import select
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import WorkerError
from harness.core.wire import read_frame


class Pipe:
    """Reads a descriptor through a buffer of its own.

    A thread that waits in one of Python's buffered readers has its lock, and a process that a runtime forks
    would wait for that lock for ever.
    """

    def __init__(self, descriptor: int) -> None:
        self.silence_s: float | None = None
        self._descriptor = descriptor
        self._buffer = bytearray()

    def readline(self, limit: int) -> bytes:
        """Read up to and with the next line feed, or to the end of the stream."""
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0 and len(self._buffer) < limit:
            searched = len(self._buffer)
            if not self._more():
                break
        return self._take(end + 1 if end >= 0 else len(self._buffer))

    def read(self, size: int) -> bytes:
        """Read exactly `size` bytes; fewer at the end of the stream."""
        while len(self._buffer) < size and self._more():
            pass
        return self._take(size)

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _more(self) -> bool:
        if self.silence_s is not None and not select.select([self._descriptor], [], [], self.silence_s)[0]:
            return False
        data = os.read(self._descriptor, 1 << 20)
        self._buffer += data
        return bool(data)


class HostInput:
    """The messages of the host to a worker.

    Parameters
    ----------
    pipe : Pipe
    """

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._frames: queue.Queue[tuple[dict[str, Any], dict[str, NDArray[Any]]]] = queue.Queue()

    def request(self) -> dict[str, Any]:
        """Read the request, and exit from then on when the host is gone."""
        value: dict[str, Any] = json.loads(self._pipe.readline(1 << 30))
        self._pipe.silence_s = value.get("silence_s")
        threading.Thread(target=self._listen, daemon=True).start()
        return value

    def file(self) -> NDArray[np.uint8]:
        """Wait for the requested file: uint8, shape (n,).

        Raises
        ------
        WorkerError
            The host does not have it.
        """
        header, arrays = self._frames.get()
        if header["type"] != "file":
            raise WorkerError(header.get("reason", f"the host sent a {header['type']!r}"))
        return arrays["content"]

    def _listen(self) -> None:
        try:
            while (frame := read_frame(self._pipe, limit_byte=None)) is not None:
                if frame[0]["type"] != "alive":
                    self._frames.put(frame)
        except WorkerError:
            pass  # the stream ended in the middle of a frame: the host is gone too
        os._exit(0)
