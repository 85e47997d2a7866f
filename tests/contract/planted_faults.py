"""The conformance kit on backends with one fault each; run by test_kit_can_fail.py, and meant to fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from harness.core.artifact import Artifact
from harness.core.contracts import Availability, Session
from harness.core.errors import BackendError
from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from harness.testing.conformance import BackendConformance
from harness.testing.fakes import (
    FallingBackBackend,
    GpuBackend,
    GpuSession,
    NumpyBackend,
    NumpySession,
    RaisingBackend,
    WrongNumbersBackend,
)


class Planted(BackendConformance):
    #: Tests of the kit that have to find the fault.
    found_by: ClassVar[frozenset[str]]


class _Spoiled(NumpySession):
    """``run`` goes through ``spoil``; ``memory`` is the session's own."""

    spoil: Callable[[Callable[[Feeds], Outputs], Feeds, dict[str, Any]], Outputs]

    def run(self, feeds: Feeds) -> Outputs:
        if not hasattr(self, "memory"):
            self.memory: dict[str, Any] = {}
        return type(self).spoil(super().run, feeds, self.memory)


def _with(spoil: Callable[..., Outputs]) -> Callable[[], NumpyBackend]:
    kind = type("Spoiled", (_Spoiled,), {"spoil": staticmethod(spoil)})

    class Backend(NumpyBackend):
        def open(self, artifact: Artifact, options: Options) -> Session:
            session = super().open(artifact, options)
            session.__class__ = kind
            return session

    return Backend


def _overwrites(run: Any, feeds: Feeds, memory: dict[str, Any]) -> Outputs:
    outputs = run(feeds)
    key = str(outputs["y"].shape)
    memory.setdefault(key, outputs["y"])[...] = outputs["y"]
    return {"y": memory[key]}


class TestOverwritesOutputs(Planted):
    backend = _with(_overwrites)
    found_by = frozenset({"test_outputs_belong_to_the_caller"})


class _NamesNodes(NumpyBackend):
    """Calls an output by the node that makes it."""

    def open(self, artifact: Artifact, options: Options) -> Session:
        session = super().open(artifact, options)
        session.outputs = tuple(replace(spec, name=f"node_of_{spec.name}") for spec in session.outputs)  # type: ignore[misc]
        return session


class TestNamesNodes(Planted):
    backend = _NamesNodes
    found_by = frozenset({"test_specs_describe_the_model"})


def _returns_view(run: Any, feeds: Feeds, _: Any) -> Outputs:
    outputs, x = run(feeds), next(iter(feeds.values()))
    same = x.size == outputs["y"].size and np.array_equal(x.ravel(), outputs["y"].ravel())
    return {"y": x.reshape(outputs["y"].shape)} if same else outputs


class TestReturnsViewOfInput(Planted):
    backend = _with(_returns_view)
    found_by = frozenset({"test_inputs_belong_to_the_caller"})


def _writes(run: Any, feeds: Feeds, _: Any) -> Outputs:
    outputs = run(feeds)
    for array in feeds.values():
        array[...] = 0
    return outputs


class TestWritesInputs(Planted):
    backend = _with(_writes)
    found_by = frozenset({"test_inputs_belong_to_the_caller", "test_any_layout_in_memory"})


def _casts(run: Any, feeds: Feeds, _: Any) -> Outputs:
    return run({name: np.asarray(array, np.float32) for name, array in feeds.items()})


class TestCastsSilently(Planted):
    backend = _with(_casts)
    found_by = frozenset({"test_mistake_is_refused_and_harms_nothing"})


def _fits(run: Any, feeds: Feeds, memory: dict[str, Any]) -> Outputs:
    memory.setdefault("row", {name: array.shape[1:] for name, array in feeds.items()})
    try:
        return run({name: array.reshape(-1, *memory["row"][name]) for name, array in feeds.items()})
    except (ValueError, KeyError, AttributeError) as error:
        raise BackendError("no") from error


class TestReshapesSilently(Planted):
    backend = _with(_fits)
    found_by = frozenset({"test_mistake_is_refused_and_harms_nothing"})


def _reuses(run: Any, feeds: Feeds, memory: dict[str, Any]) -> Outputs:
    outputs = run({**memory, **feeds})
    memory.update(feeds)
    return outputs


class TestReusesLastInput(Planted):
    backend = _with(_reuses)
    found_by = frozenset({"test_mistake_is_refused_and_harms_nothing"})


def _breaks(run: Any, feeds: Feeds, memory: dict[str, Any]) -> Outputs:
    try:
        outputs = run(feeds)
    except BackendError:
        memory["broken"] = True
        raise
    return {"y": outputs["y"] * 0} if memory else outputs


class TestBreaksAfterRefusal(Planted):
    backend = _with(_breaks)
    found_by = frozenset({"test_mistake_is_refused_and_harms_nothing"})


def _hides(run: Any, feeds: Feeds, _: Any) -> Outputs:
    return {"y": np.nan_to_num(run(feeds)["y"])}


class TestHidesNan(Planted):
    backend = _with(_hides)
    found_by = frozenset({"test_nan_is_not_hidden", "test_infinity_is_not_hidden"})


def _wavers(run: Any, feeds: Feeds, memory: dict[str, Any]) -> Outputs:
    memory["calls"] = memory.get("calls", 0) + 1
    return {"y": run(feeds)["y"] + np.float32(1e-7 * memory["calls"])}


class TestWavers(Planted):
    backend = _with(_wavers)
    found_by = frozenset({"test_repeats_are_equal_bit_by_bit"})


def _double(run: Any, feeds: Feeds, _: Any) -> Outputs:
    return {"y": run(feeds)["y"].astype(np.float64)}


class TestReturnsDoubles(Planted):
    backend = _with(_double)
    found_by = frozenset({"test_results_agree_with_numpy"})


class TestWrongNumbers(Planted):
    backend = WrongNumbersBackend
    found_by = frozenset({"test_results_agree_with_numpy", "test_batch_may_change"})


class TestRaisesItsOwn(Planted):
    backend = RaisingBackend
    found_by = frozenset({"test_results_agree_with_numpy", "test_batch_may_change"})


class TestFallsBack(Planted):
    backend = FallingBackBackend
    found_by = frozenset({"test_what_cannot_be_had_is_refused"})


class BindsLate(NumpyBackend):
    """Binds the caller's own arrays."""

    def open(self, artifact: Artifact, options: Options) -> Session:
        session = super().open(artifact, options)
        session.bind = lambda feeds: lambda: session.run(feeds)  # type: ignore[attr-defined]
        return session


class TestBindsLate(Planted):
    backend = BindsLate
    found_by = frozenset({"test_bound_call_keeps_its_feeds", "test_bind_refuses_what_run_refuses"})


class BindsOne(NumpyBackend):
    """Each ``bind`` replaces the one before."""

    def open(self, artifact: Artifact, options: Options) -> Session:
        session = super().open(artifact, options)
        bound: Feeds = {}

        def bind(feeds: Feeds) -> Callable[[], Outputs]:
            session.run(feeds)
            bound.update({name: array.copy() for name, array in feeds.items()})
            return lambda: session.run(bound)

        session.bind = bind  # type: ignore[attr-defined]
        return session


class TestBindsOne(Planted):
    backend = BindsOne
    found_by = frozenset({"test_two_bound_calls_do_not_meet"})


def _device(kind: type) -> Callable[[], GpuBackend]:
    """A backend whose calls on device buffers are of `kind`, made of the session and the feeds."""

    class Planted(GpuSession):
        def bind_device(self, feeds: Feeds) -> Any:
            return kind(self, feeds)

    class Backend(GpuBackend):
        def open(self, artifact: Artifact, options: Options) -> Session:
            session = super().open(artifact, options)
            session.__class__ = Planted
            return session

    return Backend


class _Early:
    """Returns while the device computes: what a call asked for is there after the next one."""

    def __init__(self, session: Session, feeds: Feeds) -> None:
        self.session, self.feeds = session, {name: array.copy() for name, array in feeds.items()}
        self.queue: list[Outputs] = []
        self.outputs = {name: np.zeros_like(array) for name, array in session.run(feeds).items()}

    def __call__(self) -> None:
        self.queue.append(self.session.run(self.feeds))
        if len(self.queue) > 1:
            self.outputs = self.queue.pop(0)

    def fetch(self) -> Outputs:
        return {name: array.copy() for name, array in self.outputs.items()}


class TestReturnsBeforeTheDeviceHasFinished(Planted):
    backend = _device(_Early)
    found_by = frozenset({"test_device_call_has_run_when_it_returns", "test_two_device_calls_do_not_meet"})


class _Late(_Early):
    """Reads the caller's own arrays, keeps its outputs, and looks at the feeds only when it is called."""

    def __init__(self, session: Session, feeds: Feeds) -> None:
        self.session, self.feeds = session, feeds

    def __call__(self) -> None:
        self.outputs = self.session.run(self.feeds)

    def fetch(self) -> Outputs:
        return self.outputs


class TestBindsLateOnTheDevice(Planted):
    backend = _device(_Late)
    found_by = frozenset(
        {
            "test_device_call_has_run_when_it_returns",
            "test_two_device_calls_do_not_meet",
            "test_bind_device_refuses_what_run_refuses",
        }
    )


class SaysNothingOfItsMemory(GpuBackend):
    """Its sessions bind buffers on the device, and its probe does not say so."""

    def probe(self) -> Availability:
        return replace(super().probe(), device_memory=())


class TestSaysNothingOfItsMemory(Planted):
    backend = SaysNothingOfItsMemory
    found_by = frozenset({"test_probe_knows_where_buffers_can_be_bound"})


class OpensAnything(NumpyBackend):
    """Opens the last good file where this one is damaged."""

    def open(self, artifact: Artifact, options: Options) -> Session:
        try:
            return super().open(artifact, options)
        except BackendError:
            session = NumpySession.__new__(NumpySession)
            session.inputs = session.outputs = ()
            return session


class TestOpensAnything(Planted):
    backend = OpensAnything
    found_by = frozenset({"test_truncated_file_is_refused", "test_missing_file_is_refused"})


class TestKnownFailureThatPasses(BackendConformance):
    backend = NumpyBackend
    expected_failures: ClassVar = {"test_batch_may_change": "a reason that is no longer true"}
    found_by = frozenset({"test_batch_may_change"})
