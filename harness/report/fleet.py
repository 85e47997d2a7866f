"""``harness fleet``: the workers of a scheduler, their resources, what each runs and how far it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from harness.config.folders import cache_folder
from harness.config.targets import load_target, target_files
from harness.core.errors import ConfigurationError, HarnessError, UsageError
from harness.core.executor import SupportsFleet
from harness.core.target import Target
from harness.executors.abilities import make_executor
from harness.report.progress import duration

COLUMNS = ("worker", "address", "resources", "runs")
#: The executor of a scheduler that is named by its address alone.
DEFAULT_EXECUTOR = "dask"


def schedulers(target: str, address: str) -> list[SupportsFleet]:
    """Return the scheduler of a target, that at an address, or those of all target files.

    Raises
    ------
    UsageError
        There is none.
    """
    if address:
        table = {"kind": DEFAULT_EXECUTOR, "scheduler": address}
        try:
            named = [_executor(Target("", "", (), executor=table))]
        except ConfigurationError as error:
            raise ConfigurationError("--scheduler", error.problems) from error
        return [executor for executor in named if executor is not None]
    executors = [_of_target(target)] if target else list(_of_all_targets())
    return list({executor.scheduler: executor for executor in executors}.values())


def text(fleet: Mapping[str, Any]) -> str:
    """Return a table of what a scheduler reported; see `harness.core.executor.SupportsFleet`."""
    rows = [COLUMNS]
    for worker in fleet["workers"]:
        resources = " ".join(f"{name}={count:g}" for name, count in worker["resources"].items())
        runs = [_run(run) for run in worker["runs"]]
        if worker["trouble"]:
            runs.append(f"does not answer: {worker['trouble']}")
        elif worker["waiting"]:
            runs.append(f"{worker['waiting']} waiting")
        if worker["others"]:
            runs.append(f"{worker['others']} tasks that are not the harness's")
        rows.append((worker["name"], worker["address"], resources or "none", "; ".join(runs) or "free"))
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
    lines = ["".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
             for row in rows]  # fmt: skip
    if not fleet["workers"]:
        lines = ["no worker is connected\n  next   dask worker … --resources NAME=1: docs/fleet.md"]
    return "\n".join([f"scheduler {fleet['scheduler']}", *lines])


def _executor(target: Target) -> SupportsFleet | None:
    executor = make_executor(target, cache_folder())
    return executor if isinstance(executor, SupportsFleet) else None


def _of_target(name: str) -> SupportsFleet:
    target = load_target(name)
    executor = _executor(target)
    if executor is None:
        raise UsageError(
            f"the target {name} is not a fleet: its executor is {target.executor['kind']}",
            next_step='a target with [executor] kind = "dask", or --scheduler ADDRESS: docs/fleet.md',
        )
    return executor


def _of_all_targets() -> Iterable[SupportsFleet]:
    executors = []
    for name in target_files():
        try:
            executor = _executor(load_target(name))
        except HarnessError:
            continue  # harness targets reports it
        if executor is not None:
            executors.append(executor)
    if not executors:
        raise UsageError(
            "no target file names a scheduler",
            next_step='write one with [executor] kind = "dask", or give --scheduler ADDRESS: docs/fleet.md',
        )
    return executors


def _run(run: Mapping[str, Any]) -> str:
    seconds = (datetime.now(UTC) - datetime.fromisoformat(run["since_utc"])).total_seconds()
    return (
        f"{run['what']}: {run['done']} of {run['of']} jobs in {duration(max(0.0, seconds))}, by {run['by']}"
    )
