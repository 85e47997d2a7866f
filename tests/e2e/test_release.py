"""A release is gated against an accepted run: one sentence in the CLI, in pytest and in the JUnit file."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.core.job import Samples
from harness.store.run_folder import RunFolder
from tests.e2e.shell import Forge, Shell, check, copy_model

GATES = """
[[gate]]
name = "no worse than accepted"
suite = "accuracy"
metric = "accuracy"
variant = "int8"
case = "clean"
baseline = "accepted"
min_change = "-0.5 %"
[[gate]]
name = "no slower than accepted"
suite = "performance"
metric = "latency_p50"
variant = "int8"
baseline = "accepted"
max_ratio = 1.05
"""
SUITES = Path(__file__).parents[2] / "suites"
Arrays = Mapping[str, NDArray[np.generic]]


@pytest.fixture(scope="module")
def once(forge: Forge, cache: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A run that was accepted, its times replaced by planted ones: five processes, 3 % apart."""
    harness = Shell(forge, tmp_path_factory.mktemp("accepted"), cache)
    folder = copy_model(
        tiny, harness.folder / "model", ("processes = 2\nrounds", "processes = 5\nrounds"), added=GATES
    )
    ended = harness(
        "validate",
        "--model",
        folder,
        "--target",
        "cpu",
        "--variant",
        "int8",
        "--suite",
        "accuracy,performance",
    )
    assert "there is no baseline accepted of cpu" in ended.out, ended.err
    run = harness.run()
    calm(run)
    plant(run, "performance", lambda arrays: timed(arrays, 1.0))
    ended = harness("baseline", "save", "latest", "--reason", "the first", "--by", "jane")
    assert (ended.code, ended.err) == (0, ""), ended.err
    return harness


@pytest.fixture
def accepted(once: Shell, harness: Shell) -> Path:
    """A copy of the accepted run, its baseline and its model, in the test's own folder."""
    shutil.copytree(once.folder, harness.folder, symlinks=True, dirs_exist_ok=True)
    return harness.results / (once.results / "latest").resolve().name


def calm(run: Path) -> None:
    """Forget how busy the machine was: the planted times are none of its."""
    journal = run / "journal.jsonl"
    lines_kept = [
        line
        for line in journal.read_text().splitlines(keepends=True)
        if (body := json.loads(line)["body"])["type"] == "result" or body["phase"] == "before"
    ]
    journal.write_text("".join(lines_kept))


def plant(run: Path, suite: str, changed: Callable[[Arrays], Arrays]) -> None:
    """Measure again, so to speak: append other results of int8 on cpu to the journal."""
    folder = RunFolder(run)
    with folder.journal() as journal:
        for key, result in folder.facts().results.items():
            if (key.target, key.variant, key.suite) == ("cpu", "int8", suite) and result.samples.arrays:
                arrays = dict(changed(result.samples.arrays))
                journal.append(replace(result, samples=Samples(arrays, result.samples.values)))


def timed(arrays: Arrays, factor: float) -> Arrays:
    if "latency_ns" not in arrays:
        return arrays
    times = factor * np.array([97e3, 98.5e3, 100e3, 101.5e3, 103e3])
    return {
        **arrays,
        "latency_ns": np.repeat(times.astype(np.int64), 140),
        "requests": np.full(5, 140, np.int64),
    }


def copy(run: Path, name: str) -> Path:
    other = run.parent / name
    shutil.copytree(run, other)
    facts = json.loads((other / "run.json").read_text())
    (other / "run.json").write_text(json.dumps({**facts, "run_id": name}))
    return other


def in_pytest(harness: Shell, run: Path, model: Path) -> tuple[int, dict[str, ElementTree.Element]]:
    """The gates of a stored run as pytest items; test cases of the JUnit file by name."""
    junit = harness.folder / "junit.xml"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", str(SUITES), "-p", "no:randomly", "-q", f"--rootdir={SUITES.parent}",
         "-o", "addopts=", "--target", "cpu", "--variant", "int8", "--model", str(model), "--results",
         str(harness.results), "--run", run.name, f"--junit-xml={junit}"],
        cwd=harness.folder, env=harness.env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    cases = {case.attrib["name"]: case for case in ElementTree.parse(junit).iter("testcase")}  # noqa: S314
    assert cases, done.stdout
    return done.returncode, cases


def sentence(out: str, gate: str) -> str:
    line = next(line for line in out.splitlines() if f"{gate}: " in line)
    return line.partition(f"{gate}: ")[2]


def test_two_points_lost_fail_everywhere_with_one_sentence(harness: Shell, accepted: Path) -> None:
    """Six answers of 250, 2.4 points, become wrong."""
    run = copy(accepted, "lost")

    def spoiled(arrays: Arrays) -> Arrays:
        (name,) = (name for name in arrays if name.startswith("output"))
        outputs = arrays[name].copy()
        if len(outputs) >= 250:
            outputs[:6] = -outputs[:6]
        return {**arrays, name: outputs}

    plant(run, "accuracy", spoiled)
    ended = harness("judge", run.name)
    assert ended.code == 1, ended.out
    sentence_ = sentence(ended.out, "no worse than accepted")
    assert "FAIL" in ended.out
    assert "the change of accuracy in clean against accepted is -0.02" in sentence_
    code, cases = in_pytest(harness, run, harness.folder / "model")
    assert code == 1
    failure = cases["test_gate[tiny-int8-no_worse_than_accepted]"].find("failure")
    assert failure is not None
    assert f"FAIL no worse than accepted: {sentence_}" in failure.attrib["message"]


@pytest.mark.parametrize(
    ("factor", "state", "code"),
    [(1.02, "INCONCLUSIVE", 4), pytest.param(1.6, "FAIL", 1, marks=pytest.mark.full)],
)
def test_a_wobble_is_inconclusive_and_a_slowdown_fails(
    harness: Shell, accepted: Path, factor: float, state: str, code: int
) -> None:
    run = copy(accepted, "wobbly")
    plant(run, "performance", lambda arrays: timed(arrays, factor))
    ended = harness("judge", run.name)
    assert ended.code == code, ended.out
    sentence_ = sentence(ended.out, "no slower than accepted")
    assert f"the ratio of latency_p50 in single_stream against accepted is {factor:g}x [" in sentence_
    _, cases = in_pytest(harness, run, harness.folder / "model")
    case = cases["test_gate[tiny-int8-no_slower_than_accepted]"]
    failure = case.find("failure")
    assert failure is not None
    assert f"{state} no slower than accepted: {sentence_}" in failure.attrib["message"]
    properties = {item.attrib["name"]: item.attrib["value"] for item in case.iter("property")}
    assert float(properties["value"]) == pytest.approx(factor)
    assert properties["state"] == state
    assert properties["limit"] == "1.05"


def test_a_waiver_lifts_a_failure(harness: Shell, accepted: Path) -> None:
    ended = harness("judge", accepted.name)
    assert (
        "is 0 [-0.01071, 0.01071], limit -0.005" in ended.out
    )  # the same answers: 250 do not decide half a point
    run = copy(accepted, "waived")
    facts = json.loads((run / "run.json").read_text())
    waiver = {"gate": "no slower than accepted", "owner": "jane", "reason": "HW-212", "expires": "2031-05-01"}
    facts["validation"]["waiver"] = [waiver, {**waiver, "gate": "no worse than accepted"}]
    (run / "run.json").write_text(json.dumps(facts))
    plant(run, "performance", lambda arrays: timed(arrays, 2.0))
    ended = harness("judge", run.name)
    assert ended.code == 0, ended.out
    assert "waived by jane until 2031-05-01: HW-212" in ended.out
    assert "verdict: PASS (0)" in ended.out
    _, cases = in_pytest(harness, run, harness.folder / "model")
    skipped = cases["test_gate[tiny-int8-no_slower_than_accepted]"].find("skipped")
    assert skipped is not None
    assert "waived by jane" in skipped.attrib["message"]
    assert harness("compare", accepted.name, run.name).code == 0


def test_baselines_are_listed_shown_compared_and_not_edited(harness: Shell, accepted: Path) -> None:
    assert "tiny/cpu/accepted" in harness("baseline", "list").out
    shown = harness("baseline", "show").out
    assert "by jane: the first" in shown
    assert "onnxruntime/int8: accuracy " in shown
    ended = harness("baseline", "diff", accepted.name)
    assert "0 worse" not in ended.out
    assert " same" in ended.out
    check(
        harness("baseline", "save", "latest", "--reason", "again"), 2, "there is a baseline accepted of cpu"
    )
    check(harness("baseline", "save", "latest", "--reason", " ", "--replace"), 2, "needs a reason")
    check(harness("baseline", "save", "latest", "--reason", "a", "--name", "../x"), 2, "is not a name")
    check(harness("baseline", "save", "latest", "--reason", "a", "--target", "tpu"), 2, "no rows of tpu")
    check(harness("baseline", "show", "--name", "other"), 2, "no baseline other", "tiny/cpu/accepted")
    folder = harness.results / "baselines" / "tiny" / "cpu" / "accepted"
    table = folder / "measurements.csv"
    original = table.read_text()
    table.write_text(original.replace("accuracy,", "accuracy ,", 1))
    for command in (("judge", accepted.name), ("baseline", "show"), ("baseline", "diff", accepted.name)):
        check(harness(*command), 2, "edited since it was accepted", "measurements.csv")
    validate = ("validate", "--model", harness.folder / "model", "--target", "cpu", "--variant", "int8")
    before = sorted(harness.results.iterdir())
    assert "edited since it was accepted" in harness(*validate).err
    assert sorted(harness.results.iterdir()) == before  # told before anything was measured
    assert "edited since" in harness("baseline", "list").out
    table.write_text(original)
    document = json.loads((folder / "baseline.json").read_text())
    (folder / "baseline.json").write_text(json.dumps({**document, "accepted_by": "somebody else"}))
    check(harness("baseline", "show"), 2, "edited since it was accepted", "baseline.json")
    (folder / "baseline.json").write_text(json.dumps({**document, "schema_version": 2}))
    check(harness("baseline", "show"), 2, "update the harness")
