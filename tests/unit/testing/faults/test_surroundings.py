"""Faults that change the process, in processes; and those of sessions that were idle."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from harness.core.job import Options
from harness.testing.faults.surroundings import FAULTS
from tests.unit.testing.faults.linear import ARTIFACT, planted, right, samples

SCRIPT = """
import sys, tempfile
from suites.reliability import process_state
from tests.unit.testing.faults.linear import *
name, tempfile.tempdir = sys.argv[1], sys.argv[2]
backend, x = planted(name), samples()
before = process_state.read()
with process_state.standard_output() as written:
    for _ in range(3):
        with backend.open(ARTIFACT, Options()) as session:
            assert np.allclose(session.run({"x": x})["y"], right(x), rtol=1e-5)
for change in [*process_state.changes(before, process_state.read()), *written]:
    print(change)
"""


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("changes-working-folder", "the working folder is /"),
        ("changes-environment", "the environment variable PLANTED_BY_THE_HARNESS was set"),
        ("changes-signals", "the handlers of signals"),
        ("changes-rounding", "the rounding mode of floats is nearest=False"),
        ("changes-locale", "the locale of numbers is"),
        ("prints-to-stdout", "standard output got 'planted text'"),
    ],
)
def test_answers_are_right_and_the_process_is_changed(name: str, says: str, tmp_path: object) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, name, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert says in done.stdout
    assert next(fault for fault in FAULTS if fault.name == name).is_named_in(done.stdout)


def test_each_session_leaves_a_file(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    backend = planted("files-per-session")
    for _ in range(3):
        backend.open(ARTIFACT, Options())
    assert len(list(tmp_path.iterdir())) == 3  # type: ignore[attr-defined]


def test_a_session_that_was_idle_is_wrong_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    session, x = planted("wrong-after-idle", 0.2).open(ARTIFACT, Options()), samples()
    answers = []
    for pause_s in (0, 0.1, 0.1, 0.3, 0.1):
        now_s[0] += pause_s
        answers.append(bool((session.run({"x": x})["y"] == right(x)).all()))
    assert answers == [True, True, True, False, False]
