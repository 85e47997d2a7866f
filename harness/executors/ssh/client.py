"""The program ``ssh`` with the user's configuration; its errors become one clear message."""

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
#: These hold whatever the user's configuration says; for host keys see ``settings``.
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
#: Text in lower case on the standard error of ssh, the cause, the next step; the first match counts.
CAUSES = (
    ("could not resolve hostname", "the name cannot be resolved",
     "check the name, or add it to ~/.ssh/config"),
    ("remote host identification has changed",
     "its host key has changed: another machine answers there, or it was installed again",
     "if that is intended: ssh-keygen -R {key_name}, then ssh {host} once"),
    ("host key verification failed", "its host key is not in known_hosts yet",
     "ssh {host} once, compare the fingerprint, answer yes"),
    ("permission denied", "it accepts none of this user's keys", "ssh-copy-id {host}"),
    ("connection refused", "nothing listens there", "start sshd there, or check Port in ~/.ssh/config"),
    ("timed out", "it does not answer", "is it switched on, and on this network?"),
    ("no route to host", "it does not answer", "is it switched on, and on this network?"),
    ("network is unreachable", "this machine has no way there", "check this machine's network"),
    ("can't open user config file", "there is no such ssh_config", "check ssh_config in [executor]"),
    ("bad configuration option", "the ssh_config cannot be read", "ssh -G {host} names the line"),
)  # fmt: skip


class SshClient:
    """One host; all commands share the connection of the first.

    Parameters
    ----------
    host : str
        As ``ssh`` takes it.
    config : str, optional
        A file instead of the user's ``ssh_config``.
    """

    def __init__(self, host: str, config: str = "") -> None:
        self.host, self._config = host, str(Path(config).expanduser()) if config else ""
        self._folder: Path | None = None
        self._settings: Mapping[str, str] = {}

    def command(self, remote: Sequence[str], *, first: bool = False) -> list[str]:
        """Return what runs `remote` on the host; the first command opens the connection for the others."""
        if self._folder is None:
            # A short path: the name of a socket has 104 characters at most.
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
        """Return ssh's settings for this host; refuses settings that do not verify host keys.

        Raises
        ------
        TargetUnavailable
        """
        if self._settings:
            return self._settings
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
        settings = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
        if settings.get("stricthostkeychecking") in ("false", "no", "off"):
            raise TargetUnavailable(
                f"{self.host} is not used: its host key would not be verified", where="ssh_config",
                cause="StrictHostKeyChecking is no",
                next_step="remove that line, or set it to accept-new",
            )  # fmt: skip
        self._settings = settings
        return settings

    def failure(self, stderr: str) -> TargetUnavailable:
        """Turn what ssh wrote on standard error into one clear message."""
        hostname, port = self._settings.get("hostname", self.host), self._settings.get("port", "22")
        where = f"{hostname} port {port}" if self._settings else ""
        key_name = hostname if port == "22" else f"'[{hostname}]:{port}'"
        for text, cause, next_step in CAUSES:
            if text in stderr.lower():
                return TargetUnavailable(
                    f"{self.host} cannot be reached", where=where, cause=cause,
                    next_step=next_step.format(host=self.host, key_name=key_name),
                )  # fmt: skip
        lines = [line.strip() for line in stderr.splitlines() if line.strip()]
        return TargetUnavailable(
            f"{self.host} cannot be reached", where=where, cause="; ".join(lines[-2:]) or "it wrote no error",
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
