"""Workers under user-mode QEMU: another CPU on this machine, without root, containers or a board.

The results are those of the real wheels on the real instruction set; the clock means nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.core.contracts import Availability
from harness.core.executor import Abilities
from harness.core.target import Target
from harness.device import worker
from harness.executors import settings
from harness.executors.bundle import bundle
from harness.executors.connection import LocalConnection, PreparedConnection
from harness.executors.device import DeviceExecutor
from harness.executors.emulated.userland import ARCHITECTURES, emulator, userland
from harness.executors.shared import SharedExecutor
from harness.executors.venv import venv
from harness.executors.wheels import requirements

#: How much longer everything may take. The suites' deadlines leave room for small devices; int8 was measured
#: at 70 to 90 times this machine's time, float at 450 to 700, a start at 3 to 16 s.
SLOWDOWN = 10.0
#: Keys of ``[executor]``.
SETTINGS = {
    "arch": settings.one_of(*ARCHITECTURES, "x86_64"),
    "cpu": settings.text("the name of the CPU that QEMU emulates, such as cortex-a72"),
    "packages": settings.texts("names"),
    "requirements": settings.texts("names"),
}


class EmulatedExecutor(SharedExecutor):
    """Run batches under QEMU, one a core in parallel: their times do not count.

    Parameters
    ----------
    target : Target
        ``executor`` has ``arch`` (``aarch64``, ``armv7l``, ``x86_64``), ``cpu`` (QEMU's name), and may have
        ``packages`` (Debian's) and ``requirements`` (wheels; of an older CPU of this machine's family, the
        packages of a venv).
    store : Path
        Folder with ``data/<sha256>.npy``; the emulator and the userland are kept there too.

    Raises
    ------
    ConfigurationError
    """

    def __init__(self, target: Target, store: Path) -> None:
        connection = EmulatedConnection(target, store)
        super().__init__([DeviceExecutor(connection, store) for _ in range(os.cpu_count() or 1)])

    @staticmethod
    def abilities(table: Mapping[str, Any]) -> Abilities:
        """A foreign userland has only the wheels that are listed."""
        return Abilities(
            uses_this_machine=True, emulated=True, alternates=True, label="emulated",
            lists_wheels=table.get("arch") in ARCHITECTURES,
        )  # fmt: skip

    def probe(self, names: Iterable[str]) -> Mapping[str, Availability]:
        """Make the emulator and the userland, once, and ask which backends run in them."""
        return self._devices[0].probe(names)


class EmulatedConnection(PreparedConnection):
    """See ``EmulatedExecutor``."""

    slowdown = SLOWDOWN

    def __init__(self, target: Target, store: Path) -> None:
        settings.check(target, SETTINGS, required=("arch", "cpu"))
        super().__init__(store)
        self._target, self._folder = target, store

    def prepare(self) -> LocalConnection:
        """Make the emulator and the userland, unless they are in the cache."""
        table = self._target.executor
        machine, cpu = table["arch"], table["cpu"]
        code = bundle(self._folder)
        qemu = [str(emulator(machine, self._folder)), "-cpu", cpu]
        if machine not in ARCHITECTURES:  # this machine's own programs, on an older CPU of its family
            host_python = sys.executable
            if packages := table.get("requirements", ()):
                host_python = str(venv(host_python, packages, self._folder))
            python, path = [*qemu, host_python], [code]
            libraries, bytecode = [], {}
        else:
            wheels = requirements(self._target)
            root = userland(machine, table.get("packages", ()), wheels, self._folder)
            python = [*qemu, "-L", str(root), str(root / "usr" / "bin" / "python3.11")]
            path = [code, root / "wheels", root / "usr" / "lib" / "python3" / "dist-packages"]
            folder = root / "usr" / "lib" / ARCHITECTURES[machine].libraries
            libraries = [folder / "blas", folder / "lapack"]
            # Compiled modules are cached, whatever the user's environment says: without them each start takes
            # four times as long, and a run starts about 150 processes.
            bytecode = {"PYTHONDONTWRITEBYTECODE": ""}
        variables = {
            **bytecode,
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
            worker.PYTHON: json.dumps(python),
        }
        return LocalConnection(self.store, python, variables)
