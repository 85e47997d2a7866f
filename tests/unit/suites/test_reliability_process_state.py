"""The state of the process: what a fault changes is named, and reading it changes nothing."""

from __future__ import annotations

import gc
import locale
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from suites.reliability import process_state
from tests.unit.suites.reliability_bench import case_named, measured


def test_reading_changes_nothing() -> None:
    before = process_state.read()
    np.array([1e-39], np.float32) * np.float32(0.5)
    assert process_state.changes(before, process_state.read()) == []


@pytest.mark.parametrize(
    ("change", "undo", "says"),
    [
        (lambda: os.chdir("/"), None, "the working folder is /, was "),
        (lambda: os.umask(0o001), lambda: os.umask(0o022), "the mask of new files is 001"),
        (gc.disable, gc.enable, "the garbage collector is on=False, was on=True"),
        (lambda: np.seterr(all="raise"), lambda: np.seterr(all="warn", under="ignore"), "float errors"),
        (random.random, None, "the state of Python's random numbers"),
        (lambda: np.random.seed(3), None, "the state of numpy's random numbers"),
        (
            lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN),
            lambda: signal.signal(signal.SIGUSR2, signal.SIG_DFL),
            "the handlers of signals",
        ),
        (
            lambda: locale.setlocale(locale.LC_NUMERIC, "C.UTF-8"),
            lambda: locale.setlocale(locale.LC_NUMERIC, "C"),
            "the locale of numbers is C.UTF-8, was C",
        ),
    ],
)
def test_a_change_is_named(
    change: Callable[[], object],
    undo: Callable[[], object] | None,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = process_state.read()
    change()
    try:
        changes = process_state.changes(before, process_state.read())
    finally:
        if undo is not None:
            undo()
    assert any(says in text for text in changes), changes


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOES", "1")
    before = process_state.read()
    monkeypatch.setenv("COMES", "1")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")  # runtimes set their own
    monkeypatch.delenv("GOES")
    assert process_state.changes(before, process_state.read()) == [
        "the environment variable GOES was deleted",
        "the environment variable COMES was set",
    ]


def test_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    with process_state.standard_output() as written:
        os.write(1, b"hello\nmore\n")
    assert written == ["standard output got 'hello'"]
    with process_state.standard_output() as written:
        os.write(2, b"an error is no result\n")
    assert written == []
    with process_state.standard_output() as written:
        os.close(1)
    assert written == ["descriptor 1 was closed or replaced"]
    sys.stdout.flush()


def test_a_backend_that_changes_the_process_is_named(tmp_path: Path) -> None:
    rows = measured(tmp_path, case_named("determinism"), "locks the process")
    try:
        assert rows["process_state_unchanged"].value == 0
        assert "the environment variable LEFT_BY_A_TEST was set" in rows["process_state_unchanged"].reason
    finally:
        os.environ.pop("LEFT_BY_A_TEST", None)
