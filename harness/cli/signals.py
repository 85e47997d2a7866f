"""Signals that end a command as Ctrl-C does: what was measured is stored, workers end, exit code 3."""

from __future__ import annotations

import signal
import threading
from types import FrameType

#: A service manager, a CI job that is cancelled, a closed terminal.
SIGNALS = ("SIGTERM", "SIGHUP")


def end_like_ctrl_c() -> None:
    """Make the signals interrupt this process; one that is ignored (``nohup``) stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        return
    for name in SIGNALS:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(number, _ignore)  # once: the second one would interrupt the closing
    raise KeyboardInterrupt


def _ignore(number: int, frame: FrameType | None) -> None:
    """Not ``SIG_IGN``, which started programs would inherit."""
