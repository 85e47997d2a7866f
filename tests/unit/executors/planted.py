"""A measure with the fault that its case names; workers find it by entry points on ``PYTHONPATH``."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.core.contracts import Bench, Unsupported
from harness.core.errors import BackendError
from harness.core.job import Case, Samples


def measure(bench: Bench, case: Case) -> Iterator[Samples]:  # noqa: PLR0912 - a list of faults
    """Yield one part, do what ``case.params["do"]`` names, yield another."""
    yield Samples({"x": np.arange(3)}, {"pid": os.getpid()})
    print("on standard output", flush=True)
    os.write(1, b"beneath Python\n")
    print(f"before {case.name}", file=sys.stderr, flush=True)
    match case.params.get("do"):
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(7)
        case "system exit":
            raise SystemExit(5)
        case "hang":
            threading.Event().wait()
        case "raise":
            raise RuntimeError("planted fault")
        case "refuse":
            raise BackendError("planted refusal", next_step="fix it")
        case "unsupported":
            raise Unsupported("the session cannot do this")
        case "no json":
            yield Samples(values={"x": object()})
        case "spawn":
            params = {**case.params, "do": case.params["inner"]}
            yield bench.spawn(replace(case, name="inner", params=params))
        case "read":
            yield Samples({"rows": bench.data.feeds("clean", 1, 3)["x"]})
        case "read beside":
            assert bench.beside is not None
            content = np.frombuffer(bench.beside.path.read_bytes(), np.uint8)
            yield Samples({"targets": bench.data.targets("clean", 1, 3), "content": content})
        case "killed once" if not Path(case.params["flag"]).exists():
            Path(case.params["flag"]).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        case "say and hang":
            Path(case.params["fifo"]).write_text("ready")
            threading.Event().wait()
    yield Samples({"x": np.arange(3, 5)}, {"done": True})
