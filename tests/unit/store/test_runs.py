"""Which folders of a results folder are runs, in which order, and why a run is left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.core.errors import ResultsError
from harness.store.journal import Journal
from harness.store.run_folder import SCHEMA_VERSION
from harness.store.runs import stored


def made(results: Path, name: str, created_utc: str = "", table: str = "measurements.csv") -> Path:
    """A run as far as `stored` looks at it."""
    folder = results / name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(
        json.dumps({"schema_version": SCHEMA_VERSION, "created_utc": created_utc})
    )
    if table:
        (folder / table).touch()
    return folder


def test_runs_come_by_their_time_and_then_by_name(tmp_path: Path) -> None:
    made(tmp_path, "a", "2031-03-01")
    made(tmp_path, "c", "2031-01-01", "measurements.parquet")
    made(tmp_path, "b", "2031-03-01")
    runs, left_out = stored(tmp_path)
    assert [(run.run_id, run.created_utc, run.table.name) for run in runs] == [
        ("c", "2031-01-01", "measurements.parquet"),
        ("a", "2031-03-01", "measurements.csv"),
        ("b", "2031-03-01", "measurements.csv"),
    ]
    assert left_out == []
    assert runs[0].table.parent == runs[0].folder.path == tmp_path / "c"


def test_a_csv_counts_before_the_same_as_parquet(tmp_path: Path) -> None:
    (made(tmp_path, "a") / "measurements.parquet").touch()
    ((run,), _) = stored(tmp_path)
    assert run.table.name == "measurements.csv"


def test_what_is_no_run_is_passed_over_in_silence(tmp_path: Path) -> None:
    made(tmp_path, "a")
    (tmp_path / "latest").symlink_to("a", target_is_directory=True)
    made(tmp_path, "baselines")
    (tmp_path / "notes").mkdir()
    (tmp_path / "file.csv").touch()
    runs, left_out = stored(tmp_path)
    assert [run.run_id for run in runs] == ["a"]
    assert left_out == []


@pytest.mark.parametrize("mark", ["plan.json", "journal.jsonl", "measurements.csv", "measurements.parquet"])
def test_a_folder_with_any_file_of_a_run_is_named_when_it_is_left_out(tmp_path: Path, mark: str) -> None:
    made(tmp_path, "whole")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / mark).touch()
    runs, (left_out,) = stored(tmp_path)
    assert [run.run_id for run in runs] == ["whole"]
    assert left_out.run_id == "half"
    assert "run.json" in left_out.why
    assert str(left_out).startswith("half ")


def test_every_reason_for_leaving_a_run_out_is_reported(tmp_path: Path) -> None:
    made(tmp_path, "a-whole")
    made(tmp_path, "b-no-table", table="")
    newer = made(tmp_path, "c-newer")
    (newer / "run.json").write_text(json.dumps({"schema_version": SCHEMA_VERSION + 1}))
    writing = made(tmp_path, "d-written")
    with Journal(writing):
        runs, left_out = stored(tmp_path)
    assert [run.run_id for run in runs] == ["a-whole"]
    why = {run.run_id: run.why for run in left_out}
    assert list(why) == ["b-no-table", "c-newer", "d-written"]
    assert "harness judge b-no-table" in why["b-no-table"]
    assert f"schema version {SCHEMA_VERSION + 1}" in why["c-newer"]
    assert "being written" in why["d-written"]
    runs, left_out = stored(tmp_path)  # the lock is free again
    assert [run.run_id for run in runs] == ["a-whole", "d-written"]


def test_a_folder_without_any_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="no such results folder"):
        stored(tmp_path / "absent")
    with pytest.raises(ResultsError, match="holds no run"):
        stored(tmp_path)
    made(tmp_path, "half", table="")
    with pytest.raises(ResultsError, match="can be read") as caught:
        stored(tmp_path)
    assert "half" in str(caught.value)
