"""What a board lacks, made for it and brought there."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.errors import TargetUnavailable
from harness.core.target import Target
from harness.executors.archive import Archive, make_archive
from harness.executors.ssh.client import SSH_FAILED, SshClient
from harness.executors.ssh.lock import BoardLock, on_board
from harness.executors.wheels import install_wheels, requirements
from harness.store.cache import key_of

#: Architectures that the wheels of runtimes are built for.
MACHINES = ("aarch64", "armv7l", "x86_64")
#: The data of the smallest case have to fit beside what is shipped.
LEAST_ROOM_BYTE = 20 * 10**6


@dataclass(frozen=True, slots=True)
class Upload:
    """The board that something is brought to.

    Parameters
    ----------
    client : SshClient
    lock : BoardLock
    token : str
    facts : mapping
        See ``board_side.facts``.
    room_byte : int
        That the target grants there.
    kept : sequence of str
        What is needed there besides.
    """

    client: SshClient
    lock: BoardLock
    token: str
    facts: Mapping[str, Any]
    room_byte: int
    kept: Sequence[str] = ()


def venv_archive(host: str, facts: Mapping[str, Any], target: Target, store: Path) -> Archive:
    """Return the wheels for a board as they lie in its venv.

    Raises
    ------
    TargetUnavailable
        No wheels are built for such a board.
    """
    machine, python = facts["machine"], ".".join(facts["python"].split(".")[:2])
    libc, _, number = facts["libc"].partition(" ")
    if machine not in MACHINES or libc != "glibc":
        raise TargetUnavailable(
            f"{host} is {machine} with {facts['libc'] or 'a libc that is not glibc'}",
            cause=f"runtimes are built for {', '.join(MACHINES)} with glibc",
            next_step="install another system on it, such as Raspberry Pi OS (64-bit)",
        )
    glibc_minor = int(number.split(".")[1])
    wanted = requirements(target)
    key = key_of({"what": "venv", "of": [machine, python, glibc_minor, wanted]})

    def fill(into: Path) -> None:
        install_wheels(
            machine, python, glibc_minor, wanted, into,
            f"name wheels that exist for it: requirements = [...] in [executor] of {target.name}",
        )  # fmt: skip

    return make_archive(f"venvs/{key[:32]}", store, fill)


def ship(upload: Upload, wanted: Sequence[Archive]) -> tuple[int, int]:
    """Bring there what is not there; returns the bytes sent, and those that are left for data.

    Raises
    ------
    TargetUnavailable
        There is no room, or the link died.
    """
    lacking = [each for each in wanted if each.name not in upload.facts["has"]]
    unpacked = sum(each.unpacked_byte for each in lacking)
    keep = list(dict.fromkeys([*upload.kept, *(each.name for each in wanted)]))
    ready = upload.lock.ready(keep, upload.room_byte - unpacked)
    held = ready["held_byte"] + unpacked
    if held + LEAST_ROOM_BYTE > upload.room_byte:
        raise TargetUnavailable(
            f"{upload.client.host} is granted {upload.room_byte / 1e6:.0f} MB, and the runtimes alone take "
            f"{held / 1e6:.0f} MB",
            next_step="raise disk_mb of the target",
        )
    if ready["free_byte"] < unpacked:
        raise _full(upload, unpacked, f"{ready['free_byte'] / 1e6:.0f} MB are free")
    for each in lacking:
        _send(upload, each)
    return sum(each.path.stat().st_size for each in lacking), upload.room_byte - held


def _send(upload: Upload, what: Archive) -> None:
    python = [upload.facts["executable"]]
    remote = on_board(upload.token, python, "receive", upload.facts["home"], what.name, what.sha256)
    with what.path.open("rb") as stream:
        done = subprocess.run(
            upload.client.command(remote),
            stdin=stream,
            capture_output=True,
            check=False,
            start_new_session=True,
        )
    if done.returncode == SSH_FAILED or done.returncode < 0:
        raise upload.client.failure(done.stderr.decode(errors="replace"))
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = {"type": "failed", "full": False, "error": done.stderr.decode(errors="replace")[-300:]}
    if answer["type"] == "received":
        return
    if answer["full"]:
        raise _full(upload, what.unpacked_byte, answer["error"])
    raise TargetUnavailable(
        f"{upload.client.host} could not take {what.name.partition('/')[0]}", where=upload.facts["home"],
        cause=answer["error"], next_step=f"ssh {upload.client.host} ls -la {upload.facts['home']}",
    )  # fmt: skip


def _full(upload: Upload, needed_byte: int, cause: str) -> TargetUnavailable:
    return TargetUnavailable(
        f"the disk of {upload.client.host} is full: {needed_byte / 1e6:.0f} MB are needed",
        where=upload.facts["home"], cause=cause, next_step=f"free some room: ssh {upload.client.host} df -h",
    )  # fmt: skip
