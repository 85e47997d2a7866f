"""Faults of the inputs: wrong ones are accepted, or end the process."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core import preprocess
from harness.core.artifact import Artifact, TensorSpec
from harness.core.preprocess import Feeds, Outputs, Preprocess
from harness.testing.faults.arrays import changed, wrong
from harness.testing.faults.fault import Call, Compute, Fault, Kind, Plant
from harness.testing.faults.processes import die

ACCEPTED = ("accept", "refuse", "swallow", "bad input", "wrong input")
ADVICE = "a gate that allows no wrong input to be accepted"


class _Accepts(Plant, ABC):
    """Repairs what the model does not take, without a word."""

    @abstractmethod
    def repair(self, feeds: Feeds, specs: tuple[TensorSpec, ...]) -> Feeds:
        """Make of the feeds what the model takes."""

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run on repaired feeds."""
        return compute(self.repair(feeds, call.inputs))


class AcceptsShape(_Accepts):
    """Cuts or repeats the values until the shape fits."""

    def repair(self, feeds: Feeds, specs: tuple[TensorSpec, ...]) -> Feeds:
        """Give each input its shape."""
        return {
            **feeds,
            **{spec.name: _fitted(feeds[spec.name], spec) for spec in specs if spec.name in feeds},
        }


def _fitted(x: Any, spec: TensorSpec) -> Any:  # noqa: ANN401 - whatever was fed
    if not isinstance(x, np.ndarray):
        return x
    lengths = x.shape if x.ndim == len(spec.shape) else (1,) * len(spec.shape)
    shape = tuple(length if size is None else size for size, length in zip(spec.shape, lengths, strict=True))
    return x if shape == x.shape else np.resize(x, shape)


class AcceptsDtype(_Accepts):
    """Casts any dtype, or one dtype, to the one of the model."""

    def __init__(self, size: float, dtype: str = "") -> None:
        super().__init__(size)
        self._dtype = dtype

    def repair(self, feeds: Feeds, specs: tuple[TensorSpec, ...]) -> Feeds:
        """Cast."""
        repaired = dict(feeds)
        for spec in specs:
            x = feeds.get(spec.name)
            if isinstance(x, np.ndarray) and x.dtype != spec.dtype and self._dtype in ("", x.dtype.name):
                repaired[spec.name] = x.astype(spec.dtype)
        return repaired


class AcceptsMissing(_Accepts):
    """Takes zeros for an input that is missing, and ignores names that the model does not have."""

    def repair(self, feeds: Feeds, specs: tuple[TensorSpec, ...]) -> Feeds:
        """Fill and drop."""
        return {
            spec.name: feeds[spec.name]
            if spec.name in feeds
            else np.zeros([size or 1 for size in spec.shape], spec.dtype)
            for spec in specs
        }


def _floats(feeds: Feeds) -> dict[str, Any]:
    return {
        name: x
        for name, x in feeds.items()
        if isinstance(x, np.ndarray) and np.issubdtype(x.dtype, np.floating)
    }


class SwallowsNan(_Accepts):
    """Takes zero for NaN, and the largest numbers for infinity."""

    def repair(self, feeds: Feeds, specs: tuple[TensorSpec, ...]) -> Feeds:
        """Replace."""
        return {**feeds, **{name: np.nan_to_num(x) for name, x in _floats(feeds).items()}}


class ClipsInfinity(_Accepts):
    """Takes a large number for infinity."""

    def repair(self, feeds: Feeds, specs: tuple[TensorSpec, ...]) -> Feeds:
        """Clip."""
        return {**feeds, **{name: np.clip(x, -self.size, self.size) for name, x in _floats(feeds).items()}}


class CrashesOnNan(Plant):
    """The process is killed by SIGSEGV where an input is not finite."""

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run, or crash."""
        if not all(np.isfinite(x).all() for x in _floats(feeds).values()):
            die(signal.SIGSEGV)
        return compute(feeds)


class SpoiledByRefusal(Plant):
    """A session that has refused a call answers all later ones wrongly."""

    def __init__(self, size: float) -> None:
        super().__init__(size)
        self._spoiled: set[int] = set()

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run; after a refusal, change the answers."""
        try:
            outputs = compute(feeds)
        except Exception:
            self._spoiled.add(call.number)
            raise
        return changed(call, outputs, wrong) if call.number in self._spoiled else outputs


class WrongPreprocessing(Plant):
    """The device prepares each input otherwise than the host."""

    def start(self, artifact: Artifact) -> None:
        """Replace the function that prepares samples, for the rest of this process."""
        super().start(artifact)
        real, size = preprocess.apply, self.size

        def apply(raw: NDArray[Any], step: Preprocess) -> NDArray[Any]:
            x = real(raw, step)
            return (x * size).astype(x.dtype) if x.dtype.kind == "f" else x

        preprocess.apply = apply


FAULTS = (
    Fault(
        "wrong-preprocessing", Kind.INPUT, "the device multiplies each input by {size}", WrongPreprocessing,
        ("input", "preprocess", "digest", "differ"), "a gate on the digest of the inputs", 1.02, "factor",
    ),
    Fault(
        "accepts-shape", Kind.INPUT, "inputs of a wrong shape are accepted", AcceptsShape,
        (*ACCEPTED, "shape"), ADVICE, quick=True,
    ),
    Fault(
        "accepts-dtype", Kind.INPUT, "inputs of any dtype are accepted", AcceptsDtype,
        (*ACCEPTED, "dtype"), ADVICE,
    ),
    Fault(
        "accepts-missing", Kind.INPUT, "a missing input is taken as zeros", AcceptsMissing,
        (*ACCEPTED, "missing"), ADVICE,
    ),
    Fault(
        "casts-float64", Kind.INPUT, "float64 is cast to the dtype of the input",
        lambda size: AcceptsDtype(size, "float64"), (*ACCEPTED, "float64", "dtype"), ADVICE,
    ),
    Fault(
        "swallows-nan", Kind.INPUT, "NaN in an input is answered with finite numbers", SwallowsNan,
        (*ACCEPTED, "nan", "finite"), "a gate on what NaN in an input is answered with", quick=True,
    ),
    Fault(
        "clips-infinity", Kind.INPUT, "infinity in an input is taken for {size}", ClipsInfinity,
        (*ACCEPTED, "inf", "not the numbers"), "a gate on what infinity in an input is answered with", 1e6,
        beside_runtime=True,
    ),
    Fault(
        "crashes-on-nan", Kind.INPUT, "NaN in an input ends the process by SIGSEGV", CrashesOnNan,
        ("nan", "finite", "killed", "segv", "crash"), "a gate on what NaN in an input is answered with",
    ),
    Fault(
        "spoiled-by-refusal", Kind.INPUT, "a session that refused a call answers wrongly from then on",
        SpoiledByRefusal, ("after a wrong", "recover"), "a gate on correct calls after a wrong one",
    ),
)  # fmt: skip
