"""A Dask cluster of real processes on the loopback address, over TLS."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from harness.core.commands import install

#: A worker that is not connected by then will not be.
START_S = 60.0
#: A worker that waits takes 0.3 % of a core and not 2 %; the cluster waits while all other tests run.
CALM = {
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "false",
}


def why_not() -> str:
    """Why there can be no cluster here; empty if there can."""
    if find_spec("distributed") is None:
        return f"distributed is not installed: {install('dask')}"
    if shutil.which("openssl") is None:
        return "there is no openssl, which makes the certificates"
    return ""


class Process:
    """A scheduler or worker of Dask; its log is kept for the analysis of failures."""

    def __init__(self, what: str, arguments: list[str], log: Path, env: Mapping[str, str]) -> None:
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dask", what, *arguments, "--no-dashboard"],
                stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                cwd=log.parent, env={**os.environ, **CALM, **env},
            )  # fmt: skip
        self.pid = self._process.pid

    def kill(self) -> None:
        """Like a power cut."""
        self._process.kill()
        self._process.wait()


class DaskCluster:
    """A scheduler; ``start`` adds workers.

    Parameters
    ----------
    folder : Path
        Certificates, logs, and a folder for every worker.
    env : mapping
        Of the processes, besides this one's.
    """

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.folder, self._env = folder, env
        self.workers: dict[str, Process] = {}
        folder.mkdir(parents=True)
        certificates(folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"tls://127.0.0.1:{port}"
        options = ["--host", "127.0.0.1", "--port", str(port), "--protocol", "tls", *self._tls()]
        self._scheduler = Process("scheduler", options, folder / "scheduler.log", env)

    def start(self, *names: str, resource: str = "board", path: str = "") -> None:
        """Start workers and wait until they are connected to the scheduler."""
        from distributed import Client
        from distributed.security import Security

        for name in names:
            options = [
                self.address, "--host", "127.0.0.1", "--protocol", "tls", "--name", name, "--no-nanny",
                "--nthreads", "1", "--memory-limit", "0", "--resources", f"{resource}=1",
                "--local-directory", str(self.folder / name / "scratch"), *self._tls(),
            ]  # fmt: skip
            env = {**self._env, "HARNESS_CACHE": str(self.folder / name)}
            env |= {"PYTHONPATH": path} if path else {}
            self.workers[name] = Process("worker", options, self.folder / f"{name}.log", env)
        files = {f"tls_{key}": str(file) for key, file in zip(
            ("ca_file", "client_cert", "client_key"), self.files.values(), strict=True
        )}  # fmt: skip
        with Client(
            self.address, security=Security(**files), timeout=START_S, set_as_default=False
        ) as client:
            client.wait_for_workers(len(self.workers), timeout=START_S)

    @property
    def files(self) -> dict[str, Path]:
        """The TLS files, by their names in ``[executor]``."""
        return {name: self.folder / f"{name}.pem" for name in ("ca", "cert", "key")}

    def kill(self, name: str) -> None:
        """Kill a worker."""
        self.workers.pop(name).kill()

    def end(self) -> None:
        for process in (*self.workers.values(), self._scheduler):
            process.kill()

    def _tls(self) -> list[str]:
        ca, cert, key = map(str, self.files.values())
        return ["--tls-ca-file", ca, "--tls-cert", cert, "--tls-key", key]


def certificates(folder: Path) -> None:
    """Make a certificate authority and one certificate of it, as docs/fleet.md does."""
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "30"]
    ca = ["-x509", "-subj", "/CN=fleet", "-keyout", "ca-key.pem", "-out", "ca.pem"]
    by = ["-CA", "ca.pem", "-CAkey", "ca-key.pem", "-addext", "basicConstraints=critical,CA:FALSE"]
    signed = ["-x509", "-subj", "/CN=member", *by, "-keyout", "key.pem", "-out", "cert.pem"]
    for arguments in (ca, signed):
        subprocess.run(["openssl", "req", *curve, *arguments], cwd=folder, check=True, capture_output=True)


@contextmanager
def dask_cluster(folder: Path, env: Mapping[str, str] | None = None) -> Iterator[DaskCluster]:
    """Make a cluster without workers; everything of it ends with the context."""
    made = DaskCluster(folder, env or {})
    try:
        yield made
    finally:
        made.end()
