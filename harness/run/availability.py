"""``harness targets`` and ``harness doctor``: what can run here, what is wrong, how to fix it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from harness.config.folders import cache_folder
from harness.config.targets import load_target, target_files, target_folders
from harness.core.columns import aligned
from harness.core.commands import install_elsewhere
from harness.core.contracts import Availability
from harness.core.errors import HarnessError
from harness.core.target import CUDA, TENSORRT, Target
from harness.device import environment, plugins
from harness.device.probe import probe
from harness.executors.abilities import abilities_of
from harness.executors.venv import missing_gpu
from harness.executors.wheels import is_installed
from harness.run.name_checks import check_executors, check_targets
from harness.store.cache import writing

#: A default run needs about as much.
LEAST_FREE_BYTE = 500 * 10**6
#: Distributions that overwrite each other's files.
CLASHING = (("onnxruntime", "onnxruntime-gpu"),)


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


def doctor_text(results: Path) -> tuple[str, bool]:
    """Check what a run needs, and say how to fix what is wrong."""
    wrong: list[str] = []
    head = f"python {sys.version.split()[0]}, {environment.static_facts()['cpu_model']}"
    rows: list[tuple[str, str, str]] = []
    for group in (plugins.BACKENDS, plugins.SUITES, plugins.EXECUTORS, plugins.PASSES):
        for name, plugin in plugins.catalogue(group).items():
            try:
                plugin.load()
            except HarnessError as error:
                wrong.append(str(error))
            else:
                rows.append((group.removeprefix("harness."), name, plugin.distribution))
    for name, availability in probe(plugins.catalogue(plugins.BACKENDS)).items():
        if availability.reason:
            wrong.append(f"{name} cannot run: {availability.reason}\n  next   {availability.install}")
        else:
            rows.append(("runtime", name, f"{availability.version}  {', '.join(availability.devices)}"))
    for one, other in CLASHING:
        if is_installed(one) and is_installed(other):
            wrong.append(
                f"{one} and {other} are both installed and overwrite each other's files\n"
                f"  next   pip uninstall {one} {other}, then install one of them"
            )
    for package, others in plugins.same_names().items():
        wrong.append(
            f"the package {package} of the harness is also installed by {', '.join(others)}\n"
            "  next   install the harness in a virtual environment of its own"
        )
    for folder in (cache_folder(), results):
        wrong += _folder_problems(folder)
    ending = [f"\nwrong: {text}" for text in wrong] or ["\nnothing is wrong"]
    return "\n".join([head, *aligned(rows), *ending]), not wrong


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


def for_target(target: Target, availability: Availability) -> Availability:
    """Availability of a runtime for a target: it cannot run there without the provider of the target."""
    provider = target.deploy.provider
    if availability.reason or not provider or provider in availability.devices:
        return availability
    has = f"it has {', '.join(availability.devices) or 'none'}"
    reason, install = f"this runtime has no {provider} ({has})", provider_install(provider)
    if provider in availability.unusable:
        cause, install = availability.unusable[provider]
        reason = f"this runtime cannot use its {provider}: {cause} ({has})"
    return replace(availability, reason=reason, install=install)


#: Providers that need an NVIDIA GPU and a runtime built for it.
GPU_PROVIDERS = (CUDA, TENSORRT)


def provider_install(provider: str) -> str:
    """Say how to get a provider that the installed runtime was not built with; empty if that is unknown."""
    if provider not in GPU_PROVIDERS:
        return ""
    return f"on a machine with an NVIDIA GPU, in another virtual environment: {install_elsewhere('cuda')}"


def _folder_problems(folder: Path) -> list[str]:
    try:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            probe_file = folder / ".writable"
            probe_file.touch()
            probe_file.unlink()
    except HarnessError as error:
        return [str(error)]
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTE:
        return [f"{folder} has {free / 1e6:.0f} MB free\n  next   free some room, or name another folder"]
    return []
