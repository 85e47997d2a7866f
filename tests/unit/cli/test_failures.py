"""What ends a command: nothing but a failed gate gives exit code 1."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from harness.cli import child
from harness.cli import main as cli
from harness.core.errors import BackendError, HarnessError, StoreError, UsageError


def ending(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def command(arguments: argparse.Namespace) -> int:
        raise error

    monkeypatch.setitem(cli.COMMANDS, "targets", command)
    return cli.main(["targets"])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_an_exception_in_any_command_is_one_line_a_saved_traceback_and_exit_code_3(
    name: str, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(arguments: argparse.Namespace) -> int:
        raise ZeroDivisionError("planted")

    arguments = {
        "judge": ["r"], "compare": ["a", "b"], "report": ["r"], "baseline": ["list"], "query": ["SELECT 1"],
        "upgrade": ["onnxruntime", "1", "2"], "init": ["m.onnx", "--data", "d"], "fleet": ["--target", "t"],
        "compress": ["m", "--recipe", "int8", "--out", "o"],
        "search": ["m", "--out", "o"], "score": ["p", "l"], "shift": ["list"],
    }  # fmt: skip
    monkeypatch.setenv(child.IN_CHILD, "1")  # else init fails in a process that is not planted
    monkeypatch.setitem(cli.COMMANDS, name, command)
    assert cli.main([name, *arguments.get(name, [])]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    (saved,) = (cache / "tracebacks").iterdir()
    assert line.startswith("harness: unexpected ZeroDivisionError: planted (test_failures.py:")
    assert line.endswith(f"; traceback: {saved}")
    assert saved.name.split("-")[1] == name
    assert "Traceback (most recent call last)" in saved.read_text()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("u"), 2), (HarnessError("h"), 3), (StoreError("s"), 3), (KeyboardInterrupt(), 3),
        (MemoryError(), 3), (RecursionError("deep"), 3), (ModuleNotFoundError("no pandas", name="pandas"), 2),
        (ModuleNotFoundError("no mine", name="mine"), 3),
    ],
)  # fmt: skip
def test_exit_codes(error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ending(error, monkeypatch) == code


def test_the_full_message_of_a_runtime_is_saved(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(BackendError("it refused", raw="line 1\nline 2"), monkeypatch) == 3
    (saved,) = (cache / "tracebacks").iterdir()
    assert capsys.readouterr().err == f"harness: it refused\n  full   {saved}\n"
    assert saved.read_text() == "line 1\nline 2"


def test_a_cache_that_cannot_be_written_does_not_hide_the_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "file"))
    assert ending(ZeroDivisionError("planted"), monkeypatch) == 3
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_usage_is_still_argparse_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["validate", "--no-such-option"])
    assert ended.value.code == 2
