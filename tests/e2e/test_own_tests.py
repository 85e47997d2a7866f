"""Tests of a user's own, with the fixtures of the plug-in."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from tests.e2e.conftest import MakeModel
from tests.e2e.shell import Shell

OWN = """
import numpy as np

def test_the_table(measurements):
    rows = measurements[(measurements["metric"] == "accuracy") & (measurements["case"] == "clean")]
    rows = rows[rows["target"] == "cpu"]
    assert set(rows["variant"]) == {"int8"}
    assert (rows["value"] > 0.9).all()

def test_what_ships(deployed, target, session):
    assert target.name == deployed.target.name == "cpu"
    assert list(deployed.artifacts) == ["int8"]
    (spec,) = session.inputs
    one = session.run({spec.name: np.zeros((2, 8), np.float32)})
    assert one["y"].shape == (2, 4)
    assert session.effective["threads"] == "1"
"""


def pytest(harness: Shell, *argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "own", *map(str, argv)],
        cwd=harness.folder, env=harness.env, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_of_several_workers_one_measures(harness: Shell, model: MakeModel) -> None:
    folder = model()
    (harness.folder / "own").mkdir()
    text = "SUITE = 'accuracy'\ndef test_gate(harness_gate):\n    harness_gate()\n"
    (harness.folder / "own" / "test_gates.py").write_text(text)
    options = ("--harness-model", folder, "--harness-target", "cpu", "--harness-variant", "float32")
    done = pytest(harness, *options, "-n", "2", "-p", "xdist")
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 1 + 4, done.stdout  # type: ignore[index]
    runs = [path for path in harness.results.iterdir() if not path.is_symlink()]
    assert len(runs) == 1


def test_junit_in_a_project_that_turns_warnings_into_errors(harness: Shell, model: MakeModel) -> None:
    folder = model()
    (harness.folder / "own").mkdir()
    text = "SUITE = 'accuracy'\ndef test_gate(harness_gate):\n    harness_gate()\n"
    (harness.folder / "own" / "test_gates.py").write_text(text)
    (harness.folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    done = pytest(harness, "--harness-model", folder, "--junit-xml=junit.xml", "--harness-variant", "float32")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    cases = ElementTree.parse(harness.folder / "junit.xml").iter("testcase")  # noqa: S314
    by_name = {case.attrib["name"].partition("[")[2].rstrip("]"): case for case in cases}
    assert {"tiny-float32-accuracy", "tiny-float32-same_numbers_as_host"} <= set(by_name)
    case = by_name["tiny-float32-accuracy"]
    properties = {item.attrib["name"]: item.attrib["value"] for item in case.iter("property")}
    assert properties["state"] == "PASS"
    assert properties["metric"] == "accuracy"
    assert float(properties["value"]) >= 0.9


def test_the_fixtures(harness: Shell, model: MakeModel) -> None:
    folder = model()
    (harness.folder / "own").mkdir()
    (harness.folder / "own" / "test_own.py").write_text(OWN)
    ended = harness(
        "validate", "--model", folder, "--target", "cpu", "--suite", "accuracy", "--variant", "int8"
    )
    assert ended.code in (0, 3, 4), ended.err
    options = ("--harness-model", folder, "--harness-variant", "int8", "--harness-run", "latest")
    done = pytest(harness, *options)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
    done = pytest(harness, "--harness-model", folder, "--harness-variant", "int9", "-k", "ships")
    assert done.returncode == 1
    assert "did you mean 'int8'" in done.stdout
    assert "Traceback" not in done.stdout
