"""A board for tests: a real sshd on the loopback address, with a root folder of its own.

Either the emulated ARM userland, or this machine's own programs with another home: what is tested then is the
same, without the time that emulation takes.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

import psutil

from tests.processes import processes

SSHD = "/usr/sbin/sshd"
#: Numbers of qemu's own binfmt table for little-endian 64-bit ARM.
MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"


def why_not() -> str:
    """Why no board can be made here, or nothing."""
    if not Path(SSHD).is_file() or shutil.which("ssh") is None:
        return "needs sshd and ssh: apt install openssh-server"
    return ""


def why_no_emulation() -> str:
    """Why no emulated board can be made here, or nothing."""
    tried = subprocess.run(
        ["unshare", "-Urm", "mount", "-t", "binfmt_misc", "none", "/proc/sys/fs/binfmt_misc"],
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    return why_not() or (
        f"needs user namespaces with binfmt_misc: {tried.stderr}" if tried.returncode else ""
    )


class Board:
    """One board, off until ``on``.

    Parameters
    ----------
    folder : Path
        Everything of it; its name in ``ssh_config`` is the folder's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.name
        self.home, self.config = folder / "home", folder / "ssh_config"
        self._sshd: subprocess.Popen[str] | None = None
        for part in ("home", "tmp", "bin"):
            (folder / part).mkdir(parents=True)
        for key in ("host", "id"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key))
        shutil.copy(folder / "id.pub", folder / "authorized_keys")
        self.port = 0
        variables = f'HOME={self.home} TMPDIR={folder / "tmp"} PATH={folder / "bin"}:"$PATH"'
        self.enter(f'exec env -i {variables} /bin/sh -c "$SSH_ORIGINAL_COMMAND"')

    def enter(self, script: str) -> None:
        """Set the script that runs every command over ssh (it is in ``SSH_ORIGINAL_COMMAND``)."""
        path = self.folder / "enter"
        path.write_text(f"#!/bin/sh\ncd {self.home}\n{script}\n")
        path.chmod(0o755)

    def emulate(self, root: Path, qemu: Path, cpu: str) -> None:
        """Run commands in an ARM userland; the root folder belongs to this board from now on."""
        for name in ("proc", "sys", "dev", "tmp", "root"):
            (root / name).mkdir(exist_ok=True)
        python = root / "usr" / "bin" / "python3"
        if not python.exists():
            python.symlink_to("python3.11")
        shell = root / "bin" / "sh"
        if not shell.exists():
            shell.symlink_to("dash")
        self.home = root / "root"
        inside = (
            "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc; "
            f"echo ':arm:M::{MAGIC}:{MASK}:{qemu}:F' > /proc/sys/fs/binfmt_misc/register; "
            f'for part in proc sys dev; do mount --rbind /$part "{root}/$part"; done; '
            f"exec env -i HOME=/root TEST_BOARD={self.folder} PATH=/usr/bin:/bin QEMU_CPU={cpu} "
            f'/usr/sbin/chroot {root} /bin/sh -c "cd; $SSH_ORIGINAL_COMMAND"'
        )
        self.enter(f"exec unshare -Urm /bin/sh -c {shlex.quote(inside)}")

    def on(self) -> None:
        """Start sshd, on the same port as before."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        self.port = self.port or _free_port()
        settings = self.folder / "sshd_config"
        settings.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder}/host\nPidFile none\n"
            f"AuthorizedKeysFile {self.folder}/authorized_keys\nStrictModes no\nUsePAM no\n"
            f"PasswordAuthentication no\nKbdInteractiveAuthentication no\nForceCommand {self.folder}/enter\n"
        )
        self._sshd = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", str(settings)], stderr=subprocess.PIPE, text=True
        )
        stderr = cast(IO[str], self._sshd.stderr)
        for line in stderr:
            if "Server listening" in line:
                break
        else:
            raise RuntimeError("sshd did not start")
        threading.Thread(target=stderr.read, daemon=True).start()
        self.know((self.folder / "host.pub").read_text())
        self.config.write_text(
            f"Host {self.name}\n  HostName 127.0.0.1\n  Port {self.port}\n  IdentityFile {self.folder}/id\n"
            f"  IdentitiesOnly yes\n  UserKnownHostsFile {self.folder}/known_hosts\n"
        )

    def know(self, key: str) -> None:
        """Write this host key to the client's known_hosts, or none."""
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {key}" if key else "")

    def cut(self) -> None:
        """Kill the connections; sshd keeps running."""
        for process in self._sessions():
            with suppress(psutil.NoSuchProcess):
                if process.name().startswith("sshd"):
                    process.kill()

    def freeze(self) -> None:
        """Break the connection silently: nothing is answered, and it is not closed."""
        for process in self._sessions():
            with suppress(psutil.NoSuchProcess):
                if process.name().startswith("sshd"):
                    process.suspend()

    def off(self) -> None:
        """Switch the board off: sshd and everything that runs on it is killed."""
        if self._sshd is None:
            return
        everything = [*self._sessions(), *(psutil.Process(pid) for pid in self.running())]
        self._sshd.kill()
        self._sshd.wait()
        for process in everything:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        cast(IO[str], self._sshd.stderr).close()
        self._sshd = None

    def _sessions(self) -> list[psutil.Process]:
        assert self._sshd is not None
        return list(psutil.Process(self._sshd.pid).children(recursive=True))

    def running(self) -> list[int]:
        """Processes of the harness on the board."""
        return [pid for pid in processes(str(self.folder)) if pid in set(processes("HARNESS_BOARD="))]


@contextmanager
def board(folder: Path) -> Iterator[Board]:
    """Make a board that is switched on, and switch it off in the end."""
    made = Board(folder)
    made.on()
    try:
        yield made
    finally:
        made.off()


def _free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
