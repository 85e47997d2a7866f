"""Plants a fault around a backend where a batch asks for one, as those of ``harness challenge`` do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.core.artifact import Artifact
from harness.core.contracts import Backend, Session
from harness.core.errors import UsageError
from harness.core.job import Batch, Options
from harness.device import plugins

#: The option that asks for a fault: its name, and after a space its size. No runtime ever gets it.
OPTION = "planted-fault"


def asking(batch: Batch, name: str, size: float) -> Batch:
    """Return the batch that asks for a fault in both settings."""
    wanted = {OPTION: f"{name} {size!r}"}
    options = {
        setting: replace(given, extra={**given.extra, **wanted}) for setting, given in batch.options.items()
    }
    return replace(batch, options=options)


def catalogue() -> dict[str, Any]:
    """Every fault by name, from the plug-ins of ``harness.faults``.

    Raises
    ------
    UsageError
        Two catalogues have a fault of the same name.
    """
    faults: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for plugin in plugins.catalogue(plugins.FAULTS).values():
        for fault in plugin.load():
            if fault.name in faults:
                both = f"{origins[fault.name]} and {plugin.distribution}"
                raise UsageError(
                    f"two catalogues have a fault {fault.name}: {both}",
                    next_step=f"uninstall one of them: pip uninstall {plugin.distribution}",
                )
            faults[fault.name], origins[fault.name] = fault, plugin.distribution
    return faults


def plant(backend: Backend, batch: Batch) -> Backend:
    """Return the backend with the fault that the batch asks for; the same backend where it asks for none.

    Raises
    ------
    UsageError
        There is no fault of that name.
    """
    wanted = {options.extra[OPTION] for options in batch.options.values() if OPTION in options.extra}
    if not wanted:
        return backend
    (text,) = wanted
    name, _, size = text.partition(" ")
    faults = catalogue()
    if name not in faults:
        raise plugins.unknown("fault", name, faults)
    planted: Backend = faults[name].wrap(_Unasked(backend), batch.artifact, float(size))
    return planted


class _Unasked:
    """The real backend, which never sees the option."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.name, self.formats = backend.name, backend.formats
        self.probe = backend.probe

    def open(self, artifact: Artifact, options: Options) -> Session:
        """Open without the option."""
        return self._backend.open(artifact, without(options))


def without(options: Options) -> Options:
    """Return the options that a runtime gets."""
    return replace(options, extra={key: value for key, value in options.extra.items() if key != OPTION})
