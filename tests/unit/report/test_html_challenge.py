"""The section of planted faults, and which challenge a page shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from harness.core.verdict import State
from harness.report.html.data import ReportData
from harness.report.html.read import _challenges
from harness.report.html.sections.challenge import challenge
from harness.run.outcome import Outcome
from harness.store import challenges

ONE: dict[str, Any] = {
    "run_id": "1", "created_utc": "2026-11-27T11:00:00", "model": {"name": "m", "sha256": "1" * 64},
    "target": "cpu", "quick": True, "state": "FAIL",
    "score": {"caught": 1, "missed": 1, "named": 1},
    "effects": [{"name": "leak", "value": 1.0, "unit": "byte", "text": "40 bytes a call", "how": "a slope"}],
    "faults": [
        {"fault": "offset", "kind": "numeric", "sentence": "shifted", "result": "caught", "by_kind": "check",
         "by": "same", "said": "the answers differ", "named": True, "would": ""},
        {"fault": "stall", "kind": "time", "sentence": "stalls", "result": "missed", "by_kind": "", "by": "",
         "said": "", "named": False, "would": "a limit"},
    ],
}  # fmt: skip
EMPTY = ReportData((), (), (), State.PASS)


def test_a_page_without_a_challenge_has_no_such_section() -> None:
    assert challenge(EMPTY) is None


def test_missed_faults_come_first_with_what_would_see_them() -> None:
    section = challenge(replace(EMPTY, challenges=(ONE,)))
    assert section is not None
    expected = "cpu: 1 of 2 planted faults were caught, 1 of them by name (2026-11-27, quick)."
    assert section.intro == expected
    faults, effects = section.tables
    assert [list(row) for row in faults.rows] == [
        ["missed", "stall", "time", "stalls", "", "a limit", "", "cpu"],
        ["caught", "offset", "numeric", "shifted", "check same", "the answers differ", "yes", "cpu"],
    ]
    assert [list(row) for row in effects.rows] == [["leak", "40 bytes a call", "a slope", "cpu"]]


def test_a_run_shows_the_newest_challenge_of_its_model_on_its_targets(tmp_path: Path) -> None:
    folder = tmp_path / challenges.FOLDER
    challenges.write(folder / "a" / challenges.FILE, ONE)
    challenges.write(folder / "b" / challenges.FILE, {**ONE, "run_id": "2", "created_utc": "2026-11-28"})

    def shown(path: Path, *targets: str) -> list[str]:
        run = {"model": {"sha256": "1" * 64}, "targets": dict.fromkeys(targets)}
        outcome = cast(Outcome, SimpleNamespace(folder=SimpleNamespace(path=path), run=run))
        return [one["run_id"] for one in _challenges([outcome])]

    assert shown(tmp_path / "run", "cpu", "pi") == ["2"]
    assert shown(tmp_path / "run", "pi") == []
    assert shown(folder / "a", "cpu") == ["1"]  # the run of a challenge shows that challenge
