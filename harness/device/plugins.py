"""The catalogue of plug-ins, from entry points. Nothing is imported until it is chosen."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points, packages_distributions
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.core.errors import HarnessError, UsageError

#: The distribution of the harness.
HARNESS = "deployment-validation-harness"
#: Its packages. Other distributions may have packages with the last two names.
PACKAGES = ("harness", "backends", "suites")
BACKENDS = "harness.backends"
SUITES = "harness.suites"
MEASURES = "harness.measures"
TASKS = "harness.tasks"
TASK_METRICS = "harness.task_metrics"
EXECUTORS = "harness.executors"
PASSES = "harness.passes"
SECTIONS = "harness.sections"
CHECKS = "harness.checks"
FAULTS = "harness.faults"
HYPOTHESES = "harness.hypotheses"
SHIFTS = "harness.shifts"
SINGULAR = {
    BACKENDS: "backend", SUITES: "suite", MEASURES: "measure", TASKS: "task",
    TASK_METRICS: "host's half of a task", EXECUTORS: "executor", PASSES: "pass",
    SECTIONS: "section", CHECKS: "check", FAULTS: "catalogue of faults",
    HYPOTHESES: "list of hypotheses", SHIFTS: "tuple of families of shifts",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point and its distribution."""

    name: str
    group: str
    distribution: str
    entry: EntryPoint

    def load(self) -> Any:  # noqa: ANN401 - each group has its own Protocol
        """Import what the entry point names.

        Raises
        ------
        HarnessError
            Another module hides the harness's module of the same name, the import raised an exception, which
            is wrapped, or a backend lacks what every backend has.
        """
        if self.distribution == HARNESS and (file := _foreign_file(self.entry.module)):
            raise HarnessError(
                f"{self.name} cannot be loaded: "
                f"another module named {_top_level(self.entry.module)} hides the harness's",
                where=file, cause="its folder comes first on Python's module path",
                next_step="rename it, remove its folder from PYTHONPATH, or work in another folder",
            )  # fmt: skip
        try:
            loaded = self.entry.load()
        except Exception as error:
            raise HarnessError(
                f"the plug-in {self.name} of {self.distribution} cannot be loaded: {error}",
                where=f"{self.group}: {self.entry.value}",
                cause=type(error).__name__,
                next_step=f"fix or uninstall {self.distribution}",
            ) from error
        if self.group == BACKENDS and (problem := _lacking(loaded)):
            raise HarnessError(
                f"the backend {self.name} of {self.distribution} {problem}",
                where=f"{self.group}: {self.entry.value}", next_step="see docs/adding-a-backend.md",
            )  # fmt: skip
        return loaded


def _lacking(backend: Any) -> str:  # noqa: ANN401 - whatever the entry point names
    """What a backend lacks, of what is read before it is constructed; empty where nothing is missing."""
    missing = [name for name in ("name", "formats", "probe", "open") if not hasattr(backend, name)]
    if missing:
        return f"has no {' and no '.join(missing)}"
    formats = backend.formats
    if isinstance(formats, str) or not all(isinstance(one, str) and one for one in formats):
        return f"has the formats {formats!r}: a tuple of names such as ('onnx',) is meant"
    return ""


def _foreign_file(module: str) -> str:
    """Return the file of a module that hides a module of the harness; empty if none does.

    The harness's packages share one parent folder: of a checkout, of site-packages or of a bundle.
    """
    top_level = sys.modules.get(_top_level(module))
    spec = top_level.__spec__ if top_level is not None else find_spec(_top_level(module))
    if spec is None:
        return ""
    files = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    root = Path(__file__).resolve().parents[2]
    return next((str(file) for file in files if not Path(file).resolve().is_relative_to(root)), "")


def same_names() -> dict[str, tuple[str, ...]]:
    """Return the packages of the harness that other distributions have too, with those distributions."""
    installed = packages_distributions()
    others = {name: tuple(sorted({*installed.get(name, ())} - {HARNESS})) for name in PACKAGES}
    return {name: distributions for name, distributions in others.items() if distributions}


def _top_level(module: str) -> str:
    return module.partition(".")[0]


@cache
def _installed(path: tuple[str, ...]) -> Any:  # noqa: ANN401 - Python 3.11 and 3.12 differ in the type
    """Return all entry points of the distributions on `path`; cached, because each has a file to read."""
    return entry_points()


def catalogue(group: str) -> Mapping[str, Plugin]:
    """Return all plug-ins of a group by name, sorted by name.

    Raises
    ------
    UsageError
        Two distributions have a plug-in of the same name.
    """
    return _catalogue(group, tuple(sys.path))


@cache  # the name of a distribution is parsed from its whole METADATA file
def _catalogue(group: str, path: tuple[str, ...]) -> Mapping[str, Plugin]:
    catalogued: dict[str, Plugin] = {}
    for entry in _installed(path).select(group=group):
        distribution = entry.dist.name if entry.dist is not None else "unknown"
        plugin = Plugin(entry.name, group, distribution, entry)
        other = catalogued.get(entry.name)
        # One distribution can be seen twice (an editable install beside its source tree).
        if other is not None and (other.distribution, other.entry.value) != (distribution, entry.value):
            raise UsageError(
                f"two distributions have a {group} plug-in {entry.name}: "
                f"{other.distribution} and {distribution}",
                cause="both are installed in this environment",
                next_step=f"uninstall one of them: pip uninstall {distribution}",
            )
        catalogued[entry.name] = plugin
    return MappingProxyType(dict(sorted(catalogued.items())))


def formats(plugin: Plugin) -> tuple[str, ...]:
    """Return the file formats that a backend takes, best first; empty where it cannot be loaded.

    Its probe says why: a broken backend must not end a run that others can do.
    """
    try:
        return tuple(plugin.load().formats)
    except HarnessError:
        return ()


def choose(group: str, name: str) -> Any:  # noqa: ANN401 - each group has its own Protocol
    """Load one plug-in by name.

    Raises
    ------
    UsageError
        There is none of that name; names the nearest.
    """
    return find(group, name).load()


def find(group: str, name: str, *, where: str = "") -> Plugin:
    """Find one plug-in by name without loading it.

    Raises
    ------
    UsageError
        There is none of that name; names the nearest.
    """
    plugins = catalogue(group)
    if name not in plugins:
        raise unknown(SINGULAR.get(group, group), name, plugins, where=where)
    return plugins[name]


def unknown(
    what: str, name: str, existing: Mapping[str, object] | tuple[str, ...], *, where: str = ""
) -> UsageError:
    """Build the error for a name that does not exist, with the nearest one that does."""
    names = sorted(existing)
    folded = {candidate.casefold(): candidate for candidate in names}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return UsageError(
        f"unknown {what} {name!r}" + (f"; did you mean {folded[near[0]]!r}?" if near else ""),
        where=where,
        cause=f"known: {', '.join(names) or 'none'}",
    )
