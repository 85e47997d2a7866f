"""The seams. Each is small; an ability that only some have is a Protocol of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from numpy.typing import NDArray

from harness.core.artifact import Artifact, TensorSpec
from harness.core.feeding import Feeding
from harness.core.job import Case, Options, Samples
from harness.core.preprocess import Feeds, Outputs

Clock = Callable[[], int]
"""Monotonic time in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a backend can run here.

    Parameters
    ----------
    version : str
        Of the runtime; empty where it is not installed.
    devices : tuple of str
        That the runtime can use (providers, devices).
    reason : str
        Why it cannot run; empty if it can.
    install : str
        The command that installs it.
    unusable : mapping of str to (str, str)
        Devices that the runtime was built for and cannot use here: the reason, and how to fix it.
    device_memory : tuple of str
        Those of `devices` whose sessions are ``SupportsDeviceBinding``.
    """

    version: str = ""
    devices: tuple[str, ...] = ()
    reason: str = ""
    install: str = ""
    unusable: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    device_memory: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Availability:
        """Read what ``dataclasses.asdict`` gave, after its way through JSON."""
        return cls(
            value["version"],
            tuple(value["devices"]),
            value["reason"],
            value["install"],
            {name: (reason, fix) for name, (reason, fix) in value["unusable"].items()},
            tuple(value["device_memory"]),
        )


class Session(Protocol):
    """An open model. A context manager; ``run`` blocks and the caller owns what it returns."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def effective(self) -> Mapping[str, str]:
        """``provider``, ``precision`` and ``threads`` that are really in use.

        ``note``, where it is there, says what else somebody who ships the file has to know; the run shows it.
        """
        ...

    def run(self, feeds: Feeds) -> Outputs: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...


class Backend(Protocol):
    """A runtime. Its constructor does no I/O and imports nothing."""

    name: str
    formats: tuple[str, ...]

    def probe(self) -> Availability: ...
    def open(self, artifact: Artifact, options: Options) -> Session:
        """Open a model, or raise ``BackendError``; never something else than was asked for."""
        ...


@runtime_checkable
class SupportsState(Protocol):
    """Opens files that keep state between calls: ``run`` resets it before each call, ``proceed`` does not."""

    def proceed(self, feeds: Feeds) -> Outputs:
        """Run once with the state that the call before left; as ``run`` where a file keeps none."""
        ...


@runtime_checkable
class SupportsBinding(Protocol):
    """The fastest safe repeated call on fixed buffers."""

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        """Return a call that runs the model once on `feeds` and leaves the outputs readable to the host."""
        ...


@runtime_checkable
class SupportsThreads(Protocol):
    """One session answers several threads at once."""

    def in_threads(self) -> Callable[[Feeds], Outputs]:
        """Return the call that several threads may make at the same time."""
        ...


Profile = Mapping[tuple[str, str], NDArray[Any]]
"""Name and operator of a node to the times of its kernel, int64, ns, in order."""


@runtime_checkable
class SupportsProfile(Protocol):
    """Tells how long each kernel ran, in a session of its own: what is timed elsewhere is not slowed."""

    def profile(self, feeds: Feeds, calls: int) -> Profile:
        """Run the model `calls` times on `feeds`."""
        ...


@runtime_checkable
class SupportsPlacement(Protocol):
    """Tells on which provider each node really ran, in a session of its own."""

    def placement(self, feeds: Feeds) -> Mapping[str, tuple[int, int]]:
        """Run the model once; number of nodes and their time in ns, by provider."""
        ...


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a model takes of a microcontroller's memory.

    Parameters
    ----------
    arena_byte : int
        RAM for its tensors and what the runtime keeps beside them.
    flash_byte : int
        Flash for the file; the code of the kernels is not in it.
    """

    arena_byte: int
    flash_byte: int


@runtime_checkable
class SupportsFootprint(Protocol):
    """Tells the memory that the model takes on the device, wherever it was opened."""

    def footprint(self) -> Footprint:
        """Ask the runtime; raises ``BackendError`` if it does not tell."""
        ...


@runtime_checkable
class StandsIn(Protocol):
    """A backend whose runtime was built for this machine in place of another device.

    As on an emulated target, times and memory of the process say nothing, and a release does not rest on it.
    """

    stands_in_for: str


@dataclass(frozen=True, slots=True)
class Variation:
    """Other options that take one possible cause of a difference away.

    Parameters
    ----------
    kind : str
        What it changes: ``precision``, ``kernels``, ``saturation``, ``graph optimization``.
    text : str
        In words, as a noun: ``float32 arithmetic``.
    options : Options
        All of them, for ``Backend.open``.
    remedy : str
        Line of ``[deploy]`` of a target that asks for it.
    parts : tuple of Variation
        Each takes away a part of the same cause.
    """

    kind: str
    text: str
    options: Options
    remedy: str
    parts: tuple[Variation, ...] = ()


@runtime_checkable
class SupportsVariations(Protocol):
    """A backend that tells with which options its numbers change: ``harness explain`` tries them."""

    def variations(self, options: Options) -> tuple[Variation, ...]:
        """List them, without those that `options` already ask for. Opens nothing."""
        ...


class DeviceCall(Protocol):
    """A model bound to buffers in the memory of a device."""

    def __call__(self) -> None:
        """Run once; the device has finished when it returns. Nothing is copied from or to the host."""
        ...

    def fetch(self) -> Outputs:
        """Copy the outputs of the last call to the host; they belong to the caller."""
        ...


@runtime_checkable
class SupportsDeviceBinding(Protocol):
    """Inputs and outputs that stay in the memory of a device, which is not the host's."""

    def bind_device(self, feeds: Feeds) -> DeviceCall:
        """Copy `feeds` to the device, and make room there for the outputs."""
        ...


class DataAccess(Protocol):
    """The data sets of a batch, already on the device."""

    def feeds(self, name: str, start: int, stop: int) -> Feeds:
        """Canonical inputs of the rows `start` to `stop` of the set `name`, without constants."""
        ...

    def targets(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """The labels of those rows, shape (rows, …); of a set of a task that needs them on the device."""
        ...

    def __contains__(self, name: str) -> bool: ...


class BareModel(Protocol):
    """A model that is open in a runtime itself, without a backend."""

    def run(self, feeds: Feeds) -> list[Any]:
        """Run once on inputs by name; the outputs by position."""
        ...

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        """Return the fastest repeated call on these inputs."""
        ...


class Bench(Protocol):
    """What a measure may use on the device."""

    @property
    def artifact(self) -> Artifact: ...
    @property
    def beside(self) -> Artifact | None:
        """The file of ``Case.beside``; None where the backend has none."""
        ...

    @property
    def backend(self) -> str:
        """The name of the backend."""
        ...

    @property
    def backend_version(self) -> str:
        """As the backend reports it."""
        ...

    @property
    def clock(self) -> Clock: ...
    @property
    def data(self) -> DataAccess: ...

    def open(self, artifact: Artifact | None = None, *, setting: str = "", **options: Any) -> Session:
        """Open the batch's model, or another file, with the case's options changed by `options`."""
        ...

    def open_bare(self) -> BareModel:
        """Open the batch's model in the runtime that the backend loads, without the backend.

        Raises ``Unsupported`` where nothing tells which runtime that is.
        """
        ...

    def feeding(self, session: Session, artifact: Artifact | None = None) -> Feeding:
        """How samples go into the file of that session (the batch's, or another), and answers come back."""
        ...

    def spawn(self, case: Case, *, exits: bool = False) -> Samples:
        """Measure `case` in a fresh process; raises ``WorkerError`` if that process dies or hangs.

        With `exits` it ends like any program afterwards, with the teardown of its runtime, and the value
        ``exit`` of the samples says how: ``ended with exit status 0``. Without, the teardown is skipped.
        """
        ...

    def scratch(self) -> Path:
        """A folder of the case's own, deleted after it."""
        ...


Measure = Callable[[Bench, Case], Iterator[Samples]]
"""Yields the parts of a case as they are measured; parts are joined by ``job.merge``."""


class Unsupported(Exception):
    """Raised by a measure where the session lacks an ability: the job becomes a SKIPPED row."""
