"""The installed families of shifts, by kind of data (entry points ``harness.shifts``)."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

from harness.core.artifact import sha256_file
from harness.core.commands import install
from harness.core.errors import HarnessError, UsageError
from harness.data.shifts.family import Family, Kind
from harness.data.shifts.features import FEATURE_FAMILIES
from harness.data.shifts.image import IMAGE_FAMILIES
from harness.device import plugins

#: What runs where ``[shifts] families`` is left out, and the profile is not standard.
DEFAULTS: Mapping[Kind, tuple[str, ...]] = MappingProxyType(
    {
        Kind.IMAGE: tuple(family.name for family in IMAGE_FAMILIES),
        Kind.SERIES: tuple(family.name for family in FEATURE_FAMILIES),
        Kind.TABLE: tuple(family.name for family in FEATURE_FAMILIES),
    }
)


def families() -> tuple[Family, ...]:
    """Return every installed family, ours first.

    Raises
    ------
    HarnessError
        There are none, a plug-in cannot be loaded, or it is no tuple of families.
    UsageError
        Two families for one kind of data have one name.
    """
    installed = tuple(plugins.catalogue(plugins.SHIFTS).values())
    if not installed:
        raise HarnessError(
            "no families of shifts are installed",
            where=f"entry points {plugins.SHIFTS}",
            cause="this installation has the entry points of an earlier version",
            next_step=install("all"),
        )
    return _families(installed)


@cache
def _families(installed: tuple[plugins.Plugin, ...]) -> tuple[Family, ...]:
    listed: list[Family] = []
    distributions: dict[tuple[Kind, str], str] = {}
    for plugin in sorted(installed, key=lambda one: (one.distribution != plugins.HARNESS, one.name)):
        loaded = plugin.load()
        if not isinstance(loaded, tuple) or not all(isinstance(one, Family) for one in loaded):
            raise HarnessError(
                f"the plug-in {plugin.name} of {plugin.distribution} is no tuple of families",
                where=f"{plugin.group}: {plugin.entry.value}", next_step="see docs/adding-a-shift.md",
            )  # fmt: skip
        for family in loaded:
            for kind in family.kinds:
                other = distributions.setdefault((kind, family.name), plugin.distribution)
                if any(one.name == family.name and kind in one.kinds for one in listed):
                    raise UsageError(
                        f"two families of shifts for {kind} data are called {family.name}",
                        where=f"{other} and {plugin.distribution}",
                        next_step=f"rename one, or pip uninstall {plugin.distribution}",
                    )
            listed.append(family)
    return tuple(listed)


def origin(family: Family) -> str:
    """What decides the values of a family besides the harness: versions, and the code of a plug-in."""
    texts = [family.version()]
    for plugin in plugins.catalogue(plugins.SHIFTS).values():
        if plugin.distribution != plugins.HARNESS and family in plugin.load():
            source = Path(str(sys.modules[plugin.entry.module].__file__))
            texts += [plugin.distribution, version(plugin.distribution), sha256_file(source)]
    return " ".join(texts)


def of_kind(kind: Kind) -> Mapping[str, Family]:
    """Return the families that change data of a kind, by name, in the order in which they run."""
    return {family.name: family for family in families() if kind in family.kinds}


def names() -> tuple[str, ...]:
    """Return the names of all families, each once."""
    return tuple(dict.fromkeys(family.name for family in families()))


def named(name: str, kind: Kind) -> Family:
    """Return a family: the one for that kind of data where there are several of that name.

    Raises
    ------
    UsageError
        There is none; names the nearest.
    """
    installed = families()
    for_kind = [family for family in installed if family.name == name and kind in family.kinds]
    of_name = for_kind or [family for family in installed if family.name == name]
    if not of_name:
        close = difflib.get_close_matches(name, names(), n=1, cutoff=0.0)[0]
        raise UsageError(
            f"there is no corruption family {name!r} for {kind}",
            next_step=f"did you mean {close!r}? known: {', '.join(of_kind(kind))}",
        )
    return of_name[0]
