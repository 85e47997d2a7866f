"""Whether a child of a process that ended still holds its output."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from harness.device import process_end

#: Forks a child that waits for the end of its own standard input, and ends.
LEAVES_CHILD = "import os, sys\nif os.fork() == 0:\n    sys.stdin.read()\n    os._exit(0)\nos._exit(0)"


@pytest.mark.parametrize(("program", "held"), [("print('x' * 9)", False), (LEAVES_CHILD, True)])
def test_a_child_that_outlives_its_process_holds_the_output(program: str, held: bool) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.wait()
        assert process_end.is_held(process.stdout.fileno()) is held
        process.stdin.close()  # the child ends


def test_what_is_left_in_the_pipe_is_no_child() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"x" * 9000)
    os.close(writer)
    assert not process_end.is_held(reader)
    os.close(reader)
