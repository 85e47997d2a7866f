"""Workers under user-mode QEMU: another CPU on this machine, without root, containers or a board.

The numbers are those of the real wheels on the real instruction set; the clock means nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.core.contracts import Availability
from harness.core.errors import ConfigurationError, Problem
from harness.core.settings import unlisted_keys
from harness.core.target import Target
from harness.device import worker
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
KEYS = ("kind", "arch", "cpu", "packages", "requirements")


class EmulatedExecutor(SharedExecutor):
    """Run batches under QEMU, beside each other, one a core: their times will not count.

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

    def probe(self, names: Iterable[str]) -> Mapping[str, Availability]:
        """Make emulator and userland, once, and ask which backends run in them."""
        return self._devices[0].probe(names)


class EmulatedConnection(PreparedConnection):
    """See ``EmulatedExecutor``."""

    slowdown = SLOWDOWN

    def __init__(self, target: Target, store: Path) -> None:
        check(target)
        super().__init__(store)
        self._target, self._folder = target, store

    def make(self) -> LocalConnection:
        """Make emulator and userland, where they are not in the cache."""
        table = self._target.executor
        machine, cpu = table["arch"], table["cpu"]
        ours = bundle(self._folder)
        qemu = [str(emulator(machine, self._folder)), "-cpu", cpu]
        if machine not in ARCHITECTURES:  # this machine's own programs, on an older CPU of its family
            own = sys.executable
            if wanted := table.get("requirements", ()):
                own = str(venv(own, wanted, self._folder))
            python, path = [*qemu, own], [ours]
            libraries, compiled = [], {}
        else:
            wheels = requirements(self._target)
            root = userland(machine, table.get("packages", ()), wheels, self._folder)
            python = [*qemu, "-L", str(root), str(root / "usr" / "bin" / "python3.11")]
            path = [ours, root / "wheels", root / "usr" / "lib" / "python3" / "dist-packages"]
            folder = root / "usr" / "lib" / ARCHITECTURES[machine].libraries
            libraries = [folder / "blas", folder / "lapack"]
            # Compiled modules belong into our cache, whatever the user likes: without them each start takes
            # four times as long, and a run starts about 150 processes.
            compiled = {"PYTHONDONTWRITEBYTECODE": ""}
        variables = {
            **compiled,
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
            worker.PYTHON: json.dumps(python),
        }
        return LocalConnection(self.store, python, variables)


def check(target: Target) -> None:
    """Check the table ``[executor]``.

    Raises
    ------
    ConfigurationError
        With every problem.
    """
    table = target.executor
    problems = [Problem(f"executor.{key}", text) for key, text in unlisted_keys(table, KEYS)]
    known = (*ARCHITECTURES, "x86_64")
    if table.get("arch") not in known:
        problems.append(Problem("executor.arch", f"is one of {', '.join(known)}, not {table.get('arch')!r}"))
    if not isinstance(table.get("cpu"), str):
        problems.append(Problem("executor.cpu", "names the CPU that QEMU is to be, such as cortex-a72"))
    problems += [
        Problem(f"executor.{key}", "is a list of names")
        for key in ("packages", "requirements")
        if not all(isinstance(item, str) for item in table.get(key, ()))
    ]
    if problems:
        raise ConfigurationError(f"target {target.name}", tuple(problems))
