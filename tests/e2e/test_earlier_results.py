"""Results that an earlier version wrote are read by this one, with the same verdicts and values."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

import harness as library
from tests.e2e.shell import Forge, Shell

ARCHIVE = Path(__file__).parents[1] / "fixtures" / "results-2026-11-26.tar.xz"
PASSED, FAILED, UNDECIDED = (
    "20261126T221048-tiny-10d7",
    "20261126T221319-tiny-c9d1",
    "20261126T221346-tiny-e9aa",
)
EXIT_CODES = {PASSED: 0, FAILED: 1, UNDECIDED: 4}
#: What is worded for people; the rest of a table is a contract.
TEXTS = ("sentence", "reason", "waived", "why")
NUMBERS = ("value", "ci_low", "ci_high", "base", "new", "change", "limit")
#: Times and memory, whose runs differ.
NOISY = (
    "throughput", "first_inference", "latency_p50", "latency_p90", "latency_p99", "load_time", "peak_memory",
)  # fmt: skip
#: Exponentials and logarithms of numpy differ in the last bit between CPUs.
TOLERANCE = {"check_exact": False, "rtol": 1e-12, "atol": 0}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive; every stored ``validation_path`` leads to the models unpacked beside the results."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    for path in folder.glob("results/2*/run.json"):
        facts = json.loads(path.read_text())
        relative = Path(facts["validation_path"]).relative_to("/srv/work")
        path.write_text(json.dumps({**facts, "validation_path": str(folder / relative)}))
    return folder


@pytest.fixture
def earlier(forge: Forge, cache: Path, unpacked: Path, tmp_path: Path) -> Shell:
    shell = Shell(forge, tmp_path, cache)
    shutil.copytree(unpacked / "results", shell.results, symlinks=True)
    return shell


def table(path: Path) -> pd.DataFrame:
    frame = pd.read_csv(path, keep_default_na=False)
    numbers = frame.columns.intersection(NUMBERS)  # of which some cells are empty
    frame[numbers] = frame[numbers].apply(pd.to_numeric)
    return frame.drop(columns=[name for name in TEXTS if name in frame])


def like(now: pd.DataFrame, then: pd.DataFrame) -> pd.DataFrame:
    """`now` without what the earlier version did not have: columns, and metrics of a case."""
    names = [name for name in ("suite", "metric", "case") if name in then]
    measured = set(then[names].itertuples(index=False, name=None))
    rows = [row in measured for row in now[names].itertuples(index=False, name=None)]
    return now.loc[rows, list(then.columns)].reset_index(drop=True)


def test_the_archive_names_no_machine(unpacked: Path) -> None:
    with tarfile.open(ARCHIVE) as archive:
        assert {(member.uname, member.gname, member.uid) for member in archive} == {("", "", 0)}
    for path in unpacked.rglob("*.*json*"):
        text = path.read_text().replace(str(unpacked), "")
        assert "/root" not in text
        assert "/home" not in text


@pytest.mark.parametrize("run", EXIT_CODES)
def test_judge_repeats_rows_and_verdicts(earlier: Shell, unpacked: Path, run: str) -> None:
    folder = earlier.results / run
    for name in ("measurements.csv", "verdicts.csv"):
        (folder / name).unlink()
    ended = earlier("judge", run)
    assert ended.code == EXIT_CODES[run], ended.err
    for name in ("measurements.csv", "verdicts.csv"):
        now, then = table(folder / name), table(unpacked / "results" / run / name)
        assert_frame_equal(like(now, then), then, **TOLERANCE)


def test_a_waiver_still_covers_its_gate(earlier: Shell) -> None:
    document = json.loads(earlier("judge", FAILED, "--json").out)
    waived = {verdict["gate"]: verdict["waived"] for verdict in document["verdicts"] if verdict["waived"]}
    assert list(waived) == ["size"]
    for word in ("tester", "2099-12-31", "HW-1"):
        assert word in waived["size"]


def test_compare_finds_the_same_changes(earlier: Shell, unpacked: Path) -> None:
    ended = earlier("compare", FAILED, UNDECIDED, "--csv", "changes.csv")
    assert ended.code == EXIT_CODES[UNDECIDED], ended.err
    keys = ["target", "backend", "setting", "variant", "suite", "case", "severity", "metric", "reference"]
    then = table(unpacked / "expected" / "compare.csv")
    now = like(table(earlier.folder / "changes.csv"), then)
    now, then = (frame.set_index(keys).sort_index() for frame in (now, then))
    # Two runs of one file differ by a little more than their intervals say, which is counted since.
    noisy = now.index.get_level_values("metric").isin(NOISY)
    assert (now.loc[noisy, "ci_low"] < then.loc[noisy, "ci_low"]).all()
    assert (now.loc[noisy, "ci_high"] > then.loc[noisy, "ci_high"]).all()
    assert_frame_equal(now[~noisy], then[~noisy], **TOLERANCE)
    bounds = ["ci_low", "ci_high"]
    assert_frame_equal(now[noisy].drop(columns=bounds), then[noisy].drop(columns=bounds), **TOLERANCE)
    assert_frame_equal(now.loc[noisy, bounds], then.loc[noisy, bounds], check_exact=False, rtol=0.02, atol=0)


def test_history_has_the_same_series(earlier: Shell, unpacked: Path) -> None:
    ended = earlier("history", "--json")
    assert ended.code == 0, ended.err
    now, then = json.loads(ended.out), json.loads((unpacked / "expected" / "history.json").read_text())
    assert [run["run_id"] for run in now["runs"]] == list(EXIT_CODES)
    assert now["left_out"] == []

    def values(document: dict[str, list[dict[str, object]]]) -> dict[tuple[object, ...], object]:
        keys = ("target", "backend", "setting", "variant", "suite", "case", "severity", "metric", "reference")
        contents = ("run_ids", "values", "versions", "unit", "invalid", "changes")
        return {
            tuple(one[key] for key in keys): [one[name] for name in contents] for one in document["series"]
        }

    assert values(now) == values(then)


def test_query_reads_rows_and_verdicts(earlier: Shell, unpacked: Path) -> None:
    ended = earlier(
        "query", "select run_id, gate, state from verdicts order by all", "--csv", "states.csv"
    )  # fmt: skip
    assert ended.code == 0, ended.err
    states = pd.read_csv(earlier.folder / "states.csv")
    assert states["state"].value_counts().to_dict() == {"PASS": 12, "INCONCLUSIVE": 4, "FAIL": 2}
    sql = "select run_id, value from measurements where metric = 'accuracy' order by all"
    assert earlier("query", sql, "--csv", "accuracy.csv").code == 0
    accuracy = pd.read_csv(earlier.folder / "accuracy.csv")
    stored = table(unpacked / "results" / PASSED / "measurements.csv")
    expected = sorted(stored.loc[stored["metric"] == "accuracy", "value"].astype(float))
    assert accuracy.loc[accuracy["run_id"] == PASSED, "value"].tolist() == expected


@pytest.mark.parametrize(
    "run", [PASSED, *(pytest.param(run, marks=pytest.mark.full) for run in (FAILED, UNDECIDED))]
)
def test_report_draws_it(earlier: Shell, run: str) -> None:
    ended = earlier("report", run)
    assert ended.code == 0, ended.err
    page = (earlier.folder / "report.html").read_text()
    assert run in page


def test_baseline_is_shown_and_compared_with(earlier: Shell, unpacked: Path) -> None:
    ended = earlier("baseline", "show")
    assert ended.code == 0, ended.err
    # Names, figures and who accepted it; the lines' words may change.
    for text in ("tiny/cpu/accepted", "tester: the first", PASSED, "accuracy 0.988", "latency_p50 17 µs"):
        assert text in (unpacked / "expected" / "baseline.txt").read_text()
        assert text in ended.out
    ended = earlier("baseline", "diff", UNDECIDED)
    counts = re.search(r"(\d+) rows: (\d+) not run, 2 changed, 16 within noise, 164 same", ended.out)
    assert counts, ended.out  # the rows that are made today and were not then are "not run"
    assert int(counts[1]) == int(counts[2]) + 182


def test_resume_of_a_complete_run_measures_nothing(earlier: Shell, unpacked: Path) -> None:
    journal = earlier.results / PASSED / "journal.jsonl"
    before = journal.read_bytes()
    ended = earlier("validate", "--resume", PASSED)
    assert ended.code == EXIT_CODES[PASSED], ended.err
    assert journal.read_bytes() == before
    name = f"{PASSED}/verdicts.csv"
    now, then = table(earlier.results / name), table(unpacked / "results" / name)
    assert_frame_equal(like(now, then), then, check_exact=True)


def test_resume_of_an_interrupted_run_measures_the_rest(earlier: Shell, unpacked: Path) -> None:
    journal = earlier.results / FAILED / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[: len(lines) // 2]))
    for name in ("measurements.csv", "verdicts.csv"):
        (earlier.results / FAILED / name).unlink()
    ended = earlier("validate", "--resume", FAILED)
    assert ended.code == EXIT_CODES[FAILED], ended.err
    keys = ["target", "setting", "variant", "suite", "case", "severity", "metric", "reference"]
    now, then = (
        table(folder / FAILED / "measurements.csv")[keys]
        for folder in (earlier.results, unpacked / "results")
    )
    assert_frame_equal(like(now, then), then)


@pytest.mark.parametrize("run", EXIT_CODES)
def test_load_reads_the_table(earlier: Shell, unpacked: Path, run: str) -> None:
    frame = library.load(run, earlier.results)
    stored = table(unpacked / "results" / run / "measurements.csv")
    assert len(frame) == len(stored)
    assert frame["metric"].tolist() == stored["metric"].tolist()
    assert frame["value"].fillna(-1).tolist() == pd.to_numeric(stored["value"]).fillna(-1).tolist()
