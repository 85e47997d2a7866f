"""A measure with the fault that its case names, on a board of a fleet."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from harness.core.contracts import Bench
from harness.core.job import Case, Samples


def measure(bench: Bench, case: Case) -> Iterator[Samples]:
    """Yield one part, do what ``case.params["do"]`` names, yield another."""
    yield Samples({"x": np.arange(3)}, {"pid": os.getpid(), "home": os.environ["HARNESS_CACHE"]})
    match case.params.get("do"):
        case "meet":
            # All have to be here at the same time, or all wait.
            folder = Path(case.params["folder"])
            (folder / case.name).touch()
            while len(list(folder.iterdir())) < case.params["count"]:
                threading.Event().wait(0.01)
        case "hang once":
            flag = Path(case.params["flag"])
            if not flag.exists():
                flag.touch()
                threading.Event().wait()
        case "hang":
            threading.Event().wait()
        case "sleep":
            threading.Event().wait(case.params["seconds"])
        case "read":
            assert case.data
            yield Samples({"sum": bench.data.feeds(case.data, 0, case.samples)["x"].sum(axis=1)})
        case "large":
            yield Samples({"large": np.arange(case.params["count"])})
        case "killed":
            os.kill(os.getpid(), 9)
    yield Samples({"x": np.arange(3, 5)}, {"done": True})
