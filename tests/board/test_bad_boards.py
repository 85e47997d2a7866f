"""Boards that cannot be used: one clear message each."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.core.errors import ConfigurationError, TargetUnavailable
from harness.core.target import Target
from harness.executors.archive import Archive
from harness.executors.ssh import upload
from harness.executors.ssh.executor import SshExecutor
from tests.board.board import Board
from tests.board.conftest import MakeBoard, Reach


def refused(executor: object) -> TargetUnavailable:
    with pytest.raises(TargetUnavailable) as caught:
        executor.probe(["null"])  # type: ignore[attr-defined]
    return caught.value


def tools(board: Board, *names: str) -> Path:
    """Put only these programs on the board's path."""
    folder = board.folder / "few"
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to(f"/usr/bin/{name}")
    enter = board.folder / "enter"
    enter.write_text(enter.read_text().replace(f'{board.folder / "bin"}:"$PATH"', str(folder)))
    return folder


def off(board: Board) -> None:
    board.off()


def unknown_key(board: Board) -> None:
    board.know("")


def changed_key(board: Board) -> None:
    board.know((board.folder / "id.pub").read_text())


def wrong_key(board: Board) -> None:
    (board.folder / "authorized_keys").write_text("")


def no_python(board: Board) -> None:
    tools(board, "env", "sh")


def old_python(board: Board) -> None:
    fake = tools(board, "env", "sh") / "python3"
    fake.write_text("#!/bin/sh\necho 3.9\n")
    fake.chmod(0o755)


def chatty_shell(board: Board) -> None:
    enter = board.folder / "enter"
    enter.write_text(enter.read_text().replace("\nexec", "\necho Welcome!\nexec"))


def small_disk(board: Board) -> None:
    inside = f"mount -t tmpfs -o size=8m none {board.home} && exec {board.folder}/inner"
    (board.folder / "enter").rename(board.folder / "inner")
    board.enter(f"exec unshare -Urm /bin/sh -c '{inside}'")


def short_files(board: Board) -> None:
    enter = board.folder / "enter"
    enter.write_text(enter.read_text().replace("\nexec", "\nulimit -f 2000\nexec"))


def read_only_home(board: Board) -> None:
    (board.home / ".cache").write_text("a file")


FAULTS: list[tuple[Callable[[Board], None], tuple[str, str, str]]] = [
    (off, ("bad cannot be reached", "nothing listens there", "start sshd there")),
    (unknown_key, ("bad cannot be reached", "host key is not in known_hosts yet", "ssh bad once")),
    (
        changed_key,
        ("bad cannot be reached", "host key has changed", "ssh-keygen -R '[127.0"),
    ),
    (wrong_key, ("bad cannot be reached", "accepts none of this user's keys", "ssh-copy-id bad")),
    (no_python, ("no Python 3.11 or newer on bad", "there is no python3", "apt install python3")),
    (old_python, ("no Python 3.11 or newer on bad", "python3 is 3.9", "apt install python3")),
    (
        chatty_shell,
        ("bad sent 'Welcome!' instead of an answer", "a start-up file", "only in interactive shells"),
    ),
    (small_disk, ("the disk of bad is full", "MB are free", "df -h")),
    (short_files, ("the disk of bad is full", "File too large", "df -h")),
    (read_only_home, ("the upload of venvs to bad failed", "Not a directory", "ls -la")),
]


@pytest.mark.parametrize(("fault", "says"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_one_clear_message(
    make_board: MakeBoard, reach: Reach, fault: Callable[[Board], None], says: tuple[str, str, str]
) -> None:
    if fault is small_disk and subprocess.run(["unshare", "-Urm", "true"], check=False).returncode:
        pytest.skip("needs user namespaces")
    board = make_board("bad")
    executor = reach(board)
    fault(board)
    error = refused(executor)
    for text, part in zip((error.what, error.cause, error.next_step), says, strict=True):
        assert part in text, str(error)
    assert "Traceback" not in str(error)
    if fault is not off:
        assert not board.running()
    leftovers = list(board.home.glob(".cache/*/*/.tmp-*"))
    assert not leftovers


def test_a_host_whose_name_cannot_be_resolved(one_board: Board, reach: Reach) -> None:
    executor = reach(one_board, hosts=["nobody.invalid"])
    error = refused(executor)
    assert "nobody.invalid cannot be reached" in error.what
    assert "the name cannot be resolved" in error.cause


def test_a_host_whose_key_would_not_be_verified(one_board: Board, reach: Reach) -> None:
    executor = reach(one_board)
    config = Path(executor._devices[0].connection._target.executor["ssh_config"])
    config.write_text(config.read_text() + "  StrictHostKeyChecking no\n")
    assert "its host key would not be verified" in refused(executor).what


def test_a_wheel_that_does_not_exist(one_board: Board, reach: Reach) -> None:
    error = refused(reach(one_board, requirements=["numpy==0.0.1"]))
    machine = os.uname().machine
    assert "no wheels of numpy==0.0.1 for Python 3." in error.what
    assert f"on {machine} with glibc 2." in error.what
    assert "numpy==0.0.1" in error.cause
    assert "requirements = [...]" in error.next_step


@pytest.mark.parametrize(
    ("machine", "libc", "says"),
    [("riscv64", "glibc 2.36", "pi is riscv64 with glibc 2.36"), ("aarch64", "", "a libc that is not glibc")],
)
def test_an_architecture_without_wheels(tmp_path: Path, machine: str, libc: str, says: str) -> None:
    facts = {"machine": machine, "libc": libc, "python": "3.11.2"}
    with pytest.raises(TargetUnavailable, match=says):
        upload.venv_archive("pi", facts, Target("pi", "", ("null",)), tmp_path)


def test_a_target_that_grants_too_little(one_board: Board, reach: Reach) -> None:
    executor = reach(one_board)
    connection = executor._devices[0].connection
    connection._target = replace(connection._target, disk_mb=10)
    assert "one is granted 10 MB, and the runtimes alone take" in refused(executor).what


@pytest.mark.full
def test_a_damaged_upload_is_not_kept(make_board: MakeBoard, reach: Reach, store: Path) -> None:
    board = make_board("damaged")
    executor = reach(board)
    executor.probe(["null"])
    connection = executor._devices[0].connection
    packed = store / "damaged.tar.gz"
    packed.write_bytes(next((store / "archives").glob("bundles-*.tar.gz")).read_bytes())
    facts = {"has": (), "home": str(board.home / "there"), "executable": "python3"}
    board_upload = upload.Upload(
        connection.board.client, connection.board.lock, connection.board.token, facts, 10**9
    )
    with pytest.raises(TargetUnavailable, match="the upload of bundles to damaged failed") as caught:
        upload._send(board_upload, Archive("bundles/x", packed, "0" * 64, 1))
    assert "it arrived damaged" in caught.value.cause
    assert not list((board.home / "there" / "bundles").iterdir())


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"hosts": []}, "executor.hosts: name a board"),
        ({"hosts": ["-oProxyCommand=x"]}, "executor.hosts: '-oProxyCommand=x' is not a host"),
        ({"hosts": ["a", "a"]}, "executor.hosts: names a board twice"),
        ({"hosts": ["a"], "ssh_config": "/nowhere"}, "executor.ssh_config: /nowhere cannot be read"),
        ({"hosts": ["a"], "retries": "3"}, "executor.retries: is an integer"),
        ({"hosts": ["a"], "requirements": "numpy"}, "executor.requirements: is a list of names"),
        ({"hosts": ["a"], "pyhton": "x"}, "executor.pyhton: unknown key; did you mean python?"),
    ],
)
def test_an_invalid_table(table: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SshExecutor(Target("pi", "", ("null",), {"kind": "ssh", **table}), Path())
    assert says in str(caught.value)
