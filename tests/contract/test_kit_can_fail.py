"""The conformance kit passes a right backend and finds planted faults."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from harness.testing.conformance import BackendConformance
from harness.testing.fakes import GpuBackend, NumpyBackend

FAULTS = Path(__file__).with_name("planted_faults.py")


class TestNumpyBackend(BackendConformance):
    backend = NumpyBackend


class TestGpuBackend(BackendConformance):
    backend = GpuBackend


def test_kit_finds_each_planted_fault() -> None:
    planted = {
        (name, test)
        for name, kind in runpy.run_path(str(FAULTS)).items()
        for test in getattr(kind, "found_by", ())
    }
    assert len(planted) >= 20
    command = [sys.executable, "-m", "pytest", "-q", "-rf", "--tb=no", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [*command, *(f"{FAULTS}::{name}::{test}" for name, test in sorted(planted))],
        capture_output=True,
        text=True,
        check=False,
    )
    outcomes = set(re.findall(r"^FAILED .*?::(\w+)::(\w+)", run.stdout, re.MULTILINE))
    assert planted - outcomes == set(), run.stdout


def test_known_failure_has_to_name_a_test() -> None:
    with pytest.raises(TypeError, match="test_nothing"):
        type("TestIt", (BackendConformance,), {"expected_failures": {"test_nothing": "because"}})


def test_known_failure_marks_its_own_class_only() -> None:
    class Marked(BackendConformance):
        expected_failures: ClassVar = {"test_batch_may_change": "because"}

    marks = [mark.name for mark in Marked.test_batch_may_change.pytestmark]  # type: ignore[attr-defined]
    assert marks == ["xfail"]
    assert not hasattr(BackendConformance.test_batch_may_change, "pytestmark")
