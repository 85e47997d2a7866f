"""A target's own Python on this machine: another interpreter, or a venv with version-pinned packages.

Two versions of a runtime are then two targets. The venv holds the packages that the target names and what
these require; the harness itself comes as a bundle on ``PYTHONPATH``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness.core.errors import TargetUnavailable
from harness.core.target import NVIDIA, Target
from harness.executors import settings
from harness.executors.bundle import bundle
from harness.executors.connection import LocalConnection, PreparedConnection
from harness.executors.wheels import error_lines
from harness.store.cache import key_of, writing

#: Keys of ``[executor]``.
SETTINGS = {
    "python": settings.text("the path of a Python"),
    "requirements": settings.texts("packages, as pip takes them"),
}
#: A pip that runs longer is ended.
TIMEOUT_S = 1800.0
OLDEST_PYTHON = (3, 11)
#: Where a driver shows its devices; a test has its own.
DEVICES = Path("/dev")


class VenvConnection(PreparedConnection):
    """See the module; ``target.executor`` has ``python``, a path, or ``requirements``, or both."""

    def __init__(self, target: Target, store: Path) -> None:
        settings.check(target, SETTINGS)
        super().__init__(store)
        self._target, self._folder = target, store

    def prepare(self) -> LocalConnection:
        """Make the venv, unless it is in the cache."""
        if reason := missing_gpu(self._target):  # before gigabytes are fetched for nothing
            raise TargetUnavailable(reason, next_step="run it on a machine with an NVIDIA GPU")
        table = self._target.executor
        python = str(table.get("python", sys.executable))
        _refuse_old(python, self._target.name)
        if requirements := table.get("requirements", ()):
            python = str(venv(python, requirements, self._folder))
        return LocalConnection(self.store, [python], {"PYTHONPATH": str(bundle(self._folder))})


def missing_gpu(target: Target) -> str:
    """Say why there is no GPU for a target whose provider needs NVIDIA's; empty if there may be one.

    Only device files are looked at (``dxg`` is that of Windows' Linux); the runtime checks the rest.
    """
    if target.deploy.provider not in NVIDIA:
        return ""
    files = (*DEVICES.glob("nvidia[0-9]*"), *DEVICES.glob("dxg"))
    return "" if files else f"there is no NVIDIA GPU here: {DEVICES} has no nvidia0"


def venv(python: str, requirements: Sequence[str], store: Path) -> Path:
    """Return the Python of a venv that has the packages, made once for each content.

    Raises
    ------
    TargetUnavailable
        A package cannot be installed for that Python.
    """
    version = _ask(python, "import sys; print(sys.version)")
    key = key_of({"what": "venv", "of": [os.path.realpath(python), version, list(requirements)]})
    path = store / "venvs" / key[:16]
    if not path.is_dir():
        with writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=".tmp-", dir=path.parent))
        try:
            _run([python, "-P", "-m", "venv", "--without-pip", str(folder / "venv")], "no venv can be made")
            inner_python = folder / "venv" / "bin" / "python"
            pip = [sys.executable, "-P", "-m", "pip", "--python", str(inner_python), "install"]
            options = ["--quiet", "--disable-pip-version-check", "--no-input"]
            _run([*pip, *options, "numpy", *requirements], f"{', '.join(requirements)} cannot be installed")
            (folder / "venv").rename(path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return path / "bin" / "python"


def _refuse_old(python: str, target: str) -> None:
    version = _ask(python, "import sys; print(*sys.version_info[:2])")
    if tuple(map(int, version.split())) < OLDEST_PYTHON:
        raise TargetUnavailable(
            f"the Python of the target {target} is {version.replace(' ', '.')}; 3.11 or newer is required",
            where=python, next_step="name another one in [executor] python",
        )  # fmt: skip


def _ask(python: str, text: str) -> str:
    return _run([python, "-I", "-c", text], f"{python} is not a Python that starts").strip()


def _run(command: Sequence[str], what: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, stdin=subprocess.DEVNULL
        )
    except OSError as error:
        raise TargetUnavailable(what, where=command[0], cause=error.strerror or str(error)) from error
    except subprocess.TimeoutExpired as error:
        raise TargetUnavailable(what, cause=f"it did not end within {TIMEOUT_S:g} s") from error
    if done.returncode:
        raise TargetUnavailable(
            what, cause=error_lines(done.stderr),
            next_step="name versions that exist in [executor] requirements",
        )  # fmt: skip
    return done.stdout
