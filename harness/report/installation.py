"""``harness doctor``: what a run on this machine needs, what is wrong, how to fix it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from harness.config.folders import cache_folder
from harness.core.columns import aligned
from harness.core.errors import HarnessError
from harness.device import environment, plugins
from harness.device.probe import probe
from harness.executors.wheels import is_installed
from harness.run.availability import LEAST_FREE_BYTE
from harness.store.cache import writing

#: Distributions that overwrite each other's files.
CLASHING = (("onnxruntime", "onnxruntime-gpu"),)


def installation_text(results: Path) -> tuple[str, bool]:
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
