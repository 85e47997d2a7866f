"""Faults that change what belongs to the whole process: a program uses it beside the model."""

from __future__ import annotations

import ctypes
import locale
import os
import platform
import signal
import tempfile
import time
from collections.abc import Callable

from harness.core.artifact import Artifact
from harness.core.contracts import Backend, Session
from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from harness.testing.faults.arrays import changed
from harness.testing.faults.calls import shifted
from harness.testing.faults.fault import Call, Compute, Fault, Kind, NotPlanted, Plant

#: FE_UPWARD of the C library, by machine.
UPWARD = {"x86_64": 0x800, "AMD64": 0x800, "aarch64": 0x400000, "armv7l": 0x400000}
#: The environment variable that is set.
VARIABLE = "PLANTED_BY_THE_HARNESS"


class AtOpen(Plant):
    """Does something to the process when a session is opened."""

    def __init__(self, size: float, act: Callable[[], object]) -> None:
        super().__init__(size)
        self._act = act

    def open(self, backend: Backend, artifact: Artifact, options: Options) -> Session:
        """Open, and change the process."""
        session = backend.open(artifact, options)
        self._act()
        return session


def at_open(act: Callable[[], object]) -> Callable[[float], Plant]:
    """Make the constructor of a plant."""
    return lambda size: AtOpen(size, act)


def _round_upward() -> None:
    mode = UPWARD.get(platform.machine())
    try:
        if mode is not None and ctypes.CDLL("libm.so.6").fesetround(mode) == 0:
            return
    except (OSError, AttributeError):
        pass
    raise NotPlanted("the C library of this machine changes no rounding mode")


def _other_locale() -> None:
    for name in ("C.UTF-8", "en_US.UTF-8", "C"):
        try:
            locale.setlocale(locale.LC_NUMERIC, name)
            return
        except locale.Error:
            continue
    raise NotPlanted("this machine has no other locale")


def _leave_file() -> None:
    descriptor, _ = tempfile.mkstemp(prefix="planted-")
    os.close(descriptor)


class WrongAfterIdle(Plant):
    """Answers wrongly after a time without a call of the session."""

    def __init__(self, size: float) -> None:
        super().__init__(size)
        self._last_s: dict[int, float] = {}

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run, and change the answer of the first call after a pause, and of all later ones."""
        now_s = time.monotonic()
        idle_s = now_s - self._last_s.get(call.number, now_s)
        outputs = compute(feeds)
        if idle_s > self.size:
            return changed(call, outputs, shifted)
        self._last_s[call.number] = now_s
        return outputs


STATE = ("state of the process",)

FAULTS = (
    Fault(
        "changes-working-folder", Kind.PROCESS, "opening changes the working folder",
        at_open(lambda: os.chdir("/")), (*STATE, "working folder"), "a check of the working folder",
    ),
    Fault(
        "changes-environment", Kind.PROCESS, "opening sets an environment variable",
        at_open(lambda: os.environ.__setitem__(VARIABLE, "1")), (*STATE, "environment"),
        "a check of the environment",
    ),
    Fault(
        "changes-signals", Kind.PROCESS, "opening ignores a signal",
        at_open(lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN)), (*STATE, "signal"),
        "a check of the handlers of signals",
    ),
    Fault(
        "changes-rounding", Kind.PROCESS, "opening rounds floats upward from then on",
        at_open(_round_upward), (*STATE, "rounding mode"), "a check of the rounding mode",
    ),
    Fault(
        "changes-locale", Kind.PROCESS, "opening changes the locale", at_open(_other_locale),
        (*STATE, "locale"), "a check of the locale",
    ),
    Fault(
        "prints-to-stdout", Kind.PROCESS, "opening prints to standard output",
        at_open(lambda: os.write(1, b"planted text\n")), (*STATE, "standard output"),
        "a check of standard output",
    ),
    Fault(
        "files-per-session", Kind.PROCESS, "each session leaves a temporary file behind",
        at_open(_leave_file), ("temporary file",), "a limit on the files that sessions leave behind",
    ),
    Fault(
        "wrong-after-idle", Kind.CALL, "the answers are wrong after {size} s without a call", WrongAfterIdle,
        ("idle",), "a gate on the answers of a session that was idle", 0.2, "s",
    ),
)  # fmt: skip
