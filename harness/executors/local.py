"""Workers as child processes of this machine."""

from __future__ import annotations

import sys
from pathlib import Path

from harness.core.target import Target
from harness.executors.connection import Connection, LocalConnection
from harness.executors.device import DeviceExecutor
from harness.executors.venv import VenvConnection


class LocalExecutor(DeviceExecutor):
    """Run batches in fresh child processes.

    Parameters
    ----------
    target : Target
        ``executor`` may have ``python`` and ``requirements`` (see ``harness.executors.venv``).
    store : Path
        Folder with ``data/<sha256>.npy``.
    """

    def __init__(self, target: Target, store: Path) -> None:
        connection: Connection = LocalConnection(str(store), [sys.executable])
        if not target.shares_python:
            connection = VenvConnection(target, store)
        super().__init__(connection, store)
