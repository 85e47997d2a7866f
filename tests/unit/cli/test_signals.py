"""SIGTERM and SIGHUP end a command as Ctrl-C does, once; what is ignored stays ignored."""

from __future__ import annotations

import subprocess
import sys

import pytest

RAISED = """
import os, signal
from harness.cli import signals
signals.end_like_ctrl_c()
try:
    os.kill(os.getpid(), signal.{name})
    print("lives")
except KeyboardInterrupt:
    os.kill(os.getpid(), signal.{name})  # while it closes
    print("interrupted")
"""


def run(text: str, *before: str) -> str:
    return subprocess.run(
        [*before, sys.executable, "-c", text], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_interrupts_once(name: str) -> None:
    assert run(RAISED.format(name=name)) == "interrupted\n"


def test_an_ignored_signal_stays_ignored() -> None:
    assert run(RAISED.format(name="SIGHUP"), "nohup") == "lives\n"


def test_other_threads_leave_signals_alone() -> None:
    text = """
import signal, threading
from harness.cli import signals
thread = threading.Thread(target=signals.end_like_ctrl_c)
thread.start()
thread.join()
print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
"""
    assert run(text) == "True\n"
