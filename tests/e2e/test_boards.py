"""The command with a target that is reached over ssh: a real sshd, or a host that is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest

from harness.store.run_folder import RunFolder
from tests.board.board import Board, board, why_not
from tests.e2e.shell import ACCURACY, Ended, MakeModel, Shell, check
from tests.e2e.wheels import DIES, SLOW, plant


@pytest.fixture
def pi(tmp_path: Path) -> Iterator[Board]:
    """A board that is on, and ``targets/pi.toml`` where the command runs."""
    if reason := why_not():
        pytest.skip(reason)
    (tmp_path / "targets").mkdir()
    with board(tmp_path / "board") as made:
        wheels = [f"{name}=={version(name)}" for name in ("numpy", "onnxruntime")]
        (tmp_path / "targets" / "pi.toml").write_text(
            'description = "a board"\nbackends = ["onnxruntime"]\n[executor]\nkind = "ssh"\n'
            f"ssh_config = {json.dumps(str(made.config))}\nrequirements = {json.dumps(wheels)}\n"
        )
        yield made


def test_validate_over_ssh_gives_the_rows_of_this_machine(
    harness: Shell, model: MakeModel, pi: Board
) -> None:
    ended = harness("validate", "--target", "cpu,pi", "--host", "board", "--model", model(), *ACCURACY)
    assert ended.code == 0, ended.err + ended.out
    rows = pd.read_csv(harness.run() / "measurements.csv", keep_default_na=False)
    here, there = (rows[rows.target == name].reset_index(drop=True) for name in ("cpu", "pi"))
    assert len(here) > 5
    pd.testing.assert_frame_equal(
        *(part[["variant", "case", "severity", "metric", "value", "status"]] for part in (here, there))
    )
    assert not pi.running()
    results = RunFolder(harness.run()).facts().results
    assert all(result.host_ns > 0 for key, result in results.items() if key.target == "pi")

    ended_ = harness("doctor", "--target", "pi", "--host", "board")
    assert ended_.code == 0, ended_.out + ended_.err
    words = " ".join(ended_.out.split())
    for text in ("runtime onnxruntime", "10 inferences ran: provider CPUExecutionProvider", "GB free",
                 "clock 0.0 s off", "nothing is wrong"):  # fmt: skip
        assert text in words
    pi.off()
    ended_ = harness("doctor", "--target", "pi", "--host", "board")
    assert ended_.code == 3
    assert "wrong: board cannot be reached" in ended_.out
    assert "next   start sshd there" in ended_.out


@pytest.mark.full  # what differs from this machine: tests/unit/explain/search/test_procedure.py
def test_a_failure_on_a_board_carries_its_cause(harness: Shell, model: MakeModel, pi: Board) -> None:
    """Of a run, of the stored run, and between this machine and the board."""
    file, folder = harness.folder / "targets" / "pi.toml", model()
    fault = '[deploy]\nthreads = 1\nextra = { planted-fault = "permuted-classes 0.0" }\n'
    file.write_text(file.read_text() + fault)
    chosen = ("--target", "pi", "--host", "board", "--model", folder, *ACCURACY)
    ended = harness("validate", *chosen, env={"HARNESS_EXPLAIN": ""})
    assert ended.code == 1, ended.out + ended.err
    cause = "pi gives its classes in another order: 0 is 1, 1 is 2, 2 is 3, 3 is 0"
    assert f"CAUSE        float32 on pi: {cause} (" in ended.out
    asked = harness("explain", "--model", folder, "--between", "cpu,pi", "--host", "board")
    assert asked.code == 0, asked.out + asked.err
    assert f"CAUSE             {cause}" in asked.out.splitlines()
    stored = harness("explain", "latest")
    assert f"CAUSE        float32 on pi: {cause} (" in stored.out
    assert not pi.running()


@pytest.mark.full
def test_clocks_of_a_board_that_run_slow_are_seen_by_the_hosts(harness: Shell, pi: Board) -> None:
    """All clocks there agree with each other, so that only another machine's shows it."""
    chosen = ("--target", "pi", "--host", "board")
    ended = harness("challenge", *chosen, "--fault", "slow-clocks", "slow-clock")
    assert ended.code == 0, ended.out + ended.err
    lines = {line.split()[0]: line for line in ended.out.splitlines() if line.startswith("slow-")}
    assert "check host-clock-agrees" in lines["slow-clocks"]
    assert "the clock of the device runs at another rate than the host's" in lines["slow-clocks"]
    assert "check clock-keeps-time" in lines["slow-clock"]
    assert not pi.running()


def upgraded(harness: Shell, model: MakeModel, folder: Path, version: str, fault: str) -> Ended:
    """Compare the runtime with a planted version of it, on the board."""
    file = folder / "targets" / "pi.toml"
    target_text = file.read_text().partition("requirements")[0]
    file.write_text(f'{target_text}requirements = ["numpy", "onnxruntime"]\n')
    env = plant(folder / "wheels", {"50.0.0": "", version: fault})
    argv = ("--target", "pi", "--host", "board", "--variant", "int8", "--model", model(), "--max-ratio", "2")
    return harness("upgrade", "onnxruntime", "50.0.0", version, *argv, env=env)


@pytest.mark.full
def test_two_versions_take_turns_on_a_board(
    harness: Shell, model: MakeModel, pi: Board, tmp_path: Path
) -> None:
    """The same runtime under two version numbers gives the same answers."""
    # The planted version is several times slower: a limit that a busy machine can resolve.
    ended = upgraded(harness, model, tmp_path, "50.2.0", SLOW)
    assert not pi.running()
    if ended.code == 3:  # other tests kept the processes from running, and it says so
        assert "processes were disturbed" in ended.out, ended.err + ended.out
        return
    assert ended.code == 1, ended.err + ended.out
    (line,) = (line.split() for line in ended.out.splitlines() if line.startswith("pi "))
    assert line[:5] == ["pi", "int8", "ok", "100", "%"]
    assert any(word.startswith("slower") for word in line), ended.out


@pytest.mark.full  # here: tests/e2e/test_upgrade.py
def test_a_version_that_crashes_on_a_board(
    harness: Shell, model: MakeModel, pi: Board, tmp_path: Path
) -> None:
    ended = upgraded(harness, model, tmp_path, "50.4.0", DIES)
    assert ended.code == 1, ended.err + ended.out
    assert "SIGSEGV with the model" in ended.out
    assert not pi.running()


def test_a_board_that_cannot_be_reached_leaves_the_other_targets_alone(
    harness: Shell, model: MakeModel
) -> None:
    arguments = ("--target", "cpu,raspberrypi", "--host", "nobody.invalid", "--model", model(), *ACCURACY)
    ended = harness("validate", *arguments)
    assert ended.code == 3
    assert "Traceback" not in ended.err
    assert "nobody.invalid cannot be reached" in ended.out
    rows = pd.read_csv(harness.run() / "measurements.csv", keep_default_na=False)
    assert set(rows[rows.target == "cpu"].status) == {"OK"}
    assert set(rows[rows.target == "raspberrypi"].status) == {"SKIPPED"}


def test_a_host_that_no_target_takes_is_refused(harness: Shell, model: MakeModel) -> None:
    folder = model()
    for command in ("validate", "plan"):
        ended = harness(command, "--model", folder, "--target", "cpu,tflite", "--host", "pi@board")
        check(ended, 2, "no target uses the host pi@board", "the executor of none of them takes hosts")
    check(harness("doctor", "--target", "cpu", "--host", "pi@board"), 2, "no target uses the host")
    check(harness("doctor", "--host", "pi@board"), 2, "belongs to a target")
    assert not harness.results.exists()


def test_what_is_no_time_to_wait(harness: Shell, model: MakeModel) -> None:
    check(harness("validate", "--model", model(), "--wait", "soon"), 2, "invalid duration 'soon'", "3m")


def test_targets_says_whether_a_board_is_named(harness: Shell) -> None:
    folder = harness.folder / "targets"
    folder.mkdir()
    (folder / "pi.toml").write_text(
        'description = "mine"\nbackends = ["tflite"]\n[executor]\nkind = "ssh"\nhosts = ["me@pi"]\n'
    )
    (folder / "bare.toml").write_text('description = "x"\nbackends = ["tflite"]\n[executor]\nkind = "ssh"\n')
    listed = harness("targets").out.splitlines()
    at = next(i for i, line in enumerate(listed) if line.startswith("bare "))
    assert "no host" in listed[at]
    assert "--host USER@BOARD" in listed[at + 1]
    at = next(i for i, line in enumerate(listed) if line.startswith("pi "))
    assert "ssh" in listed[at]
    assert "host    me@pi" in listed[at + 1]
    at = next(i for i, line in enumerate(listed) if line.startswith("raspberrypi "))
    assert "emulated" in listed[at]
    assert "--host USER@BOARD" in listed[at + 1]
