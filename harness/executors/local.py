"""Workers as child processes of this machine."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.core.executor import Abilities
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

    Raises
    ------
    ConfigurationError
    """

    def __init__(self, target: Target, store: Path) -> None:
        connection: Connection = LocalConnection(str(store), [sys.executable])
        if not self.abilities(target.executor).shares_python:
            connection = VenvConnection(target, store)
        super().__init__(connection, store)

    @staticmethod
    def abilities(table: Mapping[str, Any]) -> Abilities:
        """Two versions of a runtime are two venvs; without any key, workers share this Python."""
        shares_python = set(table) == {"kind"}
        return Abilities(
            uses_this_machine=True, shares_python=shares_python, alternates=True, label="own Python"
        )
