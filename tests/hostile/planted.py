"""A worker that lies: a measure, and a backend, that write to the worker's own output what they want.

It runs with the standard library and numpy: the same file is sent to boards.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from harness.core.artifact import Artifact
from harness.core.contracts import Availability, Bench, Session
from harness.core.job import Case, Options, Samples
from harness.testing.fakes import NumpyBackend

#: Environment variable of the backend: which lie, by its name in ``LIES``.
LIE = "HARNESS_TEST_LIE"
LARGE = 100_000_000


class Mouth:
    """The output of the worker that this code runs in, and the key of its job."""

    def __init__(self, stream: BinaryIO, key: list[Any]) -> None:
        self.stream, self.key = stream, key

    def raw(self, data: bytes) -> None:
        self.stream.write(data)
        self.stream.flush()

    def frame(self, content: bytes = b"", **header: Any) -> None:
        self.raw(json.dumps({"arrays": [], **header}).encode() + b"\n" + content)

    def result(self, content: bytes = b"", **more: Any) -> None:
        whole = {
            "type": "result", "key": self.key, "status": "OK", "reason": "", "values": {}, "effective": {},
            "started_utc": "", "duration_ns": 1,
        }  # fmt: skip
        self.frame(content, **{**whole, **more})

    def array(self, dtype: str, shape: list[int], size_byte: int, content: bytes) -> None:
        self.result(content, arrays=[["x", dtype, shape, size_byte]])

    def other_key(self, **fields: Any) -> list[Any]:
        names = ("target", "backend", "setting", "variant", "suite", "case", "severity")
        return [fields.get(name, value) for name, value in zip(names, self.key, strict=True)]


def mouth(key: list[Any] | None = None) -> Mouth:
    """Find the worker's output among the variables of the functions that called this one."""
    frame: Any = sys._getframe()
    while frame.f_code.co_name != "serve":
        frame = frame.f_back
    return Mouth(frame.f_locals["stdout"], key or [])


def child_that_stays(say: Mouth) -> None:
    """Leave a process in a session of its own that has this worker's output, and exit."""
    command = [sys.executable, "-c", "import threading; threading.Event().wait()"]
    subprocess.Popen(command, stdout=say.stream.fileno(), start_new_session=True)
    os._exit(0)


def endless(say: Mouth) -> None:
    """Write a line that does not end."""
    while True:
        say.raw(b"x" * 2**20)


def repeat(say: Mouth, **header: Any) -> None:
    """Write the same frame again and again."""
    while True:
        say.frame(**header)


def unfinished(say: Mouth, data: bytes) -> None:
    """Write part of a frame, and wait until the host ends this process."""
    say.raw(data)
    threading.Event().wait()


def start_endlessly(say: Mouth) -> None:
    """Start the same job again and again."""
    repeat(say, type="start", key=say.key)


def raising(text: str) -> Callable[[Mouth], None]:
    """Raise an exception with that text."""

    def lie(say: Mouth) -> None:
        raise RuntimeError(text)

    return lie


#: What is sent, and what the reason of the job's ERROR has to say.
LIES: Mapping[str, tuple[Callable[[Mouth], None], str]] = {
    "bad JSON": (lambda say: say.raw(b"{nonsense\n"), "is not a frame"),
    "deep JSON": (lambda say: say.raw(b'{"arrays": ' + b"[" * 10**5 + b"\n"), "is not a frame"),
    "wrong schema": (lambda say: say.frame(type="result", key=say.key), "status is None"),
    "no type": (lambda say: say.frame(), "sent a None"),
    "status": (lambda say: say.result(status="GREAT"), "status is 'GREAT'"),
    "values": (lambda say: say.result(values=[1]), "values is a list of 1"),
    "effective": (lambda say: say.result(effective={"provider": 5}), "effective is a dict of 1"),
    "large number": (lambda say: say.result(values={"n": 10**400}), "more than 64 bits"),
    "key of another job": (lambda say: say.result(key=say.other_key(case="good 2")), "key is"),
    "key of another target": (lambda say: say.result(key=say.other_key(target="cpu2")), "key is"),
    "key that is a path": (
        lambda say: say.result(b"escaped!", key=say.other_key(target="../escaped"),
                               arrays=[["x", "|u1", [8], 8]]),
        "key is",
    ),
    "key of an ended job": (lambda say: say.result(key=say.other_key(case="good 1")), "key is"),
    "larger than announced": (lambda say: say.array("<f4", [2], 8, bytes(800)), "after the result"),
    "smaller than its shape": (lambda say: say.array("<f4", [3], 8, bytes(8)), "not its shape's size"),
    "object dtype": (lambda say: say.array("|O", [1], 8, bytes(8)), "dtype '|O'"),
    "structured dtype": (lambda say: say.array("f4,f4", [1], 8, bytes(8)), "dtype 'f4,f4'"),
    "negative shape": (lambda say: say.array("<f4", [-1], -4, bytes(4)), "shape [-1]"),
    "huge shape": (lambda say: say.array("<f4", [2**40], 2**42, b""), "larger than 4096 MiB"),
    "text that is not Unicode": (lambda say: say.array("<U1", [1], 4, b"\xff" * 4), "not Unicode"),
    "NaN for a count": (lambda say: say.result(duration_ns=float("nan")), "duration_ns is nan"),
    "negative count": (lambda say: say.result(duration_ns=-1), "duration_ns is -1"),
    "surrogate": (raising("broken \udc80 text"), "broken \\udc80 text"),
    "large reason": (raising("x" * LARGE), "(cut, 100,000"),
    "large header": (lambda say: say.result(status="ERROR", reason="x" * LARGE), "longer than 64 MiB"),
    "line without end": (endless, "longer than 64 MiB"),
    "frame without end": (lambda say: unfinished(say, b'{"arrays": ['), "passed its deadline"),
    "array without end": (
        lambda say: unfinished(say, b'{"arrays": [["x", "<f4", [9], 36]]}\n1'), "passed its deadline"
    ),
    "child that stays": (child_that_stays, "ended with exit status 0"),
    "exits with 0": (lambda say: os._exit(0), "ended with exit status 0"),
    "two results": (lambda say: say.result(), "after the result of this job"),
    "starts endlessly": (start_endlessly, "key is"),
    "wrong phase": (
        lambda say: say.frame(type="environment", phase="after", facts={}), "phase is 'after'"
    ),
    "wrong facts": (
        lambda say: say.frame(type="environment", phase="during", facts={"cpu_time": {"steal": None}}),
        "facts.cpu_time is",
    ),
    "asks for other files": (
        lambda say: repeat(say, type="need", kind="data", name="../../etc/passwd"), "name is '../../etc/"
    ),
}  # fmt: skip
#: Those that end only at their job's deadline.
SLOW = ("frame without end", "array without end")


def measure(bench: Bench, case: Case) -> Iterator[Samples]:
    """Yield one part, tell the lie that ``case.params["do"]`` names, yield another."""
    yield Samples({"x": np.arange(3)}, {"pid": os.getpid(), "home": str(Path.home())})
    match case.params.get("do"):
        case None:
            pass
        case "zero size":
            yield Samples({"empty": np.zeros((0, 3), np.float32)})
        case "objects":
            yield Samples({"y": np.array([object()])})
        case "structures":
            yield Samples({"y": np.zeros(1, "f4,f4")})
        case name:
            LIES[str(name)][0](mouth(list(bench.job.key)))  # type: ignore[attr-defined]
    yield Samples({"x": np.arange(3, 5)}, {"done": True})


class LyingBackend(NumpyBackend):
    """Computes rightly, and tells the lie that the environment names in the job of the clean data."""

    name = "lying"
    _serving: Any = None

    def probe(self) -> Availability:
        """Remember the worker, whose variables name its output and the job that runs."""
        frame: Any = sys._getframe()
        while frame is not None and frame.f_code.co_name != "serve":
            frame = frame.f_back
        LyingBackend._serving = frame
        return super().probe()

    def open(self, artifact: Artifact, options: Options) -> Session:
        """Lie, or open."""
        running = self._serving.f_locals if self._serving is not None else {}
        job = running.get("job")
        if job is not None and job.case.name == "clean":
            LIES[os.environ[LIE]][0](Mouth(running["stdout"], list(job.key)))
        return super().open(artifact, options)


class DyingBackend(NumpyBackend):
    """A runtime that kills its process when it opens a file, whatever file it is."""

    name = "dying"

    def open(self, artifact: Artifact, options: Options) -> Session:
        """Die."""
        os.kill(os.getpid(), signal.SIGSEGV)
        return super().open(artifact, options)


def dying_pass(model: object, calibration: object, options: object) -> object:
    """Kill the process that compresses."""
    os.kill(os.getpid(), signal.SIGSEGV)
    return model
