"""Workers on boards over ssh: what they need, how it is uploaded, how they are started.

A board needs sshd, sh and Python 3.11; everything else is uploaded by hash, once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.core.executor import Abilities
from harness.core.target import Target
from harness.device import worker
from harness.executors import board_side, settings
from harness.executors.bundle import bundle_archive
from harness.executors.connection import CommandConnection
from harness.executors.device import RETRIES, DeviceExecutor
from harness.executors.shared import SharedExecutor
from harness.executors.ssh.client import SSH_FAILED
from harness.executors.ssh.lock import PYTHONS
from harness.executors.ssh.locked_board import shared_board
from harness.executors.ssh.upload import venv_archive

#: A worker ends when its host has sent nothing for so long, and the board is free again.
SILENCE_S = 45.0
#: On the board, beneath the user's home.
FOLDER = "~/.cache/deployment-validation-harness"


def _hosts(hosts: Any) -> list[str]:  # noqa: ANN401 - a value of a TOML table
    """Check the names of the boards."""
    if not hosts:
        return ['name a board: hosts = ["user@board"], --host or HOST=']
    problems = [
        f"{host!r} is not a host"
        for host in hosts  # ssh would take a name that begins with - for an option
        if not isinstance(host, str) or host.startswith("-") or host.split() != [host]
    ]
    if len(set(map(str, hosts))) < len(hosts):
        problems.append("names a board twice")
    return problems


#: Keys of ``[executor]``; ``wait_s`` comes from the command line, ``lock_name`` from ``harness upgrade``.
SETTINGS = {
    "hosts": _hosts,
    "ssh_config": settings.readable_file("the path of an ssh_config"),
    "python": settings.text("the path of a Python on the board"),
    "requirements": settings.texts("names"),
    "retries": settings.integer,
    "wait_s": settings.number,
    "lock_name": settings.text("a name"),
}


class SshExecutor(SharedExecutor):
    """Run batches on one or more boards.

    Parameters
    ----------
    target : Target
        ``executor`` has ``hosts`` (as ``ssh`` takes them), and may have ``ssh_config`` (a file instead of the
        user's), ``python`` (a path on the board), ``requirements`` (wheels), and ``retries`` (how often a
        job is started again after a lost connection).
    store : Path
        Folder with ``data/<sha256>.npy``; archives are made and kept there too.

    Raises
    ------
    ConfigurationError
    """

    def __init__(self, target: Target, store: Path) -> None:
        settings.check(target, SETTINGS, required=("hosts",))
        retries = target.executor.get("retries", RETRIES)
        hosts = target.executor["hosts"]
        connections = [SshConnection(host, target, store) for host in hosts]
        super().__init__([DeviceExecutor(item, store, retries=retries) for item in connections])

    @staticmethod
    def abilities(table: Mapping[str, Any]) -> Abilities:
        """A board is locked, and its venv has only the wheels that are listed."""
        return Abilities(takes_hosts=True, locks=True, alternates=True, lists_wheels=True, label="ssh")


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
        self.board = shared_board(
            table.get("lock_name", ""), host, table.get("ssh_config", ""), FOLDER, SILENCE_S
        )
        self._archives: tuple[str, ...] = ()

    def connect(self) -> None:
        """Reach the board, lock it, and upload what it does not have; again if that was done before."""
        table, host = self._target.executor, self.board.client.host
        pythons = [table["python"]] if "python" in table else PYTHONS
        # After a lost connection there is no waiting for the lock: the attempts have pauses anyway.
        wait_s = 0.0 if self.facts else float(table.get("wait_s", 0.0))
        facts = self.board.enter(self, pythons, wait_s)
        archives = venv_archive(host, facts, self._target, self._folder), bundle_archive(self._folder)
        sent_byte, self.room_byte = self.board.upload(self, archives, self._target.disk_mb * 10**6)
        self._archives = tuple(archive.name for archive in archives)
        self.facts = {
            "host": host,
            "kind": f"{facts['machine']} {facts['cpu']} with Python {facts['python']} and {facts['libc']}",
            "clock_error_s": round(facts["clock_error_s"], 3),
            "shipped_byte": sent_byte,
            "free_byte": facts["free_byte"],
        }

    def command(self, module: str, *arguments: str) -> Sequence[str]:
        """Start `module` in the board's venv; before a worker, end the processes that the last one left.

        Raises
        ------
        TargetUnavailable
            The connection is lost.
        """
        assert self._archives, "connect() comes first"
        venv, bundle = (f"$HOME/{FOLDER.removeprefix('~/')}/{name}" for name in self._archives)
        if module == worker.MODULE:
            self.board.ready(self._target.disk_mb * 10**6)
        # The shell stays, so that a signal becomes an exit status: ssh alone would report its own error.
        script = (
            f'cd; export PYTHONPATH="{bundle}" {board_side.TOKEN}={self.board.token}; '
            f'python="{venv}/bin/python"; "$python" "$@"; exit $?'
        )
        started = worker.command(["harness"], module, *arguments)
        return self.board.client.command(["sh", "-c", script, *started])

    def why_lost(self, status: int) -> str:
        """Ssh exits with 255 for its own errors; a client that was killed has a negative status."""
        if status == SSH_FAILED or status < 0:
            return f"the connection to {self.board.client.host} was lost"
        return ""

    def close(self) -> None:
        """Release the board; what runs there ends."""
        self.board.leave(self)
