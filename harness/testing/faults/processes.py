"""Faults of the process: it crashes, hangs, or leaves something behind."""

from __future__ import annotations

import atexit
import os
import signal
import stat
import threading
import time
from pathlib import Path

from harness.core.artifact import Artifact
from harness.core.preprocess import Feeds, Outputs
from harness.testing.faults.fault import Call, Compute, Fault, Kind, NotPlanted, Plant

#: Where the system lists the open descriptors of the process that looks.
DESCRIPTORS = Path("/dev/fd")
STANDARD_ERROR = 2


def die(number: signal.Signals) -> None:
    """End this process by a signal, without the handler of faulthandler."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


class CrashesAtExit(Plant):
    """The process is killed by SIGSEGV when it ends."""

    def start(self, artifact: Artifact) -> None:
        """Register the crash."""
        super().start(artifact)
        atexit.register(die, signal.SIGSEGV)


class _Rare(Plant):
    """Does something in one call, counted over all sessions of a process."""

    def __init__(self, size: float) -> None:
        super().__init__(size)
        self._calls = 0

    def strike(self) -> None:
        """Do it."""

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run, or strike."""
        self._calls += 1
        if self._calls == int(self.size):
            self.strike()
        return compute(feeds)


class Aborts(_Rare):
    """Ends the process by SIGABRT."""

    def strike(self) -> None:
        """Abort."""
        die(signal.SIGABRT)


class Hangs(_Rare):
    """Never returns."""

    def strike(self) -> None:
        """Wait for ever."""
        threading.Event().wait()


class LeavesChild(Plant):
    """Starts a child that holds the worker's pipes and outlives it."""

    def start(self, artifact: Artifact) -> None:
        """Fork; the child ends by itself."""
        super().start(artifact)
        if os.fork() == 0:
            time.sleep(self.size)
            os._exit(0)


class PrintsGarbage(Plant):
    """Writes text into each pipe of the process, as a library that prints to a saved stdout."""

    TEXT = b"INFO: planted text on standard output\n"

    def __init__(self, size: float) -> None:
        super().__init__(size)
        self._calls = 0

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run, and write once."""
        self._calls += 1
        if self._calls == 1 and not self._write():
            raise NotPlanted("the worker has no pipe to write to")
        return compute(feeds)

    def _write(self) -> bool:
        wrote = False
        for descriptor in sorted(int(entry.name) for entry in DESCRIPTORS.iterdir()):
            if descriptor <= STANDARD_ERROR:
                continue
            try:
                if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                    wrote |= os.write(descriptor, self.TEXT) > 0
            except OSError:  # not open, or only readable
                continue
        return wrote


FAULTS = (
    Fault(
        "crash-at-exit", Kind.PROCESS, "the process is killed by SIGSEGV when it ends", CrashesAtExit,
        ("exit", "segv", "signal"), "a check of how the process ends", quick=True,
    ),
    Fault(
        "abort-in-a-call", Kind.PROCESS, "call {size} of a process ends it by SIGABRT", Aborts,
        ("abrt", "abort", "killed", "died"), "more calls in a process", 100, "calls",
    ),
    Fault(
        "hang-in-a-call", Kind.PROCESS, "call {size} of a process never returns", Hangs,
        ("hung", "hang", "deadline"), "more calls in a process", 100, "calls",
    ),
    Fault(
        "child-outlives", Kind.PROCESS, "a child of the worker holds its pipes for {size} s", LeavesChild,
        ("child", "process", "outlive"), "a check of the processes that the runtime leaves behind", 20,
        "s",
    ),
    Fault(
        "garbage-on-stdout", Kind.PROCESS, "text is written into the stream of the results", PrintsGarbage,
        ("message", "frame", "stream", "wire", "worker sent", "invalid data"),
        "update the harness: it checks each message of a worker",
    ),
)  # fmt: skip
