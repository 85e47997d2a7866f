"""Commands in messages: called as this shell finds them, quoted, installed from where we were installed."""

from __future__ import annotations

import json
import shlex
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any, NoReturn

import pytest

from harness.core import commands

REQUIRES = [
    "numpy>=1.24",
    "ai-edge-litert>=2.1; (platform_machine != 'armv7l') and extra == 'tflite'",
    "duckdb>=1.3; extra == 'query'",
]


class Installed:
    """As much of a distribution as is read."""

    requires = REQUIRES

    def __init__(self, direct_url: dict[str, Any] | None, record: str | None = "") -> None:
        self._files = {
            "direct_url.json": None if direct_url is None else json.dumps(direct_url), "RECORD": record,
        }  # fmt: skip

    def read_text(self, name: str) -> str | None:
        return self._files[name]


def words(direct_url: dict[str, Any] | None, record: str | None = "", extra: str = "tflite") -> list[str]:
    """The arguments after ``install``, as a shell would split them."""
    distribution_: Any = Installed(direct_url, record)
    command = commands.install_elsewhere(extra, find=lambda name: distribution_)
    split = shlex.split(command)
    assert split[:2] == ["pip", "install"]
    return split[2:]


def test_an_editable_checkout_is_installed_again_by_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "my harness"
    checkout.mkdir()
    direct_url = {"url": checkout.as_uri(), "dir_info": {"editable": True}}
    monkeypatch.chdir(checkout)
    assert words(direct_url) == ["-e", ".[tflite]"]
    monkeypatch.chdir(tmp_path)
    assert words(direct_url) == ["-e", "./my harness[tflite]"]
    monkeypatch.chdir("/")
    assert words(direct_url) == ["-e", f".{checkout}[tflite]"]


def test_a_folder_that_was_copied_is_installed_from_its_folder(tmp_path: Path) -> None:
    assert words({"url": tmp_path.as_uri(), "dir_info": {}}) == [f"{tmp_path}[tflite]"]


def test_a_wheel_and_a_repository_are_named_by_their_url() -> None:
    wheel = "file:///tmp/harness-1.0-py3-none-any.whl"
    assert words({"url": wheel, "archive_info": {}}) == [f"deployment-validation-harness[tflite] @ {wheel}"]
    git = {"url": "https://example.org/h.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}
    assert words(git) == ["deployment-validation-harness[tflite] @ git+https://example.org/h.git@abc"]


def test_an_install_from_an_index_is_named_alone() -> None:
    assert words(None, extra="host,tflite") == ["deployment-validation-harness[host,tflite]"]


def test_a_copy_on_a_board_names_what_the_extra_requires() -> None:
    assert words(None, record=None) == ["ai-edge-litert>=2.1; (platform_machine != 'armv7l')"]
    assert words(None, record=None, extra="query,tflite") == [
        "ai-edge-litert>=2.1; (platform_machine != 'armv7l')", "duckdb>=1.3",
    ]  # fmt: skip


def test_without_metadata_the_distribution_is_named() -> None:
    def missing(name: str) -> NoReturn:
        raise PackageNotFoundError(name)

    command = commands.install_elsewhere("tflite", find=missing)
    assert shlex.split(command)[2:] == ["deployment-validation-harness[tflite]"]


def test_scripts_of_this_python_are_called_as_the_shell_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = tmp_path / "my venv"
    scripts.mkdir()
    for name in ("python", "harness", "pip"):
        (scripts / name).write_text("#!/bin/sh\n")
        (scripts / name).chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(scripts / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(tmp_path)
    assert shlex.split(commands.harness()) == ["my venv/harness"]
    assert shlex.split(commands.pip()) == ["my venv/python", "-m", "pip"]
    assert commands.install("tflite").startswith(commands.pip() + " install ")
    monkeypatch.setenv("PATH", str(scripts))
    assert (commands.harness(), commands.pip()) == ("harness", "pip")
    other = tmp_path / "other"
    other.mkdir()
    (other / "harness").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{other}:{scripts}")
    assert shlex.split(commands.harness()) == ["my venv/harness"]  # another harness is found first
