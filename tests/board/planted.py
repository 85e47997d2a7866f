"""A measure with the fault that its case names, on a board; it needs the standard library and numpy."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from harness.core.contracts import Bench
from harness.core.job import Case, Samples


def measure(bench: Bench, case: Case) -> Iterator[Samples]:
    """Yield one part, do what ``case.params["do"]`` names, yield another."""
    yield Samples({"x": np.arange(3)}, {"pid": os.getpid(), "home": str(Path.home())})
    match case.params.get("do"):
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "say and hang":
            Path(case.params["fifo"]).write_text("ready")
            threading.Event().wait()
        case "say and hang once":
            before = Path(case.params["fifo"] + ".before")
            if not before.exists():
                before.touch()
                Path(case.params["fifo"]).write_text("ready")
                threading.Event().wait()
        case "cut the link":
            os.kill(_server(), signal.SIGKILL)
            threading.Event().wait()
        case "read":
            assert case.data
            yield Samples({"sum": bench.data.feeds(case.data, 0, case.samples)["x"].sum(axis=1)})
    yield Samples({"x": np.arange(3, 5)}, {"done": True})


def _server() -> int:
    """The sshd that is the parent of this process."""
    pid = os.getpid()
    while "sshd" not in Path(f"/proc/{pid}/comm").read_text():
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid
