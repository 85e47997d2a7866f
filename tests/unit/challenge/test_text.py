"""The tables and the score."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from harness.challenge.answers import Answer, Catch, Result
from harness.challenge.command import Challenge, as_json
from harness.challenge.effects import Effect
from harness.challenge.text import show
from harness.core.exit_code import ExitCode
from harness.store import challenges
from harness.store.run_folder import RunFolder
from harness.testing.faults import Fault, Kind, Plant

ABOUT = {
    "run_id": "20261127T1-digits-ab", "created_utc": "2026-11-27T11:00:00.000+00:00", "quick": False,
    "model": {"name": "digits", "sha256": "1" * 64}, "target": "cpu", "backend": "onnxruntime",
    "variants": ["int8"], "artifacts": {"int8": "2" * 64},
}  # fmt: skip


def fault(name: str, size: float = 0.0) -> Fault:
    sentence = "wrong by {size}" if size else "wrong"
    return Fault(name, Kind.NUMERIC, sentence, Plant, ("wrong",), "a limit", size, "pt" if size else "")


def made(*results: Result) -> Challenge:
    done = Challenge(RunFolder(Path("results/challenge/20261127T1-digits-ab")), dict(ABOUT), seconds=370.0)
    for index, result in enumerate(results):
        one = Answer(fault(f"fault-{index}", 0.02), result, None, "a limit on it", 1.234, ("tries/repeat",))
        if result is Result.CAUGHT:
            one = replace(
                one, catch=Catch("check", "same", "int8 on cpu: wrong", "int8", named=not index), would=""
            )
        done.answers.append(one)
    return done


def printed(done: Challenge) -> tuple[list[str], ExitCode]:
    stream = io.StringIO()
    code = show(done, Console(file=stream, width=200, no_color=True))
    return stream.getvalue().splitlines(), code


def test_what_was_caught_by_whom_and_what_was_missed() -> None:
    done = made(Result.CAUGHT, Result.CAUGHT, Result.MISSED)
    done.effects = [Effect("lost accuracy", 0.6, "pt", "accuracy -0.6 pt", "800 pairs")]
    done.blocking = ("gate p99",)
    lines, code = printed(done)
    assert code is ExitCode.FAILED
    assert lines == [
        "3 faults planted in digits (int8) on cpu (onnxruntime), 6 m 10 s",
        "",
        "caught   by          what it says",
        "fault-0  check same  int8 on cpu: wrong",
        "fault-1  check same  int8 on cpu: wrong   (does not name the fault)",
        "",
        "NOT caught  what is wrong  what would see it",
        "fault-2     wrong by 0.02  a limit on it",
        "",
        "note          blocks without a fault, and can show none: gate p99",
        "you would see accuracy -0.6 pt   (95 % power)",
        "facts         results/challenge/20261127T1-digits-ab",
        "",
        "FAIL         caught 2 of 3, 1 named · missed 1",
        "verdict: FAIL (1)",
    ]


def test_each_reason_to_leave_out_is_given_and_many_names_are_counted() -> None:
    done = made(Result.CAUGHT)
    done.left_out = {"stall": "the clock says nothing", "last-bit": "not compared"}
    done.left_out["leak"] = done.left_out["stall"]
    done.blocking = tuple(f"gate {number}" for number in range(8))
    lines, _ = printed(done)
    assert "left out      stall, leak: the clock says nothing" in lines
    assert "left out      last-bit: not compared" in lines
    (note,) = (line for line in lines if line.startswith("note"))
    assert note.endswith("gate 3, gate 4 and 3 more")


@pytest.mark.parametrize(
    ("results", "last"),
    [
        ((Result.CAUGHT,), "PASS         caught 1 of 1, 1 named · missed 0"),
        ((Result.NOT_PLANTED,), "NOT_RUN      caught 0 of 0, 0 named · missed 0 · not planted 1"),
        (
            (Result.CAUGHT, Result.BELOW),
            "PASS caught 1 of 1, 1 named · missed 0 · too small 1",
        ),
        (
            (Result.CAUGHT, Result.UNDECIDED),
            "INCONCLUSIVE caught 1 of 1, 1 named · missed 0 · undecided 1",
        ),
    ],
)
def test_score(results: tuple[Result, ...], last: str) -> None:
    assert printed(made(*results))[0][-2].split() == last.split()


def test_json_has_what_the_screen_has(tmp_path: Path) -> None:
    done = made(Result.CAUGHT, Result.MISSED)
    done.effects = [Effect("lost accuracy", 0.6, "pt", "accuracy -0.6 pt", "800 pairs")]
    done.left_out = {"stall": "the clock says nothing"}
    path = tmp_path / "challenge" / "one" / challenges.FILE
    challenges.write(path, as_json(done))
    stored = challenges.read(path)
    assert stored["score"] == {
        "planted": 2, "caught": 1, "missed": 1, "too small": 0, "not planted": 0, "undecided": 0, "named": 1,
    }  # fmt: skip
    assert [(f["fault"], f["result"], f["by"], f["would"]) for f in stored["faults"]] == [
        ("fault-0", "caught", "same", ""),
        ("fault-1", "missed", "", "a limit on it"),
    ]
    assert stored["faults"][0]["sentence"] == "wrong by 0.02"
    assert stored["effects"][0]["value"] == 0.6
    assert stored["left_out"] == done.left_out
    assert stored["state"] == "FAIL"
    assert json.loads(path.read_text())["schema_version"] == challenges.SCHEMA_VERSION
