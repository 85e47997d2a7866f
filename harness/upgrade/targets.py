"""Targets of a runtime, with its version pinned."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.config.targets import load_targets, target_files
from harness.core.errors import UsageError
from harness.core.target import Target
from harness.device import plugins
from harness.executors.abilities import abilities_of
from harness.executors.wheels import RUNTIMES, requirements

OLD, NEW = "old", "new"
SIDES = (OLD, NEW)
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?")
_VERSION = re.compile(r"[0-9][A-Za-z0-9.!+_-]*")


@dataclass(frozen=True, slots=True)
class TargetPair:
    """A target in both versions.

    Parameters
    ----------
    name, backend : str
        Of the target, and its backend that belongs to the runtime.
    targets : mapping of side to Target
    """

    name: str
    backend: str
    targets: Mapping[str, Target]

    @property
    def emulated(self) -> bool:
        """Its clock says nothing."""
        return abilities_of(self.targets[OLD]).emulated


def pairs(
    runtime: str, old: str, new: str, names: Sequence[str] = (), hosts: tuple[str, ...] = ()
) -> list[TargetPair]:  # fmt: skip
    """Pin a runtime on targets, to each version.

    Parameters
    ----------
    runtime : str
        A distribution, as pip calls it.
    names : sequence of str
        Targets; empty for every local one of that runtime.
    hosts : tuple of str
        The board of those that are reached over ssh.

    Raises
    ------
    UsageError
        No target has that runtime, one that is named has not, or it is none that this can be done on.
    """
    for version in (old, new):
        if not _VERSION.fullmatch(version):
            raise UsageError(f"{version!r} is not a version", next_step=f"pip index versions {runtime}")
    if old == new:
        raise UsageError(f"{old} and {new} are one version", next_step=f"pip index versions {runtime}")
    loaded = load_targets(names or target_files(), hosts)
    if names:
        chosen = loaded
        for target in loaded:
            _refuse(target, runtime)
    else:
        chosen = tuple(t for t in loaded if _backend(t, runtime) and _is_default(t))
    if not chosen:
        raise plugins.unknown("runtime", runtime, {name: None for t in loaded for name in _named(t)})
    return [
        TargetPair(
            target.name,
            _backend(target, runtime),
            {OLD: _pin(target, runtime, old), NEW: _pin(target, runtime, new)},
        )
        for target in chosen
    ]


def _refuse(target: Target, runtime: str) -> None:
    if not _backend(target, runtime):
        raise UsageError(
            f"the target {target.name} does not run {runtime}", where="--target",
            cause=f"it has {', '.join(_named(target))}",
        )  # fmt: skip
    if not abilities_of(target).alternates:
        raise UsageError(
            f"two versions cannot take turns on {target.name}", where="--target",
            cause=f"its executor {target.executor['kind']} cannot give both the same device",
            next_step="name local, emulated or ssh targets",
        )  # fmt: skip
    if len(boards := target.executor.get("hosts", ())) > 1:
        raise UsageError(
            f"{target.name} has {len(boards)} boards, and two versions are compared on one", where="--target",
            next_step=f"name one: --host {boards[0]}",
        )  # fmt: skip


def _is_default(target: Target) -> bool:
    """Whether a target is used if none is named: both versions can take turns on this machine's processor."""
    abilities = abilities_of(target)
    return abilities.alternates and abilities.uses_this_machine and not abilities.emulated


def _named(target: Target) -> dict[str, str]:
    """Distributions that a target's Python holds, and their extras (``[extra]``)."""
    extras = {}
    for text in requirements(target):
        if match := _REQUIREMENT.match(text):
            extras[_normal(match[1])] = match[2] or ""
    return extras


def _name(requirement: str) -> str:
    match = _REQUIREMENT.match(requirement)
    return _normal(match[1]) if match else ""


def _normal(name: str) -> str:
    """One spelling of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _backend(target: Target, runtime: str) -> str:
    """The backend of a target that belongs to a runtime; empty where there is none."""
    if _normal(runtime) not in _named(target):
        return ""
    matching = [backend for backend in target.backends if RUNTIMES.get(backend) == _normal(runtime)]
    return matching[0] if matching else target.backends[0]


def _pin(target: Target, runtime: str, version: str) -> Target:
    """The target with that version, and no backend but the one that belongs to it."""
    alone = replace(target, backends=(_backend(target, runtime),))
    # On this machine pip follows requirements, and chooses a numpy that suits the version. Wheels for another
    # one are unpacked one by one, so that all have to be named.
    abilities = abilities_of(target)
    listed = requirements(alone) if abilities.lists_wheels else target.executor.get("requirements", ())
    others = [text for text in listed if _name(text) != _normal(runtime)]
    extras = _named(alone)[_normal(runtime)]
    return replace(
        alone, name=f"{target.name}@{version}",
        executor={
            **target.executor, "requirements": [*others, f"{runtime}{extras}=={version}"],
            **({"lock_name": target.name} if abilities.locks else {}),
        },
    )  # fmt: skip
