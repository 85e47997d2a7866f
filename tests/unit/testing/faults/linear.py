"""A session that multiplies by a matrix, and how a fault is planted around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import Artifact, File, TensorSpec
from harness.core.contracts import Availability, Session
from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from harness.core.seam import check_feeds
from harness.testing.faults import FAULTS

MATRIX = np.random.default_rng(7).standard_normal((6, 4)).astype(np.float32)
ARTIFACT = Artifact("float32", "onnx", (File("m.onnx", "0" * 64, 0),), Path())
BY_NAME = {fault.name: fault for fault in FAULTS}


class Linear:
    """``y = x @ MATRIX``; counts what the host process does with it."""

    inputs = (TensorSpec("x", (None, 6), "float32"),)
    outputs: tuple[TensorSpec, ...] = (TensorSpec("y", (None, 4), "float32"),)
    most_threads = 64

    def __init__(self, options: Options, artifact: Artifact) -> None:
        self.options, self.artifact = options, artifact
        threads = str(min(options.threads or 1, self.most_threads))
        self.effective: Mapping[str, str] = {"provider": "numpy", "precision": "f32", "threads": threads}

    def run(self, feeds: Feeds) -> Outputs:
        check_feeds(feeds, self.inputs)
        return {"y": feeds["x"] @ MATRIX}

    def bind(self, feeds: Feeds) -> Callable[[], Outputs]:
        return lambda: self.run(feeds)

    def successor(self, number: int) -> int:
        return number + 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


class LinearBackend:
    name = "linear"
    formats: tuple[str, ...] = ("onnx",)

    def __init__(self) -> None:
        self.sessions: list[Linear] = []

    def probe(self) -> Availability:
        return Availability("1.0", ("numpy",))

    def open(self, artifact: Artifact, options: Options) -> Session:
        self.sessions.append(Linear(options, artifact))
        return self.sessions[-1]


def planted(name: str, size: float | None = None, backend: Any = None) -> Any:
    """A backend with a fault around `backend`."""
    return BY_NAME[name].wrap(backend or LinearBackend(), ARTIFACT, size)


def opened(name: str, size: float | None = None, **options: Any) -> Any:
    """A session with a fault."""
    return planted(name, size).open(ARTIFACT, replace(Options(), **options))


def samples(rows: int = 8, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((rows, 6)).astype(np.float32)


def right(x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(x @ MATRIX)
