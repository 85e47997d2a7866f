"""A killed or interrupted run continues to the same rows; nothing is measured twice or left behind."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import uuid
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from harness.core.job import JobKey
from harness.core.measurement import KEY_COLUMNS
from harness.store.run_folder import RunFolder
from tests.e2e.shell import Forge, MakeModel, Shell
from tests.processes import processes, wait_until_gone

QUICK = ("--suite", "accuracy")


def keys(run: Path, status: str = "") -> Counter[tuple[object, ...]]:
    table = pd.read_csv(run / "measurements.csv")
    if status:
        table = table[table["status"] == status]
    return Counter(table[list(KEY_COLUMNS)].fillna("").itertuples(index=False, name=None))


@pytest.fixture(scope="module")
def undisturbed(tiny: Path, forge: Forge, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    shell = Shell(forge, tmp_path_factory.mktemp("undisturbed"), cache)
    ended = shell("validate", "--model", tiny, *QUICK)
    assert ended.code == 0, ended.err
    return shell


def kill_at_random(harness: Shell, tiny: Path, seed: int, *suites: str, seconds: float) -> None:
    """Run and SIGKILL ``harness validate`` at a random moment after its first line."""
    marker = f"HARNESS_TEST={uuid.uuid4()}"
    name, _, value = marker.partition("=")
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.cli.main", "validate", "--model", str(tiny), *suites],
        cwd=harness.folder, env={**harness.env, name: value},
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stderr is not None
    with process.stderr:
        assert b"jobs, about" in process.stderr.readline()
        try:
            process.wait(random.Random(seed).uniform(0, seconds))  # noqa: S311 - no secret
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    wait_until_gone(processes(marker))


def check_resumed(harness: Shell, undisturbed: Shell) -> None:
    ended = harness("validate", "--resume", "latest")
    assert ended.code == 0, ended.err
    measured, wanted = keys(harness.run()), keys(undisturbed.run())
    assert set(measured) == set(wanted)
    assert set(measured.values()) == {1}
    again = harness("validate", "--resume", "latest")  # now there is nothing to do
    assert "0 jobs" in again.err


@pytest.mark.full  # the next test kills more often
@pytest.mark.parametrize("seed", range(10))
def test_killed_and_resumed(harness: Shell, undisturbed: Shell, tiny: Path, seed: int) -> None:
    kill_at_random(harness, tiny, seed, *QUICK, seconds=4)
    check_resumed(harness, undisturbed)


TWO = (*QUICK, "--target", "cpu,tflite")
#: Of one run, which is resumed after each.
KILLS, FEW_KILLS = 10, 5


@pytest.fixture(scope="module")
def undisturbed_two(tiny: Path, forge: Forge, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    shell = Shell(forge, tmp_path_factory.mktemp("undisturbed-two"), cache)
    ended = shell("validate", "--model", tiny, *TWO)
    assert ended.code == 0, ended.err
    return shell


@pytest.mark.parametrize(
    ("seed", "most"),
    [(0, FEW_KILLS), *(pytest.param(seed, KILLS, marks=pytest.mark.full) for seed in range(20))],
)
def test_a_run_on_two_targets_that_is_killed_again_and_again(
    harness: Shell, undisturbed_two: Shell, tiny: Path, seed: int, most: int
) -> None:
    rng, marker, kills = random.Random(seed), str(uuid.uuid4()), 0  # noqa: S311 - no secret
    stored: set[JobKey] = set()
    while kills < most:
        command = ["--resume", "latest"] if harness.results.exists() else ["--model", str(tiny), *TWO]
        started = harness.start("validate", *command, env={"HARNESS_TEST": marker})
        for line in started.err:
            if "jobs, about" in line:
                break
        for _ in range(rng.randrange(3)):
            started.err.readline()
        with contextlib.suppress(ProcessLookupError):
            os.kill(started.pid, signal.SIGKILL)
        ended = started.wait()
        if ended.code != -signal.SIGKILL:
            assert ended.code == 0, ended.err
            break  # it was done before
        kills += 1
        wait_until_gone(processes(marker))
        facts = RunFolder(harness.run()).facts()
        assert not facts.damaged
        assert stored <= set(facts.results), "what was stored stays"
        stored = set(facts.results)
    assert kills > 3
    check_resumed(harness, undisturbed_two)


def test_two_runs_at_once_in_one_folder_and_one_empty_cache(harness: Shell, tiny: Path) -> None:
    env = {**harness.env, "HARNESS_CACHE": str(harness.folder / "cache")}
    command = [sys.executable, "-m", "harness.cli.main", "validate", "--model", str(tiny), *QUICK]
    both = [
        subprocess.Popen(
            command, cwd=harness.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for process in both:
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert "verdict: PASS (0)" in out
    runs = [path for path in harness.results.iterdir() if not path.is_symlink()]
    assert len(runs) == 2
    assert (harness.results / "latest").resolve() in [path.resolve() for path in runs]
    assert keys(runs[0]) == keys(runs[1])
    assert not list(harness.folder.rglob(".tmp-*"))


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.full)]
)
def test_interrupted_and_resumed(
    harness: Shell, undisturbed_two: Shell, tiny: Path, number: signal.Signals
) -> None:
    marker = str(uuid.uuid4())
    started = harness.start("validate", "--model", tiny, *TWO, env={"HARNESS_TEST": marker})
    batches = (line for line in started.err if " float32 accuracy" in line)
    for _ in ("host", "cpu", "tflite"):  # one of two cores begins its second target: the first one is stored
        next(batches)
    os.kill(started.pid, number)
    ended = started.wait()
    assert ended.code == 3
    assert "Traceback" not in ended.err
    run = harness.run()
    assert (
        f"harness: interrupted; what was measured is kept\n  next   harness validate --resume {run}"
        in ended.err
    )
    assert not processes(marker)
    facts = RunFolder(run).facts()
    assert facts.results
    assert not list(run.rglob(".tmp-*"))
    # What was measured is already a table; it holds nothing that the whole run does not.
    assert set(keys(run, "OK")) <= set(keys(undisturbed_two.run(), "OK"))
    assert "verdict: NOT_RUN (3)" in harness("judge", "latest").out
    check_resumed(harness, undisturbed_two)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_before_anything_was_measured(
    harness: Shell, model: MakeModel, number: signal.Signals
) -> None:
    folder = model(('path = "data.npz"', 'callable = "forge:wait"'))
    started = harness.start("validate", "--model", folder, *QUICK)
    assert started.err.readline() == "waiting\n"
    os.kill(started.pid, number)
    ended = started.wait()
    assert ended.code == 3
    assert ended.err == "harness: interrupted; nothing was stored\n"
    assert not harness.results.exists()


def copy_of(undisturbed: Shell, harness: Shell) -> Path:
    run = undisturbed.run()
    subprocess.run(["cp", "-r", str(run), f"{harness.folder}/{run.name}"], check=True)
    harness.results.mkdir()
    (harness.folder / run.name).rename(harness.results / run.name)
    (harness.results / "latest").symlink_to(run.name)
    return harness.results / run.name


def test_torn_line(harness: Shell, undisturbed: Shell) -> None:
    run = copy_of(undisturbed, harness)
    journal = run / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-200])  # an environment's line, and part of the last result
    check_resumed(harness, undisturbed)
    for line in journal.read_text().splitlines():
        json.loads(line)


def test_damaged_array(harness: Shell, undisturbed: Shell) -> None:
    run = copy_of(undisturbed, harness)
    facts = RunFolder(run).facts()
    array = max((run / "cpu" / "samples").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(array.read_bytes())
    content[-1] ^= 1
    array.write_bytes(content)
    lost = set(facts.results) - set(RunFolder(run).facts().results)
    assert lost
    ended = harness("validate", "--resume", "latest")
    assert f"{len(lost)} jobs, about" in ended.err
    assert set(RunFolder(run).facts().results) == set(facts.results)
    assert set(keys(run)) == set(keys(undisturbed.run()))


def test_two_writers(harness: Shell, undisturbed: Shell) -> None:
    run = copy_of(undisturbed, harness)
    before = (run / "journal.jsonl").read_bytes()
    with RunFolder(run).journal():
        ended = harness("validate", "--resume", "latest")
    assert ended.code == 2
    assert "another process is writing this run" in ended.err
    assert (run / "journal.jsonl").read_bytes() == before


def test_model_that_changed_since(harness: Shell, model: MakeModel) -> None:
    folder = model()
    assert harness("validate", "--model", folder, "--suite", "accuracy", "--variant", "float32").code == 0
    content = bytearray((folder / "model.onnx").read_bytes())
    content[-200] ^= 1  # inside a weight
    (folder / "model.onnx").write_bytes(content)
    ended = harness("validate", "--resume", "latest")
    assert ended.code == 2
    assert "changed since the run began" in ended.err


def test_another_selection_is_refused(undisturbed: Shell) -> None:
    ended = undisturbed("validate", "--resume", "latest", "--target", "cpu", "--suite", "accuracy")
    assert ended.code == 2
    assert "--target, --suite would change it" in ended.err


def test_the_environment_is_no_selection(undisturbed: Shell) -> None:
    ended = undisturbed("validate", "--resume", "latest", env={"HARNESS_TARGET": "openvino"})
    assert ended.code == 0, ended.err
