"""``harness fleet``: who is connected to a scheduler, with what resources, what each runs, how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from harness.config.targets import load_target, target_files
from harness.core.errors import ConfigurationError, HarnessError, TargetUnavailable, UsageError
from harness.core.target import Target
from harness.executors.dask import worker_side
from harness.executors.dask.cluster import OURS, Board, Cluster, address_problems, cluster_of
from harness.executors.dask.executor import check
from harness.report.progress import duration

COLUMNS = ("worker", "address", "resources", "runs")


def clusters(target: str, scheduler: str) -> list[Cluster]:
    """Return what was asked for: a target's, that at an address, else those of all target files.

    Raises
    ------
    UsageError
        There is none.
    """
    if scheduler:
        if problems := address_problems(scheduler, "--scheduler"):
            raise ConfigurationError("--scheduler", tuple(problems))
        return [Cluster(scheduler)]
    named = _named(target) if target else _all()
    return list({_key(each): cluster_of(each) for each in named}.values())


def look(cluster: Cluster) -> dict[str, Any]:
    """Ask a scheduler and what is connected to it; as JSON.

    Raises
    ------
    TargetUnavailable
        It cannot be reached.
    """
    cluster.connect()
    try:
        return {"scheduler": cluster.address, "workers": [_worker(cluster, one) for one in cluster.boards()]}
    finally:
        cluster.close()


def text(fleet: Mapping[str, Any]) -> str:
    """The same for people."""
    rows = [COLUMNS]
    for worker in fleet["workers"]:
        resources = " ".join(f"{name}={count:g}" for name, count in worker["resources"].items())
        runs = [_run(each) for each in worker["runs"]]
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
        lines = ["nobody is connected\n  next   dask worker … --resources NAME=1: docs/fleet.md"]
    return "\n".join([f"scheduler {fleet['scheduler']}", *lines])


def _named(name: str) -> list[Target]:
    target = load_target(name)
    if target.executor["kind"] != "dask":
        raise UsageError(
            f"the target {name} is no fleet: its executor is {target.executor['kind']}",
            next_step='a target with [executor] kind = "dask", or --scheduler ADDRESS: docs/fleet.md',
        )
    check(target)
    return [target]


def _all() -> list[Target]:
    found = []
    for name in target_files():
        try:
            target = load_target(name)
            if target.executor["kind"] == "dask":
                check(target)
                found.append(target)
        except HarnessError:
            continue  # harness targets says what is wrong with it
    if not found:
        raise UsageError(
            "no target file names a scheduler",
            next_step='write one with [executor] kind = "dask", or give --scheduler ADDRESS: docs/fleet.md',
        )
    return found


def _key(target: Target) -> tuple[str, ...]:
    return tuple(str(target.executor.get(key, "")) for key in ("scheduler", "ca", "cert", "key"))


def _worker(cluster: Cluster, board: Board) -> dict[str, Any]:
    ours = sum(task.startswith(f"{OURS} ") for task in board.tasks)
    runs: list[dict[str, Any]] = []
    trouble = ""
    try:
        runs = cluster.call(board, worker_side.running) if ours else []
    except TargetUnavailable as error:
        trouble = error.what
    return {
        "name": board.name, "address": board.address, "resources": dict(board.resources), "runs": runs,
        "trouble": trouble,
        "waiting": max(0, ours - len(runs)), "others": len(board.tasks) - ours,
    }  # fmt: skip


def _run(run: Mapping[str, Any]) -> str:
    seconds = (datetime.now(UTC) - datetime.fromisoformat(run["since_utc"])).total_seconds()
    return (
        f"{run['what']}: {run['done']} of {run['of']} jobs in {duration(max(0.0, seconds))}, by {run['by']}"
    )
