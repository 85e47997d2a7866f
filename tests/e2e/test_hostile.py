"""A device that lies costs its own rows: all others are measured, judged, resumed, compared, reported."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.core.job import Samples
from harness.store.run_folder import RunFolder
from harness.testing.fakes import register
from tests.e2e.shell import ACCURACY, Ended, MakeModel, Shell
from tests.hostile.planted import LIE, LIES, SLOW

ROOT = Path(__file__).parents[2]
#: What once left no table at all, or wrote elsewhere.
QUICK = ("key that is a path", "surrogate")
OTHERS = [pytest.param(lie, marks=pytest.mark.full) for lie in LIES if lie not in (*QUICK, *SLOW)]


@pytest.fixture
def lying(harness: Shell, tmp_path: Path) -> Shell:
    """A target beside ``cpu`` whose backend lies."""
    module = "tests.hostile.planted"
    plugins = {
        "harness.backends": {"lying": f"{module}:LyingBackend", "dying": f"{module}:DyingBackend"},
        "harness.passes": {"dying": f"{module}:dying_pass"},
    }
    register(tmp_path / "site", plugins, distribution="lying")
    (harness.folder / "targets").mkdir()
    for name, backend in (("liar", "lying"), ("dead", "dying")):
        target = f'description = "a liar"\nbackends = ["{backend}"]\n[deploy]\nthreads = 1\n'
        (harness.folder / "targets" / f"{name}.toml").write_text(target)
    return harness


def run(harness: Shell, lie: str, *argv: str) -> Ended:
    path = os.pathsep.join([str(harness.folder / "site"), str(ROOT)])
    ended = harness(*argv, env={"PYTHONPATH": path, LIE: lie})
    assert "Traceback" not in ended.err, ended.err
    return ended


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("lie", [*QUICK, *OTHERS])
def test_a_lie_costs_its_own_rows(lying: Shell, tiny: Path, lie: str) -> None:
    before = files(lying.folder)
    ended = run(
        lying, lie, "validate", "--model", str(tiny), "--suite", "accuracy", "--variant", "float32",
        "--target", "cpu,liar",
    )  # fmt: skip
    assert ended.code == 3, ended.err
    folder = lying.run()
    assert all(folder in path.parents for path in files(lying.folder) - before), "only the run was written"
    rows = pd.read_csv(folder / "measurements.csv", keep_default_na=False)
    assert set(rows[rows.target == "cpu"].status) == {"OK"}
    liars = rows[rows.target == "liar"]
    wrong = liars[liars.status == "ERROR"]
    assert set(wrong.case) == {"clean"}
    assert "gaussian_noise" in set(liars[liars.status == "OK"].case)
    assert all(LIES[lie][1] in reason for reason in wrong.reason), set(wrong.reason)
    assert run(lying, lie, "judge", "latest").code == 3
    assert "0 jobs" in run(lying, lie, "validate", "--resume", "latest").err
    assert run(lying, lie, "report", "latest").code == 0
    assert "worse" not in run(lying, lie, "compare", "latest", "latest").out


def test_a_runtime_that_dies_when_it_opens_the_model(lying: Shell, tiny: Path) -> None:
    ended = run(
        lying, "", "validate", "--model", str(tiny), "--suite", "accuracy", "--variant", "float32",
        "--target", "dead,cpu",
    )  # fmt: skip
    assert ended.code == 3, ended.err
    rows = pd.read_csv(lying.run() / "measurements.csv", keep_default_na=False)
    assert set(rows[rows.target == "cpu"].status) == {"OK"}
    dead = rows[(rows.target == "dead") & (rows.metric == "all")]
    assert "OK" not in set(dead.status)
    assert all("SIGSEGV" in reason for reason in dead.reason), set(dead.reason)


def test_a_pass_that_dies_costs_its_variant(lying: Shell, model: MakeModel) -> None:
    folder = model(added='\n[variants.deadly]\nrecipe = [{ pass = "dying" }]\n')
    ended = run(lying, "", "validate", "--model", str(folder), "--suite", "accuracy")
    assert ended.code == 3, ended.err
    rows = pd.read_csv(lying.run() / "measurements.csv", keep_default_na=False)
    by_variant = {name: set(part.status) for name, part in rows.groupby("variant")}
    assert by_variant == {"float32": {"OK"}, "int8": {"OK"}, "deadly": {"ERROR"}}
    reasons = set(rows[rows.variant == "deadly"].reason)
    assert all("the process was killed by SIGSEGV" in reason for reason in reasons), reasons


def test_a_damaged_run_opens_and_names_what_is_damaged(harness: Shell, tiny: Path) -> None:
    assert harness("validate", "--model", tiny, "--suite", "accuracy", "--variant", "float32").code == 0
    journal = harness.run() / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    mark = b'"key": ["cpu", "onnxruntime", "deploy", "float32", "accuracy", "clean", 0]'
    (position,) = (number for number, line in enumerate(lines) if mark in line)
    lines[position] = lines[position].replace(b'"status": "OK"', b'"status": "KO"')
    journal.write_bytes(b"".join(lines))
    says = f"line {position + 1} of journal.jsonl, the result of accuracy clean of float32 (deploy) on cpu/"
    judged = harness("judge", "latest")
    assert judged.code == 3
    assert says in judged.out
    compared = harness("compare", "latest", "latest")
    assert says in compared.out
    reported = harness("report", "latest")
    assert reported.code in (0, 3), reported.err
    assert says in (harness.folder / "report.html").read_text()
    resumed = harness("validate", "--resume", "latest")
    assert resumed.code == 0, resumed.err
    assert "1 jobs" in resumed.err or "1 job" in resumed.err
    assert "journal.jsonl" not in resumed.out


def test_a_stored_run_names_code_and_none_of_it_is_run(lying: Shell, tiny: Path) -> None:
    assert run(lying, "", "validate", "--model", str(tiny), *ACCURACY).code == 0
    marker = lying.folder / "was run"
    (lying.folder / "site" / "evil.py").write_text(f"open({str(marker)!r}, 'w')\ndef run(): pass\n")
    file = lying.run() / "run.json"
    stored = json.loads(file.read_text())
    stored["validation"]["data"] |= {"path": "", "callable": "evil:run"}
    stored["targets"]["cpu"]["executor"] = {"kind": "local", "python": str(lying.folder / "site" / "evil.py")}
    file.write_text(json.dumps(stored))
    for command in (["judge", "latest"], ["report", "latest"], ["compare", "latest", "latest"], ["history"]):
        assert run(lying, "", *command).code == 0, command
    assert not marker.exists()


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param(Samples(), marks=pytest.mark.full),
        Samples({"x": np.zeros(3)}, {"looks": float("nan")}),
        pytest.param(
            Samples({"output:0": np.zeros((0, 4)), "latency_ns": np.full(5, np.nan)}, {"looks": "two"}),
            marks=pytest.mark.full,
        ),
    ],
    ids=["nothing", "other", "empty"],
)
def test_samples_that_make_no_sense_cost_their_rows(
    harness: Shell, whole: tuple[Shell, Ended], samples: Samples
) -> None:
    measured = whole[0].run()
    harness.results.mkdir()
    shutil.copytree(measured, harness.results / measured.name)
    folder = RunFolder(harness.results / measured.name)
    results = folder.facts().results
    with folder.journal() as journal:
        for key, result in results.items():
            if key.target == "cpu" and key.variant == "int8":
                journal.append(replace(result, samples=samples))
    judged = harness("judge", measured.name)
    assert "Traceback" not in judged.err, judged.err
    assert judged.code in (1, 3), judged.err
    rows = pd.read_csv(folder.path / "measurements.csv", keep_default_na=False)
    accuracy = rows[(rows.target == "cpu") & (rows.suite == "accuracy") & (rows.backend == "onnxruntime")]
    assert "OK" not in set(accuracy[(accuracy.variant == "int8") & (accuracy.metric == "accuracy")].status)
    assert "OK" in set(accuracy[accuracy.variant == "float32"].status)
    for command in (["report", measured.name], ["compare", measured.name, measured.name]):
        ended = harness(*command)
        assert "Traceback" not in ended.err, ended.err
        assert "unexpected" not in ended.err, ended.err
    assert (harness.folder / "report.html").is_file()


PREPARE = """
import sys
from pathlib import Path
from harness.report.progress import Quiet
from harness.run.prepare import prepare
from harness.run.request import Request
prepare(Request(model=Path(sys.argv[1])), Quiet()).close()
print([name for name in ("onnxruntime", "openvino", "ai_edge_litert", "tensorflow") if name in sys.modules])
"""


def test_no_runtime_is_loaded_in_the_process_that_prepares(harness: Shell, tiny: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", PREPARE, str(tiny)], cwd=harness.folder,
        env={**harness.env, "HARNESS_CACHE": str(harness.folder / "cache")}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
