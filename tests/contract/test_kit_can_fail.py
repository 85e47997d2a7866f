"""The conformance kit passes a right backend and finds planted faults."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import planted_faults
import pytest

from harness.testing.conformance import BackendConformance
from harness.testing.fakes import NumpyBackend


class TestNumpyBackend(BackendConformance):
    backend = NumpyBackend


def test_kit_finds_each_planted_fault() -> None:
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            planted_faults.__file__,
            "-q",
            "-rf",
            "--tb=no",
            "-p",
            "no:cacheprovider",
        ],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    )
    failed: dict[str, set[str]] = {}
    for kind, test in re.findall(r"^FAILED .*?::(\w+)::(\w+)", run.stdout, re.MULTILINE):
        failed.setdefault(kind, set()).add(test)
    planted = {
        name: kind.found_by
        for name, kind in vars(planted_faults).items()
        if name.startswith("Test") and hasattr(kind, "found_by")
    }
    assert len(planted) >= 16, run.stdout
    missed = {name: tests - failed.get(name, set()) for name, tests in planted.items()}
    assert {name: tests for name, tests in missed.items() if tests} == {}
    # A fault is not found by everything: the kit tells faults apart.
    assert len(failed["TestHidesNan"]) == 2


def test_known_failure_has_to_name_a_test() -> None:
    with pytest.raises(TypeError, match="test_nothing"):
        type("TestIt", (BackendConformance,), {"expected_failures": {"test_nothing": "because"}})


def test_known_failure_marks_its_own_class_only() -> None:
    class Marked(BackendConformance):
        expected_failures: ClassVar = {"test_batch_may_change": "because"}

    marks = [mark.name for mark in Marked.test_batch_may_change.pytestmark]  # type: ignore[attr-defined]
    assert marks == ["xfail"]
    assert not hasattr(BackendConformance.test_batch_may_change, "pytestmark")
