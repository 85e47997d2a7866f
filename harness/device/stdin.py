"""What the host says to a worker, and the end of the worker when the host says nothing any more.

The host holds standard input open. When it ends, the host is gone and so is the worker, whatever it is
doing. Where a link can die without an end (a pulled cable), the host says every few seconds that it is
alive, and silence counts as the end.
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

    A thread that waits in one of Python's buffered readers holds its lock, and a process that a runtime
    forks would wait for that lock for ever.
    """

    def __init__(self, descriptor: int) -> None:
        self.silence_s: float | None = None
        self._descriptor = descriptor
        self._held = bytearray()

    def readline(self, limit: int) -> bytes:
        """Read up to and with the next line feed; what there is at the end."""
        looked_at = 0
        while (end := self._held.find(b"\n", looked_at)) < 0 and len(self._held) < limit:
            looked_at = len(self._held)
            if not self._more():
                break
        return self._take(end + 1 if end >= 0 else len(self._held))

    def read(self, size: int) -> bytes:
        """Read exactly `size` bytes; fewer at the end."""
        while len(self._held) < size and self._more():
            pass
        return self._take(size)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken

    def _more(self) -> bool:
        if self.silence_s is not None and not select.select([self._descriptor], [], [], self.silence_s)[0]:
            return False
        data = os.read(self._descriptor, 1 << 20)
        self._held += data
        return bool(data)


class HostInput:
    """The host's side of the conversation, as the worker sees it.

    Parameters
    ----------
    pipe : Pipe
    """

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._frames: queue.Queue[tuple[dict[str, Any], dict[str, NDArray[Any]]]] = queue.Queue()

    def request(self) -> dict[str, Any]:
        """Read what the worker has to do, and watch the host from then on."""
        value: dict[str, Any] = json.loads(self._pipe.readline(1 << 30))
        self._pipe.silence_s = value.get("silence_s")
        threading.Thread(target=self._listen, daemon=True).start()
        return value

    def file(self) -> NDArray[np.uint8]:
        """Wait for the file that was asked for: uint8, shape (n,).

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
            while (frame := read_frame(self._pipe)) is not None:
                if frame[0]["type"] != "alive":
                    self._frames.put(frame)
        except WorkerError:
            pass  # cut off in the middle of a frame: gone all the same
        os._exit(0)
