"""What the commands print and leave behind."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

import harness as api
from harness.core.errors import ResultsError
from harness.core.measurement import COLUMNS, WHOLE_CASE
from harness.run.declared import of_suites
from harness.run.selection import load_suites
from harness.store.tables import TEXTS
from tests.e2e.shell import ACCURACY, Ended, MakeModel, Shell

ESCAPE = "\x1b"
SUITES = ("accuracy", "performance", "reliability")


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_json_is_all_that_is_printed(whole: tuple[Shell, Ended]) -> None:
    shell, ended = whole
    document = json.loads(ended.out)
    assert (document["verdict"], document["exit_code"], document["share"]) == ("PASS", 0, 1.0)
    assert ended.code == 0, ended.err
    assert document["run_id"] == shell.run().name
    assert document["folder"] == str(shell.run())
    assert document["missing_jobs"] == 0
    verdicts = document["verdicts"]
    assert {v["gate"] for v in verdicts if v["kind"] == "gate"} == {"accuracy", "loss"}
    assert {v["state"] for v in verdicts if v["kind"] == "check"} <= {
        "PASS",
        "INCONCLUSIVE",
        "NOT_APPLICABLE",
    }
    assert "same-numbers-as-host" in {v["gate"] for v in verdicts if v["state"] == "PASS"}


def test_pandas_reads_the_table_without_options(whole: tuple[Shell, Ended]) -> None:
    shell, _ = whole
    table = pd.read_csv(shell.run() / "measurements.csv")
    assert tuple(table.columns) == COLUMNS
    assert set(table["suite"]) == {"accuracy", "compression", "performance", "reliability"}
    assert set(table["variant"]) == {"float32", "int8"}
    assert set(table["target"]) == {"cpu", "host"}
    assert set(table["run_id"]) == {shell.run().name}
    for column in ("severity", "n"):
        assert table[column].dtype == "int64"
    for column in ("value", "ci_low", "ci_high"):
        assert table[column].dtype == "float64"
    valid_rows = table[table["status"] == "OK"]
    assert valid_rows["value"].notna().all()
    assert valid_rows["unit"].notna().all()
    assert table[table["status"] != "OK"]["reason"].notna().all()
    declared = {(suite, name, metric.unit) for suite, name, metric in of_suites(load_suites(SUITES)).every()}
    rows = table[table["metric"] != WHOLE_CASE]
    assert set(zip(rows["suite"], rows["metric"], rows["unit"], strict=True)) <= declared
    target_table = pd.read_csv(shell.run() / "cpu" / "measurements.csv")
    pd.testing.assert_frame_equal(
        target_table, table[table["target"] == "cpu"].reset_index(drop=True), check_dtype=False
    )


def test_judge_gives_identical_files(whole: tuple[Shell, Ended]) -> None:
    shell, _ = whole
    before = files(shell.run())
    ended = shell("judge", "latest")
    assert ended.code == 0, ended.err
    assert "verdict: PASS (0)" in ended.out
    assert files(shell.run()) == before


def test_judge_needs_neither_model_nor_cache(whole: tuple[Shell, Ended], harness: Shell) -> None:
    shell, _ = whole
    run = shutil.copytree(shell.run(), harness.folder / "moved")
    before = files(run)
    for name in ("measurements.csv", "verdicts.csv", "cpu/measurements.csv"):
        (run / name).unlink()
    ended = harness("judge", run, env={"HARNESS_CACHE": str(harness.folder / "none")})
    assert ended.code == 0, ended.err
    assert files(run) == before
    assert not (harness.folder / "none").exists()


@pytest.mark.parametrize(
    ("limit", "state", "code"),
    [({"min": 1.5}, "FAIL", 1), ({"min": 0.995}, "INCONCLUSIVE", 4), ({"metric": "nothing"}, "NOT_RUN", 3)],
)
def test_exit_codes(
    whole: tuple[Shell, Ended], harness: Shell, limit: dict[str, object], state: str, code: int
) -> None:
    """All 250 samples are right: at least 98.9 % of all are, at one-sided 95 %."""
    shell, _ = whole
    run = shutil.copytree(shell.run(), harness.folder / "run")
    stored = json.loads((run / "run.json").read_text())
    stored["validation"]["gate"][0] |= limit
    (run / "run.json").write_text(json.dumps(stored))
    ended = harness("judge", run)
    assert ended.code == code, ended.err
    assert ended.out.endswith(f"verdict: {state} ({code})\n")
    assert f"{state:<13}accuracy: float32 on cpu: " in ended.out


def test_output_that_is_no_terminal_is_plain(whole: tuple[Shell, Ended]) -> None:
    shell, ended = whole
    for text in (ended.err, shell("judge", "latest").out, shell("targets").out):
        assert text
        assert ESCAPE not in text
        assert "\r" not in text


def test_load(whole: tuple[Shell, Ended]) -> None:
    shell, _ = whole
    run, results = shell.run(), shell.results
    wanted = pd.read_csv(run / "measurements.csv").replace(r"^'(?=[-=+@\t\r])", "", regex=True)
    texts = [name for name in wanted if name in TEXTS]
    wanted[texts] = wanted[texts].fillna("").astype("str")  # a text that is not there is empty, not NaN
    for name in (run.name, run.name[:12], run, str(run), "latest", run / "measurements.csv"):
        pd.testing.assert_frame_equal(api.load(name, results=results), wanted)
    for name in ("nothing", run / "verdicts.csv", results / "no.csv"):
        with pytest.raises(ResultsError):
            api.load(name, results=results)


def test_an_ambiguous_prefix_names_the_runs(whole: tuple[Shell, Ended], harness: Shell) -> None:
    shell, _ = whole
    for name in ("20310101-a", "20310101-b"):
        shutil.copytree(shell.run(), harness.results / name)
    ended = harness("judge", "2031")
    assert ended.code == 2
    assert "20310101-a, 20310101-b" in ended.err


def test_plan_writes_nothing(harness: Shell, tiny: Path) -> None:
    ended = harness("plan", "--model", tiny)
    assert ended.code == 0, ended.err
    assert not harness.results.exists()
    assert list(harness.folder.iterdir()) == []
    for text in ("46 jobs", "3000 samples", "MB in", "gate loss: 250 samples decide losses above 1.07 pt"):
        assert text in ended.out


def test_one_of_two_targets_cannot_run(harness: Shell, tiny: Path) -> None:
    (harness.folder / "targets").mkdir()
    text = 'description = "a GPU"\nbackends = ["onnxruntime"]\n[deploy]\nprovider = "CUDAExecutionProvider"\n'
    (harness.folder / "targets" / "gpu.toml").write_text(text)
    ended = harness("validate", "--model", tiny, "--target", "gpu,cpu", "--suite", "accuracy", "--json")
    assert ended.code == 3, ended.err
    verdicts = json.loads(ended.out)["verdicts"]
    states = {(v["target"], v["state"]) for v in verdicts if v["kind"] == "gate"}
    assert {v["state"] for v in verdicts if v["kind"] == "check" and v["target"] == "gpu"} == {"NOT_RUN"}
    assert {state for target, state in states if target == "cpu"} == {"PASS"}
    assert "PASS" not in {state for target, state in states if target == "gpu"}
    table = pd.read_csv(harness.run() / "measurements.csv")
    assert set(table[table["target"] == "gpu"]["status"]) == {"SKIPPED"}
    assert table[table["target"] == "gpu"]["reason"].str.contains("CUDAExecutionProvider").all()
    assert set(table[table["target"] == "cpu"]["status"]) == {"OK"}


def test_the_cache_is_shown_and_cleared(harness: Shell) -> None:
    folder = harness.folder / "cache"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "0.npy").write_bytes(bytes(3_000_000))
    environment = {"HARNESS_CACHE": str(folder)}
    shown = harness("cache", env=environment)
    assert shown.code == 0, shown.err
    assert "data        1  3.0" in shown.out
    assert harness("cache", "--clear", "dat", env=environment).code == 2
    assert "3.0 MB deleted" in harness("cache", "--clear", "data", env=environment).out
    assert not (folder / "data").exists()
    wrong = harness("plan", env=environment | {"HARNESS_CACHE_MAX": "20"})
    assert wrong.code == 2
    assert "'20' is not a size" in wrong.err


def test_doctor(harness: Shell) -> None:
    ended = harness("doctor")
    assert ended.code == 0, ended.out
    assert "nothing is wrong" in ended.out
    (harness.folder / "file").write_text("")
    ended = harness("doctor", env={"HARNESS_CACHE": str(harness.folder / "file" / "cache")})
    assert ended.code == 3
    assert "wrong: cannot write" in ended.out


def test_from_python(tiny: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(cache))
    outcome = api.validate(model=tiny, variant="float32", suite="accuracy", results=tmp_path / "results")
    assert outcome.state.value == "PASS"
    table = api.load("latest", results=tmp_path / "results")
    assert len(table) == len(outcome.rows)
    buffer = io.StringIO()
    table.to_csv(buffer, index=False)
    assert buffer.getvalue().count("\n") == len(outcome.rows) + 1


def test_json_lines_tell_what_goes_on(harness: Shell, model: MakeModel) -> None:
    ended = harness("validate", "--model", model(), "--target", "cpu", *ACCURACY, "--json-lines")
    lines = [json.loads(line) for line in ended.out.splitlines()]
    events = [line["event"] for line in lines]
    assert ended.err == ""
    assert events[0] == "stage"
    assert events.count("begin") == 1
    assert (
        events.count("started")
        == events.count("result")
        == next(line["jobs"] for line in lines if line["event"] == "begin")
    )
    results = [line for line in lines if line["event"] == "result"]
    assert {line["status"] for line in results} == {"OK"}
    assert {line["suite"] for line in results} == {"accuracy"}
    left = [line["seconds_left"] for line in results]
    assert left[-1] == 0 == min(left)
    assert lines[-1]["event"] == "outcome"
    assert lines[-1]["exit_code"] == ended.code
