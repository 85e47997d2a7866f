"""A backend and its sessions with a planted fault; they have the abilities of the real ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from harness.core.artifact import Artifact
from harness.core.contracts import (
    Availability,
    Backend,
    DeviceCall,
    Session,
    SupportsBinding,
    SupportsDeviceBinding,
    SupportsState,
    SupportsThreads,
)
from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from harness.testing.faults.fault import Call, Compute, Plant


class PlantedBackend:
    """A real backend whose sessions have a fault."""

    def __init__(self, real: Backend, plant: Plant) -> None:
        self._real, self._plant = real, plant
        self.name, self.formats = real.name, real.formats
        self.opened = 0
        self.open_sessions = 0

    def probe(self) -> Availability:
        """Probe the real backend."""
        return self._plant.probe(self._real.probe())

    def open(self, artifact: Artifact, options: Options) -> Session:
        """Open with the real backend."""
        real = self._plant.open(self._real, artifact, options)
        call = Call(real.inputs, real.outputs, options, number=self.opened)
        self.opened += 1
        session = _kind(real)(real, self, self._plant, call)
        self.open_sessions += 1
        return session


class PlantedSession:
    """A real session with a fault in ``run``, and in what it reports."""

    def __init__(self, real: Session, backend: PlantedBackend, plant: Plant, call: Call) -> None:
        self._real: Any = real
        self._backend, self._plant, self._call = backend, plant, call
        self._is_open = True
        self.inputs, self.outputs = real.inputs, real.outputs
        self.effective = plant.effective(real.effective, call.options)

    def run(self, feeds: Feeds) -> Outputs:
        """Run once, with the fault."""
        return self._answer(self._real.run, feeds)

    def _answer(self, compute: Compute, feeds: Feeds) -> Outputs:
        call = self._call
        call.open_sessions = self._backend.open_sessions
        outputs = self._plant.run(call, compute, feeds)
        call.calls += 1
        return outputs

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else the real session has
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._real, name)

    def __enter__(self) -> Self:
        self._real.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._is_open:
            self._is_open = False
            self._backend.open_sessions -= 1
        self._real.__exit__(*exc)


class _Bound(PlantedSession):
    """See ``contracts.SupportsBinding``."""

    def bind(self, feeds: Feeds) -> Callable[[], Outputs]:
        call, answer = self._real.bind(feeds), self._answer

        def compute(_: Feeds) -> Outputs:
            outputs: Outputs = call()
            return outputs

        def bound() -> Outputs:
            self._call.bound = True
            try:
                return answer(compute, feeds)
            finally:
                self._call.bound = False

        return bound


class _Stateful(PlantedSession):
    """See ``contracts.SupportsState``."""

    def proceed(self, feeds: Feeds) -> Outputs:
        return self._answer(self._real.proceed, feeds)


class _Threaded(PlantedSession):
    """See ``contracts.SupportsThreads``."""

    def in_threads(self) -> Compute:
        compute = self._real.in_threads()
        return lambda feeds: self._answer(compute, feeds)


class _DeviceBound(PlantedSession):
    """See ``contracts.SupportsDeviceBinding``."""

    def bind_device(self, feeds: Feeds) -> DeviceCall:
        return _PlantedDeviceCall(self._real.bind_device(feeds), self._answer, feeds)


class _PlantedDeviceCall:
    """A call on a device: its time is changed where it is made, its outputs where they are fetched."""

    def __init__(self, real: DeviceCall, answer: Callable[[Compute, Feeds], Outputs], feeds: Feeds) -> None:
        self._real, self._answer, self._feeds = real, answer, feeds

    def __call__(self) -> None:
        def compute(_: Feeds) -> Outputs:
            self._real()
            return {}

        self._answer(compute, self._feeds)

    def fetch(self) -> Outputs:
        return self._answer(lambda _: self._real.fetch(), self._feeds)


#: Abilities whose methods give answers; all others are the real session's.
ABILITIES: tuple[tuple[type, type[PlantedSession]], ...] = (
    (SupportsBinding, _Bound), (SupportsState, _Stateful), (SupportsDeviceBinding, _DeviceBound),
    (SupportsThreads, _Threaded),
)  # fmt: skip


def _kind(real: Session) -> type[PlantedSession]:
    """The class with the abilities of a session.

    From Python 3.12 on, ``isinstance`` with a Protocol does not ask ``__getattr__``: the rest of the real
    session's public methods are set on the class.
    """
    parts = tuple(part for protocol, part in ABILITIES if isinstance(real, protocol))
    kind = type("PlantedSession", (*parts, *((PlantedSession,) if not parts else ())), {})
    for name in dir(type(real)):
        method = getattr(type(real), name)
        if not name.startswith("_") and callable(method) and not hasattr(kind, name):
            setattr(kind, name, _forwarded(name))
    return kind


def _forwarded(name: str) -> Callable[..., Any]:
    def method(session: PlantedSession, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - any method
        return getattr(session._real, name)(*arguments, **options)

    return method
