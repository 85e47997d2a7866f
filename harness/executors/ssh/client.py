"""The program ``ssh`` with the user's own configuration; what it says becomes one clear message."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.core.errors import TargetUnavailable

#: Exit status of ``ssh`` for an error of its own.
SSH_FAILED = 255
#: What has to hold whatever the user's configuration says; of host keys see ``settings``.
OPTIONS = {
    "BatchMode": "yes",
    "ConnectTimeout": "10",
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "ClearAllForwardings": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "PermitLocalCommand": "no",
    "RemoteCommand": "none",
    "RequestTTY": "no",
}
#: What ssh says in lower case, to the cause and what mends it; the first that fits counts.
CAUSES = (
    ("could not resolve hostname", "no such host is known", "check the name, or add it to ~/.ssh/config"),
    ("remote host identification has changed",
     "its host key is not the one that is known: another machine answers there, or it was set up anew",
     "where that is meant: ssh-keygen -R {known}, then ssh {host} once"),
    ("host key verification failed", "its host key is not known yet",
     "ssh {host} once, compare the fingerprint, say yes"),
    ("permission denied", "it accepts none of this user's keys", "ssh-copy-id {host}"),
    ("connection refused", "nothing listens there", "start sshd there, or check Port in ~/.ssh/config"),
    ("timed out", "it does not answer", "is it switched on, and on this network?"),
    ("no route to host", "it does not answer", "is it switched on, and on this network?"),
    ("network is unreachable", "this machine has no way there", "check this machine's network"),
    ("can't open user config file", "there is no such ssh_config", "check ssh_config in [executor]"),
    ("bad configuration option", "the ssh_config cannot be read", "ssh -G {host} says where"),
)  # fmt: skip


class SshClient:
    """One host; every command shares the connection of the first.

    Parameters
    ----------
    host : str
        As for ``ssh``.
    config : str, optional
        A file instead of the user's ``ssh_config``.
    """

    def __init__(self, host: str, config: str = "") -> None:
        self.host, self._config = host, str(Path(config).expanduser()) if config else ""
        self._folder: Path | None = None
        self._known: Mapping[str, str] = {}

    def command(self, remote: Sequence[str], *, first: bool = False) -> list[str]:
        """Return what runs `remote` on the host; the first command carries the connection of the others."""
        if self._folder is None:
            # Short: the name of a socket has 104 characters at most.
            self._folder = Path(tempfile.mkdtemp(prefix="harness-"))
        control = {
            "ControlMaster": "yes" if first else "no",
            "ControlPersist": "no",
            "ControlPath": str(self._folder / "s"),
        }
        return [*self._program(), *_options({**OPTIONS, **control}), "--", self.host, shlex.join(remote)]

    def _program(self) -> list[str]:
        return ["ssh", *(["-F", self._config] if self._config else [])]

    def settings(self) -> Mapping[str, str]:
        """Return what ssh makes of its configuration for this host; refuses one that verifies no host keys.

        Raises
        ------
        TargetUnavailable
        """
        if self._known:
            return self._known
        try:
            done = subprocess.run(
                [*self._program(), "-G", "--", self.host], capture_output=True, text=True, check=False,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise TargetUnavailable(
                f"{self.host} cannot be reached", cause="there is no ssh on this machine",
                next_step="apt install openssh-client",
            ) from error  # fmt: skip
        if done.returncode:
            raise self.failure(done.stderr)
        found = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
        if found.get("stricthostkeychecking") in ("false", "no", "off"):
            raise TargetUnavailable(
                f"{self.host} is not asked: its host key would not be verified", where="ssh_config",
                cause="StrictHostKeyChecking is no",
                next_step="remove that line, or say accept-new",
            )  # fmt: skip
        self._known = found
        return found

    def failure(self, said: str) -> TargetUnavailable:
        """What ssh said on standard error, as one clear message."""
        hostname, port = self._known.get("hostname", self.host), self._known.get("port", "22")
        where = f"{hostname} port {port}" if self._known else ""
        known = hostname if port == "22" else f"'[{hostname}]:{port}'"
        low = said.lower()
        for words, cause, next_step in CAUSES:
            if words in low:
                return TargetUnavailable(
                    f"{self.host} cannot be reached", where=where, cause=cause,
                    next_step=next_step.format(host=self.host, known=known),
                )  # fmt: skip
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        return TargetUnavailable(
            f"{self.host} cannot be reached", where=where, cause="; ".join(lines[-2:]) or "ssh said nothing",
            next_step=f"ssh -v {self.host}",
        )  # fmt: skip

    def close(self) -> None:
        """Delete the folder of the connection's socket."""
        if self._folder is not None:
            with contextlib.suppress(OSError):
                shutil.rmtree(self._folder)
            self._folder = None


def _options(values: Mapping[str, str]) -> list[str]:
    return [word for key, value in values.items() for word in ("-o", f"{key}={value}")]
