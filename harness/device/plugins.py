"""Entry points → catalogue. Nothing is imported until it is chosen."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from harness.core.errors import HarnessError, UsageError

BACKENDS = "harness.backends"
SUITES = "harness.suites"
MEASURES = "harness.measures"
EXECUTORS = "harness.executors"
PASSES = "harness.passes"
SECTIONS = "harness.sections"
SINGULAR = {
    BACKENDS: "backend", SUITES: "suite", MEASURES: "measure", EXECUTORS: "executor", PASSES: "pass",
    SECTIONS: "section",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point and the distribution that brings it."""

    name: str
    group: str
    distribution: str
    entry: EntryPoint

    def load(self) -> Any:  # noqa: ANN401 - each group has its own Protocol
        """Import what the entry point names.

        Raises
        ------
        HarnessError
            Whatever the plug-in's import raised, wrapped.
        """
        try:
            return self.entry.load()
        except Exception as error:
            raise HarnessError(
                f"the plug-in {self.name} of {self.distribution} cannot be loaded: {error}",
                where=f"{self.group}: {self.entry.value}",
                cause=type(error).__name__,
                next_step=f"mend or uninstall {self.distribution}",
            ) from error


@cache
def _installed(path: tuple[str, ...]) -> Any:  # noqa: ANN401 - Python 3.11 and 3.12 differ in the type
    """All entry points of the distributions on `path`; each look reads a file of every one of them."""
    return entry_points()


def catalogue(group: str) -> Mapping[str, Plugin]:
    """All plug-ins of a group by name, in the order of their names.

    Raises
    ------
    UsageError
        Two distributions bring the same name.
    """
    found: dict[str, Plugin] = {}
    for entry in _installed(tuple(sys.path)).select(group=group):
        distribution = entry.dist.name if entry.dist is not None else "unknown"
        plugin = Plugin(entry.name, group, distribution, entry)
        other = found.get(entry.name)
        # One distribution can be seen twice (an editable install beside its source tree).
        if other is not None and (other.distribution, other.entry.value) != (distribution, entry.value):
            raise UsageError(
                f"two distributions bring the {group} plug-in {entry.name}: "
                f"{other.distribution} and {distribution}",
                cause="both are installed in this environment",
                next_step=f"uninstall one of them: pip uninstall {distribution}",
            )
        found[entry.name] = plugin
    return dict(sorted(found.items()))


def choose(group: str, name: str) -> Any:  # noqa: ANN401 - each group has its own Protocol
    """Load one plug-in by name.

    Raises
    ------
    UsageError
        There is none of that name; says the nearest.
    """
    return find(group, name).load()


def find(group: str, name: str, *, where: str = "") -> Plugin:
    """Find one plug-in by name without loading it.

    Raises
    ------
    UsageError
        There is none of that name; says the nearest.
    """
    plugins = catalogue(group)
    if name not in plugins:
        raise unknown(SINGULAR.get(group, group), name, plugins, where=where)
    return plugins[name]


def unknown(
    what: str, name: str, known: Mapping[str, object] | tuple[str, ...], *, where: str = ""
) -> UsageError:
    """Build the error for a name that does not exist, with the nearest one that does."""
    names = sorted(known)
    folded = {each.casefold(): each for each in names}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return UsageError(
        f"unknown {what} {name!r}" + (f"; did you mean {folded[near[0]]!r}?" if near else ""),
        where=where,
        cause=f"known: {', '.join(names) or 'none'}",
    )
