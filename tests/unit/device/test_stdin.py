"""Standard input of a worker: frames in pieces, and the end of the process with the end of the host."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.wire import write_frame
from harness.device.stdin import Pipe

LISTENER = """
import sys
from harness.device.stdin import HostInput, Pipe
host = HostInput(Pipe(0))
print(host.request()["word"], flush=True)
print(bytes(host.file()).decode(), flush=True)
host.file()
"""


@given(lines=st.lists(st.binary(max_size=50), max_size=5), cuts=st.lists(st.integers(0, 250), max_size=6))
def test_lines_and_bytes_arrive_complete_in_any_pieces(lines: list[bytes], cuts: list[int]) -> None:
    text = b"".join(b"%d\n%s" % (len(line), line) for line in lines)
    bounds = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    read, write = os.pipe()

    def send() -> None:
        for start, stop in pairwise(bounds):
            os.write(write, text[start:stop])
        os.close(write)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        pipe = Pipe(read)
        received = []
        while head := pipe.readline(100):
            received.append(pipe.read(int(head)))
        assert received == lines
        assert pipe.read(1) == b""
    finally:
        sender.join()
        os.close(read)


def listener() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", LISTENER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def frame(kind: str, content: bytes = b"") -> bytes:
    stream = io.BytesIO()
    write_frame(stream, {"type": kind}, {"content": np.frombuffer(content, np.uint8)})
    return stream.getvalue()


@pytest.mark.parametrize("ending", ["close", "cut", "silence"])
def test_a_worker_ends_with_its_host(ending: str) -> None:
    with listener() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        silence = ', "silence_s": 0.2' if ending == "silence" else ""
        process.stdin.write(b'{"word": "hello"%s}\n' % silence.encode())
        process.stdin.write(frame("alive") + frame("file", b"content"))
        process.stdin.flush()
        assert process.stdout.readline() == b"hello\n"
        assert process.stdout.readline() == b"content\n"
        if ending == "cut":
            process.stdin.write(frame("file", b"content")[:-3])
        if ending != "silence":
            process.stdin.close()
        assert process.wait(30) == 0
