"""Faults of the process, in processes."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys

import pytest

SCRIPT = """
import os, sys
from tests.unit.testing.faults.linear import *
session = opened(sys.argv[1], float(sys.argv[2]))
for count in range(int(sys.argv[3])):
    assert np.array_equal(session.run({"x": samples()})["y"], right(samples()))
    print(count, flush=True)
"""


def command(name: str, size: float, calls: int) -> list[str]:
    return [sys.executable, "-c", SCRIPT, name, str(size), str(calls)]


@pytest.mark.parametrize(
    ("name", "size", "calls", "code"),
    [
        ("crash-at-exit", 0, 3, -signal.SIGSEGV),
        ("abort-in-a-call", 5, 4, 0),
        ("abort-in-a-call", 3, 2, 0),
        ("hang-in-a-call", 5, 4, 0),
    ],
)
def test_answers_are_right_until_the_fault(name: str, size: float, calls: int, code: int) -> None:
    done = subprocess.run(command(name, size, calls), capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(count) for count in range(calls)]
    assert done.returncode == code


def test_abort_comes_at_the_call() -> None:
    done = subprocess.run(command("abort-in-a-call", 3, 9), capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["0", "1"]
    assert done.returncode == -signal.SIGABRT


def test_hang_comes_at_the_call() -> None:
    with subprocess.Popen(command("hang-in-a-call", 2, 9), stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "0\n"
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.3)
        child.kill()


def test_child_holds_the_pipe_after_the_process_ended() -> None:
    with subprocess.Popen(command("child-outlives", 1.0, 1), stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "0\n"
        assert child.wait() == 0
        assert child.stdout.read() == ""  # only when the grandchild ends, too


@pytest.mark.parametrize("lowest", [3, 200])  # a process with many files open passes on a high number
def test_text_is_written_to_a_pipe_once(lowest: int) -> None:
    read, low = os.pipe()
    try:
        write = fcntl.fcntl(low, fcntl.F_DUPFD, lowest)
        os.close(low)
        done = subprocess.run(command("garbage-on-stdout", 0, 3), pass_fds=[write], check=False)
        os.close(write)
        assert done.returncode == 0
        assert os.read(read, 1000) == b"INFO: planted text on standard output\n"
    finally:
        os.close(read)


def test_without_a_pipe_the_fault_is_not_planted() -> None:
    done = subprocess.run(
        command("garbage-on-stdout", 0, 1), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        check=False,
    )  # fmt: skip
    assert "the fault cannot be planted here: the worker has no pipe to write to" in done.stderr
