"""Backends for tests of the harness: one that does nothing, one in numpy, and several with faults."""

from __future__ import annotations

import os
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self

import numpy as np

from harness.core.artifact import Artifact, TensorSpec
from harness.core.commands import install
from harness.core.contracts import Availability, DeviceCall, Session
from harness.core.errors import BackendError
from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from harness.core.seam import check_feeds, confirm, opening, refusal
from harness.core.target import CUDA

PROVIDER = "numpy"


class NullSession:
    """Computes nothing: the time of a loop around it is the harness's overhead."""

    inputs = (TensorSpec("x", (None, 4), "float32"),)
    outputs = (TensorSpec("y", (None, 3), "float32"),)
    effective: Mapping[str, str]

    def __init__(self) -> None:
        self.effective = {"provider": PROVIDER, "precision": "f32", "threads": "1"}
        self._outputs = {"y": np.zeros((1, 3), np.float32)}

    def run(self, feeds: Feeds) -> Outputs:
        """Return the same zeros each time."""
        return self._outputs

    def bind(self, feeds: Feeds) -> Callable[[], Outputs]:
        """Return a call that returns the same zeros each time."""
        outputs = self._outputs
        return lambda: outputs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


class NullBackend:
    """Opens any file without reading it."""

    name = "null"
    formats: tuple[str, ...] = ("onnx", "tflite", "openvino")

    def probe(self) -> Availability:
        """It can always run."""
        return Availability("1", (PROVIDER,))

    def open(self, artifact: Artifact, options: Options) -> Session:
        """Open nothing."""
        return NullSession()


class NumpySession:
    """ONNX's own reference evaluator: slow, right, the same on every machine with the same numpy."""

    def __init__(self, path: Path, effective: Mapping[str, str]) -> None:
        import onnx
        from onnx.reference import ReferenceEvaluator

        model = onnx.load(path)
        onnx.checker.check_model(model)
        weights = {tensor.name for tensor in model.graph.initializer}
        self.inputs = tuple(_spec(value) for value in model.graph.input if value.name not in weights)
        self.outputs = tuple(_spec(value) for value in model.graph.output)
        self.effective = effective
        self._evaluator: Any = ReferenceEvaluator(model)

    def run(self, feeds: Feeds) -> Outputs:
        """Run once."""
        check_feeds(feeds, self.inputs)
        try:
            with np.errstate(all="ignore"):  # NaN is a valid result
                results = self._evaluator.run(None, {name: array.copy() for name, array in feeds.items()})
        except Exception as error:
            raise refusal(error, "the reference evaluator failed to run the model") from error
        return {spec.name: np.array(result) for spec, result in zip(self.outputs, results, strict=True)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._evaluator = None


class NumpyBackend:
    """Opens ONNX files with ``onnx.reference``."""

    name = "numpy"
    formats: tuple[str, ...] = ("onnx",)
    #: Options that ``extra`` may have.
    extra: ClassVar[tuple[str, ...]] = ()

    def probe(self) -> Availability:
        """It can run wherever numpy can."""
        return Availability(np.__version__, (PROVIDER,))

    def open(self, artifact: Artifact, options: Options) -> Session:
        """Open with one thread in float32."""
        with opening("the reference evaluator", install("host"), artifact, self.formats):
            unknown = set(options.extra) - set(self.extra)
            if unknown:
                raise BackendError(f"the reference evaluator has no option {', '.join(sorted(unknown))}")
            effective = {"provider": PROVIDER, "precision": "f32", "threads": "1"}
            confirm(options, effective)
            return NumpySession(artifact.path, effective)


def _spec(value: Any) -> TensorSpec:  # noqa: ANN401 - onnx.ValueInfoProto; onnx is optional
    from onnx.helper import tensor_dtype_to_np_dtype

    kind = value.type.tensor_type
    shape = tuple(size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim)
    return TensorSpec(value.name, shape, tensor_dtype_to_np_dtype(kind.elem_type).name)


class GpuSession:
    """A simulated GPU: its memory is the host's, and numpy computes."""

    def __init__(self, inner: Session) -> None:
        self._inner = inner
        self.inputs, self.outputs = inner.inputs, inner.outputs
        self.effective = {**inner.effective, "provider": CUDA, "device_id": "0"}

    def run(self, feeds: Feeds) -> Outputs:
        """Run once."""
        return self._inner.run(feeds)

    def bind_device(self, feeds: Feeds) -> DeviceCall:
        """Copy to the simulated GPU."""
        return _GpuCall(self._inner, feeds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._inner.__exit__(*exc)


class _GpuCall:
    """See ``contracts.DeviceCall``."""

    def __init__(self, session: Session, feeds: Feeds) -> None:
        self._session = session
        self._outputs = {name: np.zeros_like(array) for name, array in session.run(feeds).items()}
        self._feeds = {name: array.copy() for name, array in feeds.items()}

    def __call__(self) -> None:
        for name, array in self._session.run(self._feeds).items():
            self._outputs[name][...] = array

    def fetch(self) -> Outputs:
        return {name: array.copy() for name, array in self._outputs.items()}


class GpuBackend(NumpyBackend):
    """Reports CUDA as its provider, so that GPU code can be tested without one."""

    name = "gpu"

    def probe(self) -> Availability:
        """It can run wherever numpy can."""
        return Availability(np.__version__, (CUDA,), device_memory=(CUDA,))

    def open(self, artifact: Artifact, options: Options) -> Session:
        """Open with numpy."""
        session = GpuSession(super().open(artifact, replace(options, provider="")))
        confirm(options, session.effective)
        return session


class FaultySession:
    """Runs correctly ``after`` times; then every run has the fault."""

    def __init__(self, inner: Session, strike: Callable[[Outputs], Outputs], after: int) -> None:
        self._inner, self._strike, self._after = inner, strike, after
        self.inputs, self.outputs, self.effective = inner.inputs, inner.outputs, inner.effective

    def run(self, feeds: Feeds) -> Outputs:
        """Run once, with the fault or without."""
        outputs = self._inner.run(feeds)
        if self._after > 0:
            self._after -= 1
            return outputs
        return self._strike(outputs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._inner.__exit__(*exc)


class FaultyBackend(NumpyBackend, ABC):
    """``NumpyBackend`` with a planted fault; ``options.extra["after"]`` counts the good runs before it."""

    extra = ("after",)

    def open(self, artifact: Artifact, options: Options) -> Session:
        """Open without a fault: it is in ``run``."""
        after = int(options.extra.get("after", "0"))
        return FaultySession(super().open(artifact, options), self.strike, after)

    @staticmethod
    @abstractmethod
    def strike(outputs: Outputs) -> Outputs:
        """Make the fault; each subclass has its own."""


class SegfaultBackend(FaultyBackend):
    """Is killed by SIGSEGV, like a runtime with a bug."""

    name = "segfault"

    @staticmethod
    def strike(outputs: Outputs) -> Outputs:
        """Kill this process."""
        _die(signal.SIGSEGV)


class KilledBackend(FaultyBackend):
    """Is killed by SIGKILL, as by the kernel's out-of-memory killer."""

    name = "killed"

    @staticmethod
    def strike(outputs: Outputs) -> Outputs:
        """Kill this process."""
        _die(signal.SIGKILL)


class HangingBackend(FaultyBackend):
    """Never returns."""

    name = "hanging"

    @staticmethod
    def strike(outputs: Outputs) -> Outputs:
        """Wait for ever."""
        threading.Event().wait()
        raise AssertionError("unreachable")


class RaisingBackend(FaultyBackend):
    """Raises an exception that is not a ``BackendError``."""

    name = "raising"

    @staticmethod
    def strike(outputs: Outputs) -> Outputs:
        """Raise."""
        raise RuntimeError("planted fault")


class WrongNumbersBackend(FaultyBackend):
    """Adds one thousandth to each number."""

    name = "wrong_numbers"

    @staticmethod
    def strike(outputs: Outputs) -> Outputs:
        """Add a thousandth."""
        return {name: np.asarray(array + 1e-3, array.dtype) for name, array in outputs.items()}


class FallingBackBackend(NumpyBackend):
    """Opens on its one provider whatever was requested, and reports it only in ``effective``."""

    name = "falling_back"

    def open(self, artifact: Artifact, options: Options) -> Session:
        """Open with no options."""
        return super().open(artifact, Options())


def _die(number: signal.Signals) -> NoReturn:
    os.kill(os.getpid(), number)
    threading.Event().wait()  # the signal can arrive a moment later
    raise AssertionError("unreachable")


def register(folder: Path, plugins: Mapping[str, Mapping[str, str]], *, distribution: str = "fakes") -> Path:
    """Write an installed distribution without code: entry points for processes with `folder` on their path.

    Parameters
    ----------
    folder : Path
        To be put on ``PYTHONPATH`` (or ``sys.path``).
    plugins : mapping of group to mapping of name to ``module:object``
        ``{"harness.backends": {"numpy": "harness.testing.fakes:NumpyBackend"}}``.
    distribution : str
        Its name.

    Returns
    -------
    Path
        `folder`.
    """
    place = folder / f"{distribution}-1.0.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    groups = (
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in plugins.items()
    )
    (place / "entry_points.txt").write_text("\n".join(groups))
    return folder
