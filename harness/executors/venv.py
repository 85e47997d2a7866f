"""A Python of a target's own on this machine: another interpreter, or a venv with pinned packages.

So two versions of a runtime stand side by side as two targets. The venv holds what the target names and what
that requires; the harness itself comes as a bundle on ``PYTHONPATH``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness.core.errors import ConfigurationError, Problem, TargetUnavailable
from harness.core.settings import unlisted_keys
from harness.core.target import NVIDIA, Target
from harness.executors.bundle import bundle
from harness.executors.connection import LocalConnection, PreparedConnection
from harness.store.cache import key_of, writing

#: Keys of ``[executor]``.
KEYS = ("kind", "python", "requirements")
#: A pip that does not end by then is ended.
TIMEOUT_S = 1800.0
LEAST_PYTHON = (3, 11)
#: Where a driver shows its devices; a test has its own.
DEVICES = Path("/dev")


class VenvConnection(PreparedConnection):
    """See the module; ``target.executor`` has ``python``, a path, or ``requirements``, or both."""

    def __init__(self, target: Target, store: Path) -> None:
        check(target)
        super().__init__(store)
        self._target, self._folder = target, store

    def make(self) -> LocalConnection:
        """Make the venv, where it is not in the cache."""
        if reason := lacking_gpu(self._target):  # before gigabytes are fetched for nothing
            raise TargetUnavailable(reason, next_step="run it on a machine with an NVIDIA GPU")
        table = self._target.executor
        python = str(table.get("python", sys.executable))
        _refuse_old(python, self._target.name)
        if wanted := table.get("requirements", ()):
            python = str(venv(python, wanted, self._folder))
        return LocalConnection(self.store, [python], {"PYTHONPATH": str(bundle(self._folder))})


def check(target: Target) -> None:
    """Check the table ``[executor]`` of a local target.

    Raises
    ------
    ConfigurationError
        With every problem.
    """
    table = target.executor
    problems = [Problem(f"executor.{key}", text) for key, text in unlisted_keys(table, KEYS)]
    if not isinstance(table.get("python", ""), str):
        problems.append(Problem("executor.python", "is the path of a Python"))
    wanted = table.get("requirements", [])
    if not isinstance(wanted, list | tuple) or not all(isinstance(item, str) for item in wanted):
        problems.append(Problem("executor.requirements", "is a list of packages, as pip takes them"))
    if problems:
        raise ConfigurationError(f"target {target.name}", tuple(problems))


def lacking_gpu(target: Target) -> str:
    """Say why there is no GPU for a target whose provider needs NVIDIA's; empty where one may be.

    Only device files are looked at (``dxg`` is that of Windows' Linux): the runtime says the rest.
    """
    if target.deploy.provider not in NVIDIA:
        return ""
    shown = (*DEVICES.glob("nvidia[0-9]*"), *DEVICES.glob("dxg"))
    return "" if shown else f"there is no NVIDIA GPU here: {DEVICES} has no nvidia0"


def venv(python: str, requirements: Sequence[str], store: Path) -> Path:
    """Return the Python of a venv that has the packages, made once for what is in it.

    Raises
    ------
    TargetUnavailable
        A package cannot be had for that Python.
    """
    version = _ask(python, "import sys; print(sys.version)")
    key = key_of({"what": "venv", "of": [os.path.realpath(python), version, list(requirements)]})
    made = store / "venvs" / key[:16]
    if not made.is_dir():
        with writing(made.parent):
            made.parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=".tmp-", dir=made.parent))
        try:
            _run([python, "-m", "venv", "--without-pip", str(folder / "venv")], "no venv can be made")
            inside = folder / "venv" / "bin" / "python"
            pip = [sys.executable, "-m", "pip", "--python", str(inside), "install"]
            options = ["--quiet", "--disable-pip-version-check", "--no-input"]
            _run([*pip, *options, "numpy", *requirements], f"{', '.join(requirements)} cannot be installed")
            (folder / "venv").rename(made)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return made / "bin" / "python"


def _refuse_old(python: str, target: str) -> None:
    found = _ask(python, "import sys; print(*sys.version_info[:2])")
    if tuple(map(int, found.split())) < LEAST_PYTHON:
        raise TargetUnavailable(
            f"the Python of the target {target} is {found.replace(' ', '.')}, the oldest to do is 3.11",
            where=python, next_step="name another one in [executor] python",
        )  # fmt: skip


def _ask(python: str, text: str) -> str:
    return _run([python, "-I", "-c", text], f"{python} is no Python that starts").strip()


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
        said = [line for line in done.stderr.splitlines() if line and not line.startswith("WARNING: ")]
        raise TargetUnavailable(
            what, cause="; ".join(said[-3:]), next_step="name versions that exist in [executor] requirements"
        )
    return done.stdout
