"""What the executor of a target declares, and how an executor is made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.core.contracts import StandsIn
from harness.core.errors import HarnessError
from harness.core.executor import Abilities, Executor
from harness.core.target import Target
from harness.device import plugins


def abilities_of(target: Target) -> Abilities:
    """Return what the executor of a target declares; emulated, too, where a backend of it stands in.

    Raises
    ------
    UsageError
        There is no executor of that name; names the nearest.
    HarnessError
        The plug-in cannot be loaded, or its declaration failed.
    """
    plugin = _plugin(target)
    declare = getattr(plugin.load(), "abilities", None)
    if declare is None:
        return Abilities()
    try:
        abilities = declare(target.executor)
    except Exception as error:
        raise HarnessError(
            f"the executor {plugin.name} of {plugin.distribution} failed to declare its abilities: {error}",
            where=f"target {target.name}", cause=type(error).__name__,
            next_step=f"fix or uninstall {plugin.distribution}",
        ) from error  # fmt: skip
    if not isinstance(abilities, Abilities):
        raise HarnessError(
            f"the executor {plugin.name} of {plugin.distribution} declares {type(abilities).__name__}",
            where=f"target {target.name}", next_step="return harness.core.executor.Abilities",
        )  # fmt: skip
    return replace(abilities, emulated=True) if _stands_in(target) else abilities


def _stands_in(target: Target) -> bool:
    """Whether a backend of the target is a build for this machine in place of another device."""
    installed = plugins.catalogue(plugins.BACKENDS)
    for name in target.backends:
        try:
            backend = plugins.choose(plugins.BACKENDS, name) if name in installed else None
        except HarnessError:
            continue  # its probe says what is wrong with it
        if isinstance(backend, StandsIn):  # an attribute of the class
            return True
    return False


def make_executor(target: Target, store: Path, wait_s: float = 0.0) -> Executor:
    """Make the executor of a target.

    Parameters
    ----------
    target : Target
    store : Path
        The host's folder of files by hash.
    wait_s : float
        How long to wait for a device that is locked.
    """
    if abilities_of(target).locks:
        target = replace(target, executor={**target.executor, "wait_s": wait_s})
    executor: Executor = _plugin(target).load()(target, store)
    return executor


def _plugin(target: Target) -> plugins.Plugin:
    return plugins.find(
        plugins.EXECUTORS, str(target.executor["kind"]), where=f"target {target.name}, executor.kind"
    )
