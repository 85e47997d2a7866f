"""``harness compare --side-by-side`` with real processes: a planted slowdown fails; the rest is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.testing.fakes import register
from harness.testing.slowed import PLUGIN
from tests.e2e.conftest import MakeModel
from tests.e2e.shell import Ended, Shell, check


@pytest.fixture
def slowed(harness: Shell, model: MakeModel) -> Shell:
    """A target five times as slow, from a plug-in that child processes find as an installed one.

    So slow, and so wide a limit, because a call of the tiny model takes microseconds: beside other tests its
    processes differ by a tenth, and then no smaller difference can be detected.
    """
    model()
    register(harness.folder / "site", PLUGIN)
    (harness.folder / "targets").mkdir()
    text = 'description = "slow"\nbackends = ["slowed"]\n[deploy]\nthreads = 1\n'
    (harness.folder / "targets" / "slow.toml").write_text(text)
    return harness


def run(harness: Shell, *argv: str | Path) -> Ended:
    """A process of its own: it has to find the plug-in, which the forge's children do not."""
    env = {**harness.env, "HARNESS_TESTING_SLOWED": "4"}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(harness.folder / "site"), env.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli.main", *map(str, argv)],
        cwd=harness.folder, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.mark.full
def test_a_planted_slowdown_fails(slowed: Shell) -> None:
    ended = run(slowed, "compare", "--side-by-side", "cpu", "slow", "--model", "model", "--max-ratio", "2")
    if ended.code == 3:  # the other tests kept the processes from running, and it says so
        assert "processes were disturbed" in ended.out, ended.err + ended.out
        return
    assert ended.code == 1, ended.err + ended.out
    assert "FAIL         latency_p50 of slow against cpu is " in ended.out
    folder = Path(ended.out.rpartition("facts        ")[2].strip())
    facts_ = json.loads((slowed.folder / folder / "side_by_side.json").read_text())
    assert facts_["looks"][0]["processes"] == 8
    assert facts_["sides"]["new"]["backend"] == "slowed"


def test_what_cannot_be_timed(harness: Shell, model: MakeModel) -> None:
    folder = model()
    command = ("compare", "--side-by-side", "--model", folder)
    for words, says in (
        (("cpu", "nothing"), "is no target, no model file and no run"),
        (("cpu", "raspberrypi4"), "its times say nothing"),
        (("cpu", "cpu/tflite"), "has no backend tflite"),
        (("cpu", "none.onnx"), "there is no such file"),
        (("cpu", folder / "model.tflite"), "there is no such file"),
        (("cpu", "cpu", "tflite"), "takes exactly one BASE and one NEW"),
        (("cpu", "cpu", "--metric", "latency"), "latency_p50"),
        (("cpu", "cpu", "--max-ratio", "0.9"), "above 1"),
        (("cpu", "cpu", "--decide-within", "3x"), "3x"),
        (("cpu", "cpu", "--csv", "a.csv"), "cannot be used with --side-by-side"),
        (("cpu", "cpu", "--variant", "int9"), "did you mean"),
    ):
        ended = harness(*command, *words)
        assert ended.code in (2, 3), ended.err
        assert says in ended.err, ended.err
        assert "Traceback" not in ended.err
        assert ended.out == ""
    assert not (harness.results / "side_by_side").exists()
    check(harness("compare", "a", "b", "--variant", "int8"), 2, "can only be used with --side-by-side")
    check(
        harness("compare", "--live", "cpu", "cpu/tflite"), 2, "compare --live is now compare --side-by-side",
        "harness compare --side-by-side cpu cpu/tflite",
    )  # fmt: skip
