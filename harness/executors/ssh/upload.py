"""Uploads to a board: which archives it needs, and how they get there."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.errors import TargetUnavailable
from harness.core.target import Target
from harness.executors import board_facts
from harness.executors.archive import Archive, make_archive
from harness.executors.ssh.client import SSH_FAILED, SshClient
from harness.executors.ssh.lock import BoardLock, on_board
from harness.executors.wheels import install_wheels, requirements
from harness.store.cache import key_of

#: Architectures that the wheels of runtimes are built for.
MACHINES = ("aarch64", "armv7l", "x86_64")
#: The data of the smallest case must fit beside the uploads.
LEAST_ROOM_BYTE = 20 * 10**6


@dataclass(frozen=True, slots=True)
class Upload:
    """The board that receives an upload.

    Parameters
    ----------
    client : SshClient
    lock : BoardLock
    token : str
    facts : mapping
        See ``board_side.facts``.
    room_byte : int
        That the target grants there.
    needed : sequence of str
        Names of archives that have to stay there.
    """

    client: SshClient
    lock: BoardLock
    token: str
    facts: Mapping[str, Any]
    room_byte: int
    needed: Sequence[str] = ()


def venv_archive(host: str, facts: Mapping[str, Any], target: Target, store: Path) -> Archive:
    """Return the wheels for a board, as they are unpacked in its venv.

    Raises
    ------
    TargetUnavailable
        No wheels are built for such a board.
    """
    machine, python = facts["machine"], ".".join(facts["python"].split(".")[:2])
    libc, _, libc_version = facts["libc"].partition(" ")
    if machine not in MACHINES or libc != "glibc":
        raise TargetUnavailable(
            f"{host} is {machine} with {facts['libc'] or 'a libc that is not glibc'}",
            cause=f"runtimes are built for {', '.join(MACHINES)} with glibc",
            next_step="install another system on it, such as Raspberry Pi OS (64-bit)",
        )
    glibc_minor = int(libc_version.split(".")[1])
    wheels = requirements(target)
    key = key_of({"what": "venv", "of": [machine, python, glibc_minor, wheels]})

    def fill(into: Path) -> None:
        install_wheels(
            machine, python, glibc_minor, wheels, into,
            f"name wheels that exist for it: requirements = [...] in [executor] of {target.name}",
        )  # fmt: skip

    return make_archive(f"venvs/{key[:32]}", store, fill)


def upload_missing(upload: Upload, archives: Sequence[Archive]) -> tuple[int, int]:
    """Send the archives that the board does not have; returns the bytes sent, and those left for data.

    Raises
    ------
    TargetUnavailable
        There is no room, or the connection was lost.
    """
    missing = [archive for archive in archives if archive.name not in upload.facts["has"]]
    unpacked_byte = sum(archive.unpacked_byte for archive in missing)
    keep = list(dict.fromkeys([*upload.needed, *(archive.name for archive in archives)]))
    ready = upload.lock.ready(keep, upload.room_byte - unpacked_byte)
    used_byte = ready["kept_byte"] + unpacked_byte
    if used_byte + LEAST_ROOM_BYTE > upload.room_byte:
        raise TargetUnavailable(
            f"{upload.client.host} is granted {upload.room_byte / 1e6:.0f} MB, and the runtimes alone take "
            f"{used_byte / 1e6:.0f} MB",
            next_step="raise disk_mb of the target",
        )
    if ready["free_byte"] < unpacked_byte:
        raise _disk_full(upload, unpacked_byte, f"{ready['free_byte'] / 1e6:.0f} MB are free")
    for archive in missing:
        _send(upload, archive)
    return sum(archive.path.stat().st_size for archive in missing), upload.room_byte - used_byte


def _send(upload: Upload, archive: Archive) -> None:
    host, folder = upload.client.host, upload.facts["home"]
    python = [upload.facts["executable"]]
    remote = on_board(upload.token, python, "receive", folder, archive.name, archive.sha256)
    with archive.path.open("rb") as stream:
        done = subprocess.run(
            upload.client.command(remote),
            stdin=stream,
            capture_output=True,
            check=False,
            start_new_session=True,
        )
    stderr = done.stderr.decode(errors="replace")
    if done.returncode == SSH_FAILED or done.returncode < 0:
        raise upload.client.failure(stderr)
    try:
        answer = json.loads(done.stdout)
    except (ValueError, RecursionError):
        answer = {"type": "failed", "full": False, "error": stderr[-300:]}
    answer = board_facts.checked(answer, host, board_facts.RECEIVED)
    if answer["type"] == "received":
        return
    cause = answer.get("error") or ""
    if answer.get("full"):
        raise _disk_full(upload, archive.unpacked_byte, cause)
    raise TargetUnavailable(
        f"the upload of {archive.name.partition('/')[0]} to {host} failed", where=folder,
        cause=cause, next_step=f"ssh {host} ls -la {folder}",
    )  # fmt: skip


def _disk_full(upload: Upload, needed_byte: int, cause: str) -> TargetUnavailable:
    host = upload.client.host
    return TargetUnavailable(
        f"the disk of {host} is full: {needed_byte / 1e6:.0f} MB are needed",
        where=upload.facts["home"], cause=cause, next_step=f"free some space: ssh {host} df -h",
    )  # fmt: skip
