"""``harness targets``: what can run here, or why not and how to install it."""

from __future__ import annotations

from collections.abc import Mapping

from harness.config.targets import load_target, target_files, target_folders
from harness.core.contracts import Availability
from harness.core.errors import HarnessError
from harness.core.target import Target
from harness.device import plugins
from harness.device.probe import probe
from harness.executors.abilities import abilities_of
from harness.executors.venv import missing_gpu
from harness.run.availability import for_target
from harness.run.name_checks import check_executors, check_targets


def targets_text() -> str:
    """One line a target and backend: ready, or why not and how to install it."""
    table = [("target", "backend", "", "what it is")]
    below: dict[int, list[str]] = {}
    backends = plugins.catalogue(plugins.BACKENDS)
    targets, broken = _targets()
    local = [target for target in targets.values() if abilities_of(target).shares_python]
    named = dict.fromkeys(backend for target in local for backend in target.backends)
    available = probe([name for name in named if name in backends])
    for name, target in targets.items():
        for backend in target.backends:
            state, details = _state(name, target, backend, available)
            table.append((name, backend, state, target.description))
            below[len(table) - 1] = [f"{'':<16}{label:<8}{text}" for label, text in details if text]
    widths = [max(map(len, column)) + 2 for column in zip(*table, strict=True)]
    lines = []
    for index, row in enumerate(table):
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        lines += ["".join(cells).rstrip(), *below.get(index, [])]
    for name, error in broken.items():
        lines.append(f"{name:<16}broken: {str(error).replace(chr(10), '; ')}")
    lines.append(f"\ntargets are looked up in {', '.join(f'{folder}/' for folder in target_folders())}")
    return "\n".join(lines)


def _targets() -> tuple[dict[str, Target], dict[str, HarnessError]]:
    targets, broken = {}, {}
    for name in target_files():
        try:
            target = load_target(name)
            check_executors([target])
            targets[name] = target
        except HarnessError as error:
            broken[name] = error
    return targets, broken


def _state(
    name: str, target: Target, backend: str, available: Mapping[str, Availability]
) -> tuple[str, list[tuple[str, str]]]:
    """State and explanations; a device other than this machine is not probed here."""
    ask = ("next", f"harness doctor --target {name}")
    if target.name != name:
        return "emulated", [("why", f"it has no host (--host USER@BOARD): {target.name} stands in"), ask]
    abilities = abilities_of(target)
    if abilities.shares_python:
        availability = _availability(target, backend, available)
        state = "not here" if availability.reason else f"ready {availability.version}"
        return state, [("why", availability.reason), ("next", availability.install)]
    on_this_machine = abilities.uses_this_machine and not abilities.emulated
    if on_this_machine and (reason := missing_gpu(target)):
        return "not here", [("why", reason)]
    hosts = ", ".join(target.executor.get("hosts", ()))
    if abilities.takes_hosts and not hosts:
        return "no host", [("next", "--host USER@BOARD, or hosts = [...] in [executor]")]
    lines = [] if abilities.emulated else [("host", hosts), ("where", abilities.where), ask]
    return abilities.label or target.executor["kind"], lines


def _availability(target: Target, backend: str, available: Mapping[str, Availability]) -> Availability:
    try:
        check_targets([target])
    except HarnessError as error:
        return Availability(reason=error.what)
    return for_target(target, available[backend])
