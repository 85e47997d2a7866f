"""Challenges on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import ResultsError
from harness.store import challenges


def stored(results: Path, name: str, created: str = "2026-01-01", **more: Any) -> Path:
    value = {
        "run_id": name, "created_utc": created, "model": {"name": "m", "sha256": "1" * 64}, "target": "cpu",
        "faults": [], "effects": [], "score": {}, "state": "PASS", **more,
    }  # fmt: skip
    path = results / challenges.FOLDER / name / challenges.FILE
    challenges.write(path, value)
    return path


def test_the_newest_of_the_model_and_target(tmp_path: Path) -> None:
    assert challenges.latest(tmp_path, "1" * 64, "cpu") is None
    stored(tmp_path, "b", "2026-01-02")
    stored(tmp_path, "a", "2026-01-03")
    stored(tmp_path, "other-model", "2026-01-04", model={"name": "m", "sha256": "2" * 64})
    stored(tmp_path, "other-target", "2026-01-05", target="pi")
    found = challenges.latest(tmp_path, "1" * 64, "cpu")
    assert found is not None
    assert found["run_id"] == "a"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema_version": 9}', '{"schema_version": 1}'])
def test_what_is_no_challenge_is_refused_and_passed_over(content: str, tmp_path: Path) -> None:
    path = stored(tmp_path, "damaged")
    path.write_text(content)
    with pytest.raises(ResultsError):
        challenges.read(path)
    assert challenges.latest(tmp_path, "1" * 64, "cpu") is None


def test_numbers_that_json_has_not_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        stored(tmp_path, "nan", score={"caught": float("nan")})
    path = stored(tmp_path, "good")
    assert json.loads(path.read_text())["run_id"] == "good"
