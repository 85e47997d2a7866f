"""The wheel in a fresh virtual environment with exactly the packages that an extra requires.

The packages are links to those of the environment of the tests: nothing is downloaded.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
HARNESS = "deployment-validation-harness"
#: Modules in the user's working folder that have the name of one of ours or of a runtime.
NAMESAKES = ("harness", "backends", "suites", "onnxruntime", "numpy")


@dataclass(frozen=True)
class Installed:
    """A virtual environment and a working folder with modules of the same names as ours.

    Parameters
    ----------
    environment : Path
    folder : Path
    variables : mapping
    """

    environment: Path
    folder: Path
    variables: Mapping[str, str]

    @property
    def python(self) -> str:
        return str(self.environment / "bin" / "python")

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment in the working folder."""
        command = [str(self.environment / "bin" / program), *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=dict(self.variables), capture_output=True, text=True, check=False
        )


def build_wheel(folder: Path) -> Path:
    """Build the wheel of the checkout."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path, extras: Iterable[str] = ()) -> Installed:
    """Make a virtual environment with the wheel and what the extras require."""
    environment, work = folder / "environment", folder / "work"
    _run([sys.executable, "-m", "venv", "--without-pip", str(environment)])
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "install"]
    _run([*pip, "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", str(wheel)])
    (packages,) = environment.glob("lib/python*/site-packages")
    for name in _required(HARNESS, tuple(extras)):
        _symlink(name, packages, environment / "bin")
    work.mkdir()
    for name in NAMESAKES[:3]:
        (work / name).mkdir()
        (work / name / "__init__.py").write_text("raise RuntimeError('imported from the working folder')\n")
    for name in NAMESAKES[3:]:
        (work / f"{name}.py").write_text("raise RuntimeError('imported from the working folder')\n")
    ours = ("PYTHON", "HARNESS", "VIRTUAL")
    variables = {
        **{key: value for key, value in os.environ.items() if not key.startswith(ours)},
        "PATH": os.pathsep.join([str(environment / "bin"), os.environ["PATH"]]),
        "XDG_CACHE_HOME": str(folder / "cache"), "XDG_CONFIG_HOME": str(folder / "config"),
    }  # fmt: skip
    return Installed(environment, work, variables)


def _required(name: str, extras: tuple[str, ...]) -> set[str]:
    """Distributions that pip would install with one, without itself."""
    names: set[str] = set()
    seen: set[tuple[str, tuple[str, ...]]] = set()
    waiting = [(name, extras)]
    while waiting:
        item = waiting.pop()
        if item in seen:
            continue
        seen.add(item)
        for text in distribution(item[0]).requires or ():
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in item[1] or ("",)):
                waiting.append((requirement.name, tuple(sorted(requirement.extras))))
                names.add(requirement.name)
    return names - {name}


def _symlink(name: str, packages: Path, programs: Path) -> None:
    """Link the files of a distribution of this environment into another one."""
    try:
        files = distribution(name).files or ()
    except PackageNotFoundError as error:
        raise AssertionError(f"the environment of the tests has no {name}") from error
    for top_level in {file.parts[0] for file in files} - {"..", "__pycache__"}:
        path = Path(str(distribution(name).locate_file(top_level)))
        if path.exists() and not (packages / top_level).exists():
            (packages / top_level).symlink_to(path)
    if name == "pytest":
        python = programs / "python"
        (programs / "pytest").write_text(
            f"#!{python}\nimport sys\nfrom pytest import console_main\nsys.exit(console_main())\n"
        )
        (programs / "pytest").chmod(0o755)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
