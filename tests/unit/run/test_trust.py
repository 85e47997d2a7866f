"""A plan runs no code that another user's files name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.core.errors import UsageError
from harness.run import trust
from harness.run.request import Request

VALIDATION = """\
schema = 1
[model]
name = "m"
file = "m.onnx"
[data]
{data}
[variants.int8]
recipe = [{{ pass = "quantize" }}]
[suites.accuracy]
"""
PLAIN = 'path = "data.npz"'
CALLABLE = 'callable = "evil:run"'
CALIBRATION = 'path = "data.npz"\n[data.calibration]\ncallable = "evil:run"'
TARGET = """\
description = "t"
backends = ["onnxruntime"]
[deploy]
threads = 1
[executor]
kind = "{kind}"
{key}
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "targets").mkdir()
    target("mine", "local", "")


def target(name: str, kind: str, key: str) -> None:
    Path("targets", f"{name}.toml").write_text(TARGET.format(kind=kind, key=key))


def another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every file that of somebody else."""
    uid = Path("targets").stat().st_uid + 1
    owner = SimpleNamespace(getuid=lambda: uid)
    monkeypatch.setattr(trust, "os", owner)
    stat = Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **more: _Owned(stat(path, **more)))


class _Owned:
    """The status of a file, which neither this user nor root owns."""

    def __init__(self, status: object) -> None:
        self._status = status
        self.st_uid = 12345

    def __getattr__(self, name: str) -> object:
        return getattr(self._status, name)


def check(data: str, target_name: str = "mine") -> None:
    Path("validation.toml").write_text(VALIDATION.format(data=data))
    trust.refuse_code_of_others(Request(targets=(target_name,), model=Path()))


@pytest.mark.parametrize("data", [PLAIN, CALLABLE, CALIBRATION])
def test_files_of_this_user_may_run_code(data: str) -> None:
    target("other-python", "local", 'python = "/evil"')
    check(data, "other-python")


@pytest.mark.parametrize(
    ("data", "says"), [(CALLABLE, "data.callable = 'evil:run'"), (CALIBRATION, "data.calibration.callable")]
)
def test_a_callable_of_another_user(monkeypatch: pytest.MonkeyPatch, data: str, says: str) -> None:
    another_user(monkeypatch)
    with pytest.raises(UsageError, match="files of another user would run code") as caught:
        check(data)
    assert says in str(caught.value)
    assert "validation.toml" in str(caught.value)
    assert "--trust" in str(caught.value)


@pytest.mark.parametrize("key", ['python = "/evil"', 'requirements = ["evil==1.0"]'])
def test_a_program_of_another_user(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    target("theirs", "local", key)
    another_user(monkeypatch)
    with pytest.raises(UsageError, match=f"executor.{key.partition(' ')[0]} in targets/theirs.toml"):
        check(PLAIN, "theirs")


def test_files_of_another_user_that_run_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    another_user(monkeypatch)
    check(PLAIN)
