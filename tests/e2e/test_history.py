"""``harness history`` and ``harness query`` over runs of a small model, and over folders that are broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from harness.compare import query, query_index
from harness.store import tables
from tests.e2e.shell import ACCURACY, Forge, Shell, check

RUNS = 8
CHANGED = 5


@pytest.fixture(scope="module")
def measured(forge: Forge, cache: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One real run for all tests of this file."""
    harness = Shell(forge, tmp_path_factory.mktemp("measured"), cache)
    ended = harness("validate", "--model", tiny, "--target", "cpu", *ACCURACY)
    assert ended.code in (0, 1, 3, 4), ended.err
    return harness.run()


@pytest.fixture
def runs(harness: Shell, measured: Path) -> list[Path]:
    """Copies of it, by days; from one of them on the model is another and its accuracy worse."""
    frame, facts = pd.read_csv(measured / "measurements.csv"), json.loads((measured / "run.json").read_text())
    folders = []
    for day in range(RUNS):
        # Names in the other order than the days: created_utc decides.
        folder = harness.results / f"{RUNS - day}-planted"
        shutil.copytree(measured, folder)
        changed_facts = {**facts, "created_utc": f"2026-01-{day + 1:02}T00:00:00+00:00"}
        (folder / "run.json").write_text(json.dumps(changed_facts))
        planted = frame.assign(run_id=folder.name)
        if day >= CHANGED:
            rows = planted["metric"] == "accuracy"
            planted.loc[rows, ["value", "ci_low", "ci_high"]] = [0.5, 0.45, 0.55]
            planted["model_sha256"] = "f" * 64
        planted.to_csv(folder / "measurements.csv", index=False)
        folders.append(folder)
    return folders


def test_a_planted_change_is_reported_at_its_run_with_what_else_changed(
    harness: Shell, runs: list[Path]
) -> None:
    ended = harness("history", "--case", "clean", "--csv", "points.csv", "--html", "history.html")
    assert ended.code == 0, ended.err
    assert ended.err == "page  history.html\n"
    assert f"{RUNS} runs, 2026-01-01T00:00 … 2026-01-08T00:00" in ended.out
    changed = ended.out.partition("changed:\n")[2].splitlines()
    assert changed[0].strip().startswith("cpu/onnxruntime float32 accuracy in clean  █████▁▁▁")
    assert changed[1].strip().startswith(f"{runs[CHANGED].name}  worse  ")
    assert "model " in changed[2]
    assert "-> ffffffff" in changed[2]
    assert f"worse at {runs[CHANGED].name}" in (harness.folder / "history.html").read_text()
    points = pd.read_csv(harness.folder / "points.csv")
    accuracy_points = points[(points["metric"] == "accuracy") & (points["setting"] == "deploy")]
    assert accuracy_points["run_id"].tolist() == [folder.name for folder in runs]
    assert accuracy_points["change"].notna().tolist() == [day == CHANGED for day in range(RUNS)]
    assert accuracy_points["level"].iloc[-1] == pytest.approx(0.5)


def test_json_has_series_versions_and_changes(harness: Shell, runs: list[Path]) -> None:
    ended = harness("history", "--metric", "accuracy", "--case", "clean", "--json")
    document = json.loads(ended.out)
    assert {item["setting"] for item in document["series"]} == {"deploy", "parity"}
    series = document["series"][0]
    assert [item["run_id"] for item in document["runs"]] == [folder.name for folder in runs]
    assert [item["runs"] for item in series["versions"]] == [CHANGED, RUNS - CHANGED]
    assert [(item["run_id"], item["class"]) for item in series["changes"]] == [(runs[CHANGED].name, "worse")]


def test_runs_that_cannot_be_read_are_named_and_left_out(harness: Shell, runs: list[Path]) -> None:
    (runs[0] / "measurements.csv").unlink()
    facts = json.loads((runs[1] / "run.json").read_text())
    (runs[1] / "run.json").write_text(json.dumps({**facts, "schema_version": 99}))
    table = runs[2] / "measurements.csv"
    table.write_text(table.read_text()[: -len(",OK,,2026-01-01T00:00:00+00:00") - 30])
    twice = pd.read_csv(runs[3] / "measurements.csv")
    pd.concat([twice, twice]).to_csv(runs[3] / "measurements.csv", index=False)
    (runs[4] / "run.json").unlink()
    for command in (
        ("history", "--metric", "accuracy"),
        ("query", "SELECT DISTINCT run_id FROM measurements"),
    ):
        ended = harness(*command)
        assert ended.code == 0, ended.err
        for folder, why in (
            (runs[0], "interrupted before its table was written"), (runs[1], "schema version 99"),
            (runs[2], "is cut"), (runs[4], "no run.json"),
        ):  # fmt: skip
            (note,) = [line for line in ended.err.splitlines() if folder.name in line and "note: " in line]
            assert why in note
    ended = harness("history", "--metric", "accuracy")
    assert f"{runs[3].name} is left out: rows share the key target=cpu" in ended.err
    assert f"{RUNS - 5} runs" in ended.out
    assert "5 runs left out" in ended.out


def test_a_run_that_is_being_written_is_left_out(harness: Shell, runs: list[Path]) -> None:
    locked = ["flock", str(runs[-1] / "journal.jsonl"), "sh", "-c", "echo held; cat"]
    with subprocess.Popen(locked, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == "held\n"
            ended = harness("history", "--metric", "accuracy")
        finally:
            holder.stdin.close()
    assert ended.err == f"note: {runs[-1].name} is left out: it is being written\n"


def test_a_folder_without_runs_and_a_metric_that_nobody_measured(harness: Shell, runs: list[Path]) -> None:
    check(harness("history", "--results", "nowhere"), 2, "no such results folder")
    (harness.folder / "empty").mkdir()
    check(harness("history", "--results", "empty"), 2, "holds no run")
    check(harness("query", "SELECT 1", "--results", "empty"), 2, "holds no run")
    ended = harness("history", "--metric", "speed", "--csv", "points.csv")
    check(ended, 2, "no series matches --metric speed", "available metrics: accuracy")
    assert not (harness.folder / "points.csv").exists()
    for folder in runs:
        (folder / "measurements.csv").write_text("")
    check(harness("history"), 2, "no series matches", "it is empty")
    check(harness("query", "SELECT 1"), 2, "no run of this folder can be read", "it is empty")


def test_names_are_no_formulas_and_move_no_cursor(harness: Shell, runs: list[Path]) -> None:
    name = "=1+1<b>\x1b[2J"
    for folder in runs:
        frame = pd.read_csv(folder / "measurements.csv").assign(variant=name)
        frame.to_csv(folder / "measurements.csv", index=False)
    ended = harness("history", "--metric", "accuracy", "--csv", "points.csv")
    query_ended = harness("query", "SELECT DISTINCT variant FROM measurements", "--csv", "answer.csv")
    for item, file in ((ended, "points.csv"), (query_ended, "answer.csv")):
        assert item.code == 0, item.err
        assert "\x1b" not in item.out
        assert "=1+1<b>" in item.out
        assert set(pd.read_csv(harness.folder / file)["variant"]) == {f"'{name}"}


def test_sql_over_all_runs(harness: Shell, runs: list[Path]) -> None:
    sql = (
        "SELECT m.run_id, m.value, state, card->>'variant' AS made"
        " FROM measurements m JOIN verdicts v USING (run_id, target, backend, variant, metric)"
        " JOIN cards c USING (run_id, variant)"
        " WHERE gate = 'accuracy' AND \"case\" = 'clean' AND setting = 'deploy' ORDER BY ALL"
    )
    ended = harness("query", sql, "--csv", "answer.csv")
    assert ended.code == 0, ended.err
    assert ended.out.endswith(f"{RUNS} rows\n")
    answer = pd.read_csv(harness.folder / "answer.csv")
    assert answer["run_id"].tolist() == sorted(folder.name for folder in runs)
    assert set(answer["made"]) == {"float32"}
    assert (answer["value"] == 0.5).sum() == RUNS - CHANGED


REFUSED = (
    ("SELEC 1", "syntax error"),
    ("SELECT speed FROM measurements", "speed"),
    ("SELECT 1; SELECT 2", "one SELECT"),
    ("COPY measurements TO 'stolen.csv'", "one SELECT"),
    ("SELECT * FROM read_text('secret')", "disabled by configuration"),
    ("SELECT * FROM 'secret'", "does not exist"),
    ("SET enable_external_access = true", "one SELECT"),
    ("DROP TABLE measurements", "one SELECT"),
    ("", "one SELECT"),
)


def test_a_query_reads_what_was_loaded_and_nothing_else(harness: Shell, measured: Path) -> None:
    shutil.copytree(measured, harness.results / measured.name)
    (harness.folder / "secret").write_text("secret")
    for sql, says in REFUSED:
        check(harness("query", sql, "--csv", "answer.csv"), 2, says)
        assert not (harness.folder / "answer.csv").exists()
    assert not (harness.folder / "stolen.csv").exists()


COUNTED = "SELECT run_id, count(*), min(variant) FROM measurements GROUP BY run_id ORDER BY run_id"


@pytest.fixture
def ask(harness: Shell, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[list[object]]]:
    """Ask the index of the results folder in this process."""
    monkeypatch.setenv("HARNESS_CACHE", str(harness.folder / "cache"))
    return lambda: query.query(COUNTED, harness.results).frame.to_numpy().tolist()


def test_the_index_follows_the_files(runs: list[Path], ask: Callable[[], list[list[object]]]) -> None:
    before = ask()
    assert [row[0] for row in before] == sorted(folder.name for folder in runs)
    table = runs[0] / "measurements.csv"
    times = table.stat()
    table.write_text(table.read_text().replace("float32", "float23", 1))  # of the same length and time
    os.utime(table, ns=(times.st_atime_ns, times.st_mtime_ns))
    shutil.rmtree(runs[1])
    shutil.copytree(runs[2], runs[2].with_name("copy"))
    after = ask()
    names = [row[0] for row in after]
    assert runs[1].name not in names
    by_name = {name: rest for name, *rest in after}
    assert by_name[runs[2].name][0] == 2 * before[0][1]
    assert by_name[runs[0].name] == [before[0][1], "float23"]
    shutil.rmtree(runs[2].with_name("copy"))
    assert len(ask()) == len(runs) - 1


def test_a_run_is_read_once(
    runs: list[Path], ask: Callable[[], list[list[object]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, read = ask(), []
    real = tables.read
    monkeypatch.setattr(query_index.tables, "read", lambda path: read.append(path) or real(path))
    assert ask() == before
    assert read == []
    (runs[0] / "cards" / "float32.json").write_text("{}")
    ask()
    assert read == [runs[0] / "measurements.csv"]


@pytest.mark.usefixtures("runs")
def test_a_damaged_index_is_made_anew(harness: Shell, ask: Callable[[], list[list[object]]]) -> None:
    before = ask()
    (index,) = (harness.folder / "cache" / "query").glob("*.duckdb")
    for damaged in (b"", b"no index", index.read_bytes()[: index.stat().st_size // 2]):
        index.write_bytes(damaged)
        assert ask() == before
