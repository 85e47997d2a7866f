"""The third step of a run: targets → executors, and which backends can run on each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.core.contracts import Availability
from harness.core.errors import TargetUnavailable
from harness.core.executor import Executor
from harness.core.plan import HOST
from harness.core.target import Target
from harness.device import plugins
from harness.device.probe import probe
from harness.executors.abilities import abilities_of, make_executor
from harness.run import availability
from harness.run.observer import Observer
from harness.run.selection import Selection

#: Backends that can be the reference, in order.
REFERENCE_BACKENDS = ("onnxruntime", "tflite", "openvino")


@dataclass(frozen=True, slots=True)
class Connection:
    """The executors of a run, and what they can run.

    Parameters
    ----------
    executors : mapping of target to Executor
        With that of the host, which runs the reference.
    formats : mapping of backend to formats
        What each backend opens, best first.
    available : mapping of (target, backend) to Availability
    """

    executors: Mapping[str, Executor]
    formats: Mapping[str, tuple[str, ...]]
    available: Mapping[tuple[str, str], Availability]

    def close(self) -> None:
        """Release the devices."""
        _close(self.executors)


def connect(selection: Selection, store: Path, wait_s: float, observer: Observer) -> Connection:
    """Make the executors of all targets and of the host, and probe their backends.

    Parameters
    ----------
    selection : Selection
    store : Path
        The host's folder of files by hash.
    wait_s : float
        How long to wait for a board that is in use.
    observer : Observer

    Returns
    -------
    Connection
        The caller closes it. A device that cannot be reached is in it, with the reason.
    """
    observer.stage("probing targets")
    executors: dict[str, Executor] = {}
    try:
        for target in (*selection.targets, Target(HOST, "the reference", ())):
            executors[target.name] = make_executor(target, store, wait_s)
        formats, available = _probe_all(selection, executors, observer)
    except BaseException:
        _close(executors)
        raise
    return Connection(executors, formats, available)


def _close(executors: Mapping[str, Executor]) -> None:
    for executor in executors.values():
        executor.close()


def _probe_all(
    selection: Selection, executors: Mapping[str, Executor], observer: Observer
) -> tuple[dict[str, tuple[str, ...]], dict[tuple[str, str], Availability]]:
    """Formats of the named backends, and what can run on this machine and on the targets."""
    catalogue = plugins.catalogue(plugins.BACKENDS)
    named = dict.fromkeys(backend for target in selection.targets for backend in target.backends)
    # Probing loads a runtime: the others are probed only if the first cannot be the reference.
    first, *others = REFERENCE_BACKENDS
    local = probe(name for name in dict.fromkeys((*named, first)) if name in catalogue)
    variants = selection.validation.variants.values()
    prebuilt = any(table.files and "onnx" not in table.files for table in variants)
    if prebuilt or first not in local or local[first].reason:
        local |= probe(name for name in others if name in catalogue and name not in local)
    formats = {
        name: plugins.formats(catalogue[name]) for name in local if not local[name].reason or name in named
    }
    available = {(HOST, name): local[name] for name in local}
    for target in selection.targets:
        remote: Mapping[str, Availability] = local
        if not abilities_of(target).shares_python:
            observer.stage(f"preparing {target.name}")
            remote = _probe_device(target, executors[target.name])
        available.update(
            {(target.name, name): availability.for_target(target, remote[name]) for name in target.backends}
        )
    return formats, available


def _probe_device(target: Target, executor: Executor) -> Mapping[str, Availability]:
    """What can run on a device. Nothing can on one that cannot be reached; the other targets still run."""
    try:
        return executor.probe(target.backends)
    except TargetUnavailable as error:
        reason = "; ".join(filter(None, (error.what, error.where, error.cause)))
        return dict.fromkeys(target.backends, Availability(reason=reason, install=error.next_step))
