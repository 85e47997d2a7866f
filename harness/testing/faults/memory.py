"""Faults of memory and other resources of a process: they grow with calls or sessions."""

from __future__ import annotations

import os
import threading

import numpy as np

from harness.core.artifact import Artifact
from harness.core.contracts import Backend, Session
from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from harness.testing.faults.fault import Call, Compute, Fault, Kind, Plant

GROWS = ("leak", "grow", "memory", "byte")


def touched(size_byte: float) -> bytearray:
    """Memory that is really used: each byte was written."""
    return bytearray(b"\1") * int(size_byte)


class LeaksPerCall(Plant):
    """Each call leaves memory behind."""

    def __init__(self, size: float) -> None:
        super().__init__(size)
        self._left: list[bytearray] = []

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run, and leave memory behind."""
        self._left.append(touched(self.size))
        return compute(feeds)


class LeaksPerSession(Plant):
    """Each session leaves memory behind."""

    def __init__(self, size: float) -> None:
        super().__init__(size)
        self._left: list[bytearray] = []

    def open(self, backend: Backend, artifact: Artifact, options: Options) -> Session:
        """Open, and leave memory behind."""
        self._left.append(touched(self.size))
        return backend.open(artifact, options)


class LeaksDescriptors(Plant):
    """Each session leaves open files behind."""

    def open(self, backend: Backend, artifact: Artifact, options: Options) -> Session:
        """Open, and leave files open."""
        for _ in range(int(self.size)):
            os.open(os.devnull, os.O_RDONLY)
        return backend.open(artifact, options)


class LeaksThreads(Plant):
    """Each session leaves threads behind, which wait until the process ends."""

    def open(self, backend: Backend, artifact: Artifact, options: Options) -> Session:
        """Open, and leave threads behind."""
        for _ in range(int(self.size)):
            threading.Thread(target=threading.Event().wait, daemon=True).start()
        return backend.open(artifact, options)


class Peak(Plant):
    """The first call of a session uses more memory for a moment."""

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run, with the memory held."""
        held = np.ones(int(self.size), np.uint8) if call.calls == 0 else None
        outputs = compute(feeds)
        del held
        return outputs


FAULTS = (
    Fault(
        "leak-per-call", Kind.MEMORY, "each call leaves {size} bytes behind", LeaksPerCall, GROWS,
        "a limit on the growth of memory by call", 10_000, "byte", quick=True,
    ),
    Fault(
        "leak-per-session", Kind.MEMORY, "each session leaves {size} bytes behind", LeaksPerSession, GROWS,
        "a limit on the growth of memory by session", 2_000_000, "byte",
    ),
    Fault(
        "descriptors-per-session", Kind.MEMORY, "each session leaves {size} open file behind",
        LeaksDescriptors, ("descriptor", "open file", "files"),
        "a limit on the file descriptors that sessions leave behind", 1, "files", quick=True,
    ),
    Fault(
        "threads-per-session", Kind.MEMORY, "each session leaves {size} thread behind", LeaksThreads,
        ("thread",), "a limit on the threads that sessions leave behind", 1, "threads",
    ),
    Fault(
        "higher-peak", Kind.MEMORY, "the first call uses {size} bytes more for a moment", Peak,
        ("memory", "peak", "byte"), "a limit on the peak memory relative to an accepted run", 100e6,
        "byte",
    ),
)  # fmt: skip
