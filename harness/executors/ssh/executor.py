"""Workers on boards that are reached over ssh: what is needed there, how it gets there, how it is started.

A board needs sshd, sh and Python 3.11; everything else is shipped by hash, once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.core.errors import ConfigurationError, Problem
from harness.core.settings import unlisted_keys
from harness.core.target import Target
from harness.device import worker
from harness.executors import board_side
from harness.executors.bundle import bundle_archive
from harness.executors.connection import CommandConnection
from harness.executors.device import RETRIES, DeviceExecutor
from harness.executors.shared import SharedExecutor
from harness.executors.ssh.client import SSH_FAILED
from harness.executors.ssh.lock import PYTHONS
from harness.executors.ssh.locked_board import shared_board
from harness.executors.ssh.upload import venv_archive

#: A worker ends when its host has said nothing for so long, and the board is free again.
SILENCE_S = 45.0
#: On the board, beneath the user's home.
FOLDER = "~/.cache/deployment-validation-harness"
#: Keys of ``[executor]``; ``wait_s`` comes from the command line, ``lock_name`` from `upgrade.targets`:
#: targets of one such name share the lock of their board, and whoever gives it sees that they take turns.
KEYS = ("kind", "hosts", "ssh_config", "python", "requirements", "retries", "wait_s", "lock_name")


class SshExecutor(SharedExecutor):
    """Run batches on one or more boards.

    Parameters
    ----------
    target : Target
        ``executor`` has ``hosts`` (as for ``ssh``), and may have ``ssh_config`` (a file instead of the
        user's), ``python`` (a path on the board), ``requirements`` (wheels), and ``retries`` (how often a
        job is begun again whose link died).
    store : Path
        Folder with ``data/<sha256>.npy``; what is shipped is made and kept there too.

    Raises
    ------
    ConfigurationError
    """

    def __init__(self, target: Target, store: Path) -> None:
        check(target)
        retries = target.executor.get("retries", RETRIES)
        super().__init__(
            [
                DeviceExecutor(SshConnection(host, target, store), store, retries=retries)
                for host in target.executor["hosts"]
            ]
        )


class SshConnection(CommandConnection):
    """One board.

    Parameters
    ----------
    host : str
    target : Target
    store : Path
    """

    ships = True
    store = FOLDER

    def __init__(self, host: str, target: Target, store: Path) -> None:
        self.silence_s: float | None = SILENCE_S
        self.room_byte: int | None = None
        self.facts: Mapping[str, Any] = {}
        self._target, self._folder = target, store
        table = target.executor
        self._board = shared_board(
            table.get("lock_name", ""), host, table.get("ssh_config", ""), FOLDER, SILENCE_S
        )  # fmt: skip
        self._has: tuple[str, ...] = ()

    def connect(self) -> None:
        """Reach the board, lock it, and ship what it lacks; anew where that was done before."""
        table, host = self._target.executor, self._board.client.host
        pythons = [table["python"]] if "python" in table else PYTHONS
        # A run whose link died does not queue: its pauses between tries are as good.
        found = self._board.enter(self, pythons, 0.0 if self.facts else float(table.get("wait_s", 0.0)))
        wanted = venv_archive(host, found, self._target, self._folder), bundle_archive(self._folder)
        shipped, self.room_byte = self._board.bring(self, wanted, self._target.disk_mb * 10**6)
        self._has = tuple(each.name for each in wanted)
        self.facts = {
            "host": host,
            "kind": f"{found['machine']} {found['cpu']} with Python {found['python']} and {found['libc']}",
            "clock_error_s": round(found["clock_error_s"], 3),
            "shipped_byte": shipped,
            "free_byte": found["free_byte"],
        }

    def command(self, module: str, *arguments: str) -> Sequence[str]:
        """Start `module` in the board's venv; before a worker, end whatever the last one left.

        Raises
        ------
        TargetUnavailable
            The link is dead.
        """
        assert self._has, "connect() comes first"
        venv, ours = (f"{FOLDER}/{name}" for name in self._has)
        if module == worker.MODULE:
            self._board.ready(self._target.disk_mb * 10**6)
        # A shell that stays tells a signal as an exit status: ssh alone would call it an error of its own.
        script = (
            f'cd; export PYTHONPATH="$HOME/{ours.removeprefix("~/")}"; '
            f"export {board_side.TOKEN}={self._board.token}; "
            f'python="$HOME/{venv.removeprefix("~/")}/bin/python"; "$python" "$@"; exit $?'
        )
        started = worker.command(["harness"], module, *arguments)
        return self._board.client.command(["sh", "-c", script, *started])

    def lost(self, status: int) -> str:
        """Ssh says 255 for an error of its own; a client that was killed said nothing."""
        if status == SSH_FAILED or status < 0:
            return f"the connection to {self._board.client.host} died"
        return ""

    def close(self) -> None:
        """Let the board go; what ran there ends."""
        self._board.leave(self)


def check(target: Target) -> None:
    """Check the table ``[executor]``.

    Raises
    ------
    ConfigurationError
        With every problem.
    """
    table = target.executor
    problems = [Problem(f"executor.{key}", text) for key, text in unlisted_keys(table, KEYS)]
    hosts = table.get("hosts", ())
    if not hosts:
        problems.append(Problem("executor.hosts", 'name a board: hosts = ["user@board"], --host or HOST='))
    problems += [
        Problem("executor.hosts", f"{host!r} is no host")
        for host in hosts  # ssh would take a name that begins with - for an option
        if not isinstance(host, str) or host.startswith("-") or host.split() != [host]
    ]
    if len(set(map(str, hosts))) < len(hosts):
        problems.append(Problem("executor.hosts", "names one board twice"))
    for key, kind in (("ssh_config", str), ("python", str), ("retries", int)):
        if not isinstance(table.get(key, kind()), kind):
            problems.append(Problem(f"executor.{key}", f"is no {kind.__name__}"))
    config = table.get("ssh_config", "")
    if isinstance(config, str) and config and not os.access(Path(config).expanduser(), os.R_OK):
        problems.append(Problem("executor.ssh_config", f"{config} cannot be read"))
    named = table.get("requirements", [])
    if not isinstance(named, list) or not all(isinstance(item, str) for item in named):
        problems.append(Problem("executor.requirements", "is a list of names"))
    if problems:
        raise ConfigurationError(f"target {target.name}", tuple(problems))
