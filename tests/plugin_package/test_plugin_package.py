"""A third party's distribution is installed and found; a broken one is reported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.testing.fakes import register

HERE = Path(__file__).parent

LIST = """
import json
from harness.device import plugins
from harness.core.errors import HarnessError
found = {}
try:
    for name, plugin in plugins.catalogue(plugins.BACKENDS).items():
        if plugin.distribution == "deployment-validation-harness":
            continue
        try:
            found[name] = [plugin.distribution, plugin.load()().probe().reason]
        except HarnessError as error:
            found[name] = [plugin.distribution, str(error)]
except HarnessError as error:
    found = {"error": [type(error).__name__, str(error)]}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which pip installed the toy."""
    folder = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "toy_backend.py"):
        (source / name).write_bytes((HERE / name).read_bytes())
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    run = _python([*pip[1:], "--target", str(folder), str(source)])
    assert run.returncode == 0, run.stderr
    return folder


def _python(arguments: list[str], *folders: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([*map(str, folders), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False
    )


def _backends(*folders: Path) -> Mapping[str, list[str]]:
    run = _python(["-c", LIST], *folders)
    assert run.returncode == 0, run.stderr
    backends: dict[str, list[str]] = json.loads(run.stdout)
    return backends


def test_installed_backend_is_found(installed: Path) -> None:
    before = _backends()  # a developer's environment may have other plug-ins
    assert "toy" not in before
    assert _backends(installed) == {**before, "toy": ["toy-backend", ""]}


def test_installed_backend_passes_the_kit(installed: Path) -> None:
    kit = [
        "-m",
        "pytest",
        "-q",
        "-rs",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(HERE),
        str(HERE / "kit.py"),
    ]
    run = _python(kit, installed)
    assert run.returncode == 0, run.stdout
    assert " passed" in run.stdout
    assert not any(word in run.stdout for word in ("xfailed", "no tests"))
    skipped = [line for line in run.stdout.splitlines() if line.startswith("SKIPPED")]
    # Its memory is the host's, and it tells no times of its kernels.
    assert all(line.endswith(("has no bind_device", "has no profile")) for line in skipped)


def test_broken_backend_is_listed_with_its_reason(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "broken_backend.py").write_text("raise OSError('libmissing.so: cannot open')\n")
    register(tmp_path, {"harness.backends": {"broken": "broken_backend:Backend"}}, distribution="broken-dist")
    backends = _backends(installed, tmp_path)
    assert backends["toy"] == ["toy-backend", ""]
    distribution, reason = backends["broken"]
    assert distribution == "broken-dist"
    assert "libmissing.so" in reason
    assert "uninstall broken-dist" in reason


def test_duplicate_name_names_both_distributions(installed: Path, tmp_path: Path) -> None:
    register(tmp_path, {"harness.backends": {"toy": "toy_backend:ToyBackend"}}, distribution="other-dist")
    kind, message = _backends(installed, tmp_path)["error"]
    assert kind == "UsageError"
    assert "toy-backend" in message
    assert "other-dist" in message
