"""What a Dask scheduler reports for ``harness fleet``."""

from __future__ import annotations

from typing import Any

from harness.core.errors import TargetUnavailable
from harness.executors.dask import worker_side
from harness.executors.dask.cluster import TASK_PREFIX, Board, Cluster


def fleet(cluster: Cluster) -> dict[str, Any]:
    """Ask a scheduler and the workers that are connected to it; see `harness.core.executor.SupportsFleet`.

    Raises
    ------
    TargetUnavailable
        It cannot be reached.
    """
    cluster.connect()
    try:
        return {
            "scheduler": cluster.address,
            "workers": [_worker(cluster, board) for board in cluster.boards()],
        }
    finally:
        cluster.close()


def _worker(cluster: Cluster, board: Board) -> dict[str, Any]:
    harness_tasks = sum(task.startswith(TASK_PREFIX) for task in board.tasks)
    runs: list[dict[str, Any]] = []
    trouble = ""
    try:
        runs = cluster.call(board, worker_side.running) if harness_tasks else []
    except TargetUnavailable as error:
        trouble = error.what
    return {
        "name": board.name, "address": board.address, "resources": dict(board.resources), "runs": runs,
        "trouble": trouble, "waiting": max(0, harness_tasks - len(runs)),
        "others": len(board.tasks) - harness_tasks,
    }  # fmt: skip
