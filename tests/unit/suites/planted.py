"""A numpy runtime with faults that a test asks for by ``Options.extra``; a bench and a clock to drive it.

The model file is ``<4 bytes magic><float32 weights (features, 3)>``; the model is ``x @ w``.
"""

from __future__ import annotations

import atexit
import itertools
import mmap
import os
import signal
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from harness.core.artifact import Artifact, TensorSpec, describe_file, sha256_file
from harness.core.contracts import Availability, DeviceCall, Profile
from harness.core.errors import BackendError
from harness.core.job import Batch, Case, DataRef, Job, Options, Samples, merge
from harness.core.preprocess import Feeds, Outputs, Preprocess
from harness.device.files import FileStore
from harness.device.worker import EXIT, DeviceBench, StoredData

MAGIC = b"PLNT"
FEATURES, ANSWERS, ROWS = 4, 3, 12
_serial = itertools.count(1)


def to_bfloat16(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return (x.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def spin(cpu_ns: int) -> None:
    """Use CPU time, however little of it this machine gives."""
    end = time.thread_time_ns() + cpu_ns
    while time.thread_time_ns() < end:
        pass


class Leftovers:
    """What sessions with such a fault leave behind, until a test clears it."""

    BYTE = 4_000_000
    memory: ClassVar[list[mmap.mmap]] = []
    descriptors: ClassVar[list[int]] = []
    waiting: ClassVar[list[threading.Event]] = []

    @classmethod
    def add(cls, fault: str) -> None:
        if fault == "leaks":
            # Pages of its own: the heap of a process that ran other tests has free ones.
            cls.memory.append(mmap.mmap(-1, cls.BYTE))
            cls.memory[-1].write(b"1" * cls.BYTE)
        if fault == "descriptors":
            cls.descriptors.append(os.open(os.devnull, os.O_RDONLY))
        if fault == "leftover threads":
            cls.waiting.append(threading.Event())
            threading.Thread(target=cls.waiting[-1].wait, daemon=True).start()
        if fault == "files":
            os.close(tempfile.mkstemp()[0])
        if fault == "locks the process":
            os.environ["LEFT_BY_A_TEST"] = str(next(_serial))  # another value each time
        if fault == "exit":
            atexit.register(os.kill, os.getpid(), signal.SIGKILL)

    @classmethod
    def clear(cls) -> None:
        while cls.memory:
            cls.memory.pop().close()
        while cls.descriptors:
            os.close(cls.descriptors.pop())
        while cls.waiting:
            cls.waiting.pop().set()


class PlantedSession:
    #: By identity and weakly: a test that closes one twice, or never, changes no other test.
    open_sessions: ClassVar[weakref.WeakSet[PlantedSession]] = weakref.WeakSet()
    opened = 0

    def __init__(self, weights: np.ndarray[Any, Any], options: Options) -> None:
        self.fault = options.extra.get("fault", "")
        fixed = options.extra.get("batch")
        rows = int(fixed) if fixed else None
        self.inputs = (TensorSpec("x", (rows, FEATURES), "float32"),)
        self.outputs = (TensorSpec("y", (rows, ANSWERS), "float32"),)
        self.threads = options.threads or 1
        self.effective = {
            "provider": "other" if self.fault == "provider" else options.provider or "numpy",
            "precision": "bf16" if self.fault == "precision" else "f32",
            "threads": "1" if self.fault == "busy thread" else str(self.threads),
        }
        self._weights, self._runs, self._serial = weights, 0, next(_serial)
        self._wrong_calls = 0
        self._previous: np.ndarray[Any, Any] | None = None
        self._buffer = np.zeros((256, ANSWERS), np.float32)

    def run(self, feeds: Feeds) -> Outputs:
        self._runs += 1
        x = feeds.get("x")
        rows = self.inputs[0].shape[0]
        fits = (
            set(feeds) == {"x"}
            and x is not None
            and x.dtype == np.float32
            and x.ndim == 2
            and x.shape[1] == FEATURES
            and rows in (None, len(x))
        )
        if not fits:
            self._wrong_calls += 1
            if self.fault == "accepts":
                return {"y": np.zeros((1, ANSWERS), np.float32)}
            if self.fault == "raises":
                raise KeyError("x")
            raise BackendError("the feeds do not fit")
        assert x is not None
        if self.fault == "hides":
            x = np.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)
        if self.fault == "strides" and not x.flags.c_contiguous:
            x = np.asarray(x.base if x.base is not None else x).ravel(order="K")[: x.size].reshape(x.shape)
        if self.fault == "needs writable" and not x.flags.writeable:
            raise ValueError("the array is read-only")
        if self.fault == "short inputs":
            x = to_bfloat16(x)
        if self.fault == "busy thread":
            with ThreadPoolExecutor(1) as pool:
                pool.submit(spin, 5_000_000).result()
            spin(4_000_000)
        with np.errstate(invalid="ignore", over="ignore"):
            y = (x[:, :, None] * self._weights).sum(axis=1)
        nudges = {
            "each_run": self._runs,
            "each_session": self._serial,
            "each_process": os.getpid() % 1000,
            "batch": len(x) - 1,
            "batch 7": len(x) == 7,
            "batch 21": len(x) == 21,
            "above 32": len(x) > 32,
            "position": np.arange(len(x))[:, None],
            "threads": self.threads - 1,
            "3 threads": self.threads == 3,
            "after reloads": PlantedSession.opened > 5,
            "two sessions": len(PlantedSession.open_sessions) > 1,
            "poisoned": self._wrong_calls,
        }
        y = (y + np.float32(2.0**-10) * np.float32(nudges.get(self.fault, 0))).astype(np.float32)
        if self.fault == "stale":
            y, self._previous = (y if self._previous is None else self._previous), y
        if self.fault == "buffer":
            self._buffer[: len(y)] = y
            y = self._buffer[: len(y)]
        if self.fault == "writes":
            x[0, 0] += 1
        forms: dict[str, Callable[[Any], Any]] = {
            "twice": lambda y: np.concatenate([y, y]),
            "short": lambda y: y[:-1],
            "short answers": to_bfloat16,
            "float64": lambda y: y.astype(np.float64),
            "complex": lambda y: y.astype(np.complex64),
            "objects": lambda y: y.astype(object),
        }
        return {"y": forms.get(self.fault, lambda y: y)(y)}

    def __enter__(self) -> Self:
        PlantedSession.open_sessions.add(self)
        PlantedSession.opened += 1
        return self

    def __exit__(self, *exc: object) -> None:
        PlantedSession.open_sessions.discard(self)


class BindingSession(PlantedSession):
    def bind(self, feeds: Feeds) -> Callable[[], object]:
        if self.fault == "bound differs":
            return lambda: {"y": self.run(feeds)["y"] * np.float32(1.01)}
        if self.fault == "bound is silent":
            return lambda: None
        return lambda: self.run(feeds)


class ProfiledSession(PlantedSession):
    """Two kernels: one runs once a call, the other three times."""

    def profile(self, feeds: Feeds, calls: int) -> Profile:
        return {
            ("n0", "MatMul"): np.full(calls, 700, np.int64),
            ("n1", "Loop"): np.full(3 * calls, len(feeds["x"]), np.int64),
        }


class DeviceSession(PlantedSession):
    """Buffers of its own: a call looks at the feeds that were bound, and costs nothing else."""

    def bind_device(self, feeds: Feeds) -> DeviceCall:
        class Call:
            outputs: Outputs

            def __call__(call) -> None:  # noqa: N805 - self is the session
                call.outputs = self.run(feeds)

            def fetch(call) -> Outputs:  # noqa: N805
                return call.outputs

        return Call()


class PlantedBackend:
    cache: ClassVar[dict[str, bytes]] = {}
    name = "planted"
    formats = ("onnx",)

    def probe(self) -> Availability:
        return Availability("1.0", ("numpy",))

    def open(self, artifact: Artifact, options: Options) -> PlantedSession:
        fault = options.extra.get("fault", "")
        data = artifact.path.read_bytes()
        damaged = sha256_file(artifact.path) != artifact.files[0].sha256
        Leftovers.add(fault)
        if damaged and fault == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if damaged and fault == "hang":
            # What the alarm would do after its time; it has to be set.
            assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
            signal.raise_signal(signal.SIGALRM)
        if damaged and fault == "refuses":
            raise BackendError("the file is damaged")
        if options.threads and str(options.threads) == options.extra.get("not_threads"):
            raise BackendError(f"{options.threads} threads cannot be had")
        if fault == "cached":
            data = PlantedBackend.cache.setdefault(artifact.files[0].sha256, data)
        if data[:4] != MAGIC or len(data) != artifact.files[0].size_byte:
            raise BackendError("not a planted model")
        weights = np.frombuffer(data[4:], np.float32).reshape(FEATURES, ANSWERS)
        kinds = {"1": BindingSession, "device": DeviceSession, "profile": ProfiledSession}
        kind = kinds.get(options.extra.get("binds", ""), PlantedSession)
        return kind(weights, options)


class StepClock:
    """Nanoseconds that pass only when a call says so."""

    def __init__(self) -> None:
        self.now_ns = 1_000

    def __call__(self) -> int:
        return self.now_ns


def rows() -> np.ndarray[Any, Any]:
    return np.random.default_rng(3).normal(size=(ROWS, FEATURES)).astype(np.float32)


def batch(folder: Path, suite: str, cases: tuple[Case, ...], extra: Mapping[str, str] | None = None) -> Batch:
    """A model, a data set in the store below `folder`, and the cases; both settings take `extra`."""
    model = folder / "model.bin"
    weights = np.random.default_rng(1).normal(size=(FEATURES, ANSWERS)).astype(np.float32)
    model.write_bytes(MAGIC + weights.tobytes())
    data = folder / "data"
    data.mkdir()
    np.save(data / "x.npy", rows())
    digest = sha256_file(data / "x.npy")
    (data / "x.npy").rename(data / f"{digest}.npy")
    options = Options(threads=1, precision="f32", provider="numpy", extra=dict(extra or {}))
    return Batch(
        "here",
        "planted",
        "float32",
        suite,
        Artifact("float32", "onnx", (describe_file(model),), folder),
        {"parity": options, "deploy": options},
        {"x": Preprocess()},
        {"clean": DataRef({"x": digest}, ROWS, rows().nbytes)},
        cases,
    )


class InProcessBench(DeviceBench):
    """The worker's own bench; a spawned case runs in this process, or is only noted."""

    def __init__(self, batch: Batch, case: Case, folder: Path, measure: Any = None) -> None:
        job = Job(batch.target, batch.backend, batch.variant, batch.suite, case)
        super().__init__(batch, job, PlantedBackend(), StoredData(batch, FileStore(folder)))
        self.spawned: list[Case] = []
        self._measure = measure

    def spawn(self, case: Case, *, exits: bool = False) -> Samples:
        self.spawned.append(case)
        samples = merge(self._measure(self, case)) if self._measure else Samples()
        end = {EXIT: "ended with exit status 0"} if exits else {}
        return replace(samples, values={**samples.values, **end})
