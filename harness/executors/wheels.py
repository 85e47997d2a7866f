"""Which wheels a device needs, and how the host gets them for another architecture and Python."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness.core.errors import TargetUnavailable
from harness.core.target import Target

#: The distribution of each backend's runtime.
RUNTIMES = {
    "onnxruntime": "onnxruntime", "tflite": "ai-edge-litert", "openvino": "openvino", "tflm": "tflite-micro",
}  # fmt: skip
#: Versions of glibc (2.x) that wheels are built for, the newest first.
GLIBC_MINORS = range(50, 16, -1)
#: A pip that runs longer is ended.
TIMEOUT_S = 600.0


def requirements(target: Target) -> list[str]:
    """Return the wheels of the target: those that it names, or what its backends need.

    The version is the one that is installed on the host, so that two devices do not differ in versions.
    """
    requirements = target.executor.get("requirements")
    if requirements is not None:
        return list(requirements)
    names = ["numpy", *(RUNTIMES.get(backend, "") for backend in target.backends)]
    return [f"{name}=={version(name)}" if is_installed(name) else name for name in names if name]


def is_installed(name: str) -> bool:
    """Whether the distribution is installed in this Python."""
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def install_wheels(
    machine: str, python: str, glibc_minor: int, requirements: Sequence[str], into: Path, next_step: str = ""
) -> None:
    """Unpack wheels of another machine with this machine's pip; what they require is not installed.

    Parameters
    ----------
    machine : str
        As ``uname -m`` prints it.
    python : str
        ``3.11``.
    glibc_minor : int
        The device has glibc 2.`glibc_minor`.
    requirements : sequence of str
        As pip takes them.
    into : Path
    next_step : str, optional
        The next step of the error.

    Raises
    ------
    TargetUnavailable
        There is no wheel of that version for that machine.
    """
    into.mkdir(parents=True, exist_ok=True)
    if not requirements:
        return
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC_MINORS if minor <= glibc_minor]
    command = [
        sys.executable, "-P", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--no-compile", "--only-binary=:all:", "--python-version", python, "--implementation", "cp",
        "--target", str(into),
        *(f"--platform={platform}" for platform in (*platforms, f"manylinux2014_{machine}")), *requirements,
    ]  # fmt: skip
    what = (
        f"no wheels of {', '.join(requirements)} for Python {python} on {machine} with glibc 2.{glibc_minor}"
    )
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise TargetUnavailable(what, cause=f"pip did not end within {TIMEOUT_S:g} s") from error
    if done.returncode:
        raise TargetUnavailable(what, cause=error_lines(done.stderr), next_step=next_step)


def error_lines(stderr: str) -> str:
    """Return the last lines of what pip or apt wrote on standard error, without warnings."""
    lines = [line for line in stderr.splitlines() if line and not line.startswith("WARNING: ")]
    return "; ".join(lines[-3:])
