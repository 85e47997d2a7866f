"""A part of a run in a child process, so that a runtime that crashes there costs that part alone.

The child is a fork: it has all that the run has prepared, and nothing is sent to it. What it makes is in the
cache afterwards.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import pickle
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import BinaryIO, NoReturn

import numpy as np

from harness.core.errors import HarnessError, StreamEnded, WorkerError
from harness.core.unexpected import one_line
from harness.core.untrusted import cut
from harness.core.wire import read_frame, write_frame
from harness.device import process_end

#: Where a process with threads cannot be forked safely, the part runs in this process.
CAN_FORK = sys.platform == "linux"

Tell = Callable[[str], None]


def run(part: Callable[[Tell], bytes], tell: Tell) -> bytes:
    """Run a part in a child and return what it returned.

    Parameters
    ----------
    part : callable
        Gets a function for lines of progress. What it raises is raised here.
    tell : callable
        Gets the lines of progress.

    Raises
    ------
    WorkerError
        The child died.
    """
    if not CAN_FORK:
        return part(tell)
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as output:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # a fork of a process with threads
            pid = os.fork()
        if pid == 0:
            os.close(reading)
            _child(part, writing, output)
        os.close(writing)
        status = -signal.SIGKILL
        try:
            with os.fdopen(reading, "rb") as stream:
                result = _follow(stream, tell)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # it has ended, or this process was interrupted
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if result is None:
            raise WorkerError(
                f"the runtime died: the process {process_end.exit_text(status)}",
                cause=cut(process_end.tail(output), 500) or "a fault of the runtime, or too little memory",
            )
        return result


def _follow(stream: BinaryIO, tell: Tell) -> bytes | None:
    """Read what the child sends; None if it ends without a result."""
    with contextlib.suppress(StreamEnded):
        while (frame := read_frame(stream, limit_byte=None)) is not None:
            header, arrays = frame
            content = arrays["content"].tobytes() if arrays else b""
            match header["type"]:
                case "progress":
                    tell(header["text"])
                case "error":
                    raise _error(content, header["text"])
                case _:
                    return content
    return None


def _error(content: bytes, text: str) -> Exception:
    """The exception of the child, which is a copy of this process."""
    with contextlib.suppress(Exception):
        error = pickle.loads(content)  # noqa: S301 - from our own fork, through a pipe that nobody else has
        if isinstance(error, Exception):
            return error
    return RuntimeError(text)


def _child(part: Callable[[Tell], bytes], writing: int, output: BinaryIO) -> NoReturn:
    # Nothing of the parent's runs here again: no handler, no buffer, no thread, and no finalizer. A session
    # of a runtime that the parent dropped would wait for its threads, which only the parent has.
    gc.freeze()
    code = 1
    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
        for descriptor in (1, 2):
            os.dup2(output.fileno(), descriptor)
        faulthandler.enable(2)  # names the line on which a runtime crashed
        with os.fdopen(writing, "wb") as stream:
            for header, content in _messages(part, stream):
                write_frame(stream, header, {"content": np.frombuffer(content, np.uint8)})
        code = 0
    finally:
        os._exit(code)


def _messages(part: Callable[[Tell], bytes], stream: BinaryIO) -> Iterator[tuple[dict[str, str], bytes]]:
    try:
        content = part(lambda text: write_frame(stream, {"type": "progress", "text": text}))
    except Exception as error:  # noqa: BLE001 - raised again in the parent
        try:
            pickled = pickle.dumps(error)
        except Exception:  # noqa: BLE001 - of a third-party exception
            pickled = b""
        text = str(error) if isinstance(error, HarnessError) else one_line(error)
        yield {"type": "error", "text": text}, pickled
    else:
        yield {"type": "result"}, content
