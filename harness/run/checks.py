"""The built-in checks that are installed, from the group ``harness.checks``."""

from __future__ import annotations

from collections.abc import Iterable

from harness.core.check import Check
from harness.core.errors import HarnessError
from harness.device import plugins


def installed(suites: Iterable[str]) -> dict[str, Check]:
    """Return the checks of some suites by name, in the order of the plug-ins.

    Raises
    ------
    HarnessError
        A plug-in cannot be loaded, names something else than checks, or two checks have one name: a verdict
        without a check that is installed would say too much.
    """
    wanted, checks = set(suites), dict[str, Check]()
    for plugin in plugins.catalogue(plugins.CHECKS).values():
        for check in _of(plugin):
            if check.name in checks:
                raise _refused(plugin, f"{check.name} is the name of two checks", "rename one of them")
            checks[check.name] = check
    return {name: check for name, check in checks.items() if check.gate.suite in wanted}


def _of(plugin: plugins.Plugin) -> Iterable[Check]:
    checks = plugin.load()
    if not isinstance(checks, tuple) or not all(isinstance(check, Check) for check in checks):
        what = f"{plugin.name} is no tuple of harness.core.check.Check"
        raise _refused(plugin, what, "docs/adding-a-check.md")
    return checks


def _refused(plugin: plugins.Plugin, what: str, next_step: str) -> HarnessError:
    return HarnessError(
        what, where=f"{plugin.group}: {plugin.entry.value} of {plugin.distribution}", next_step=next_step
    )
