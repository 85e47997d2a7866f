"""Targets: their files, where these are looked up, and how they are read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from harness.config.fields import Backends, Executor, Size, is_read_as_text
from harness.config.folders import shipped_folder
from harness.config.load import read_toml
from harness.config.schema import Table
from harness.core.errors import UsageError
from harness.core.job import Options
from harness.core.plan import HOST
from harness.core.target import Target
from harness.device.plugins import unknown
from harness.executors.abilities import abilities_of


class DeployTable(Table):
    """``[deploy]`` of a target: the options of the shipped product."""

    threads: Size | None = None
    precision: str = ""
    provider: str = ""
    extra: dict[str, str] = Field(default_factory=dict)


class TargetTable(Table):
    """One ``targets/T.toml``.

    ``without_host`` names the target that stands in for one that takes hosts and has none.
    """

    description: str
    backends: Backends
    executor: Executor = Field(default_factory=lambda: {"kind": "local"})
    deploy: DeployTable = DeployTable()
    max_samples: Size | None = None
    disk_mb: Size = 2000
    for_runtime: str = "litert"
    without_host: str = ""

    def to_target(self, name: str) -> Target:
        """Return the frozen target."""
        return Target(
            name, self.description, self.backends, dict(self.executor),
            Options(**self.deploy.model_dump()), self.max_samples, self.disk_mb, self.for_runtime,
        )  # fmt: skip


def target_folders() -> tuple[Path, ...]:
    """Return the folders in which targets are looked up, in order."""
    user = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Path("targets"), user / "deployment-validation-harness" / "targets", shipped_folder("targets")


def target_files() -> dict[str, Path]:
    """Return the file of every target by name; the first folder has priority."""
    files: dict[str, Path] = {}
    for folder in target_folders():
        for path in sorted(folder.glob("*.toml")):
            files.setdefault(path.stem, path)
    return files


def load_targets(names: Iterable[str], hosts: tuple[str, ...] = ()) -> tuple[Target, ...]:
    """Read targets by name, each once.

    Raises
    ------
    UsageError
        One is unknown, or there are hosts and none of the targets takes any.
    """
    targets = tuple(load_target(name, hosts) for name in dict.fromkeys(names))
    if hosts and not any(abilities_of(target).takes_hosts for target in targets):
        raise UsageError(
            f"no target uses the host {', '.join(hosts)}",
            where="--host, HOST= or HARNESS_HOST",
            cause=f"{', '.join(target.name for target in targets)}: the executor of none of them takes hosts",
            next_step="leave the host out, or name a target with hosts: --target raspberrypi",
        )
    return targets


def load_target(name: str, hosts: tuple[str, ...] = ()) -> Target:
    """Read one target by name.

    Parameters
    ----------
    name : str
    hosts : tuple of str
        Of a target that takes hosts; they replace those of its file. Without any, the target that its file
        names stands in for it, and its rows have the name of that target.
    """
    files = target_files()
    if name not in files:
        raise unknown("target", name, files)
    if name == HOST:
        raise UsageError(
            f"a target must not be called {HOST}, which is the name of the reference", where=str(files[name]),
            next_step="rename the file",
        )  # fmt: skip
    try:
        is_read_as_text(name)
    except ValueError as error:
        raise UsageError(
            f"no target may be called so: {error}", where=str(files[name]),
            next_step="give the file another name",
        ) from error  # fmt: skip
    table = read_toml(files[name], TargetTable)
    target = table.to_target(name)
    with_hosts = hosts or table.without_host or "hosts" in target.executor
    if not with_hosts or not abilities_of(target).takes_hosts:
        return target
    hosts = hosts or tuple(target.executor.get("hosts", ()))
    if hosts or not table.without_host:
        return replace(target, executor={**target.executor, "hosts": list(hosts)})
    return replace(load_target(table.without_host), name=f"{table.without_host}-emulated")
