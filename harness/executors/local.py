"""Workers as child processes of this machine."""

from __future__ import annotations

import sys
from pathlib import Path

from harness.core.target import Target
from harness.executors.device import DeviceExecutor
from harness.executors.link import LocalLink


class LocalExecutor(DeviceExecutor):
    """Run batches in fresh child processes.

    Parameters
    ----------
    target : Target
    store : Path
        Folder with ``data/<sha256>.npy``.
    """

    def __init__(self, target: Target, store: Path) -> None:
        super().__init__(LocalLink(str(store), [sys.executable]), store)
