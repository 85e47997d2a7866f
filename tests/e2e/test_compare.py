"""``harness compare`` on real runs of a small model, and on tables that are not what they should be."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from tests.e2e.conftest import MakeModel
from tests.e2e.shell import ACCURACY, Forge, Shell, check


@pytest.fixture(scope="module")
def measured(
    forge: Forge, cache: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """A results folder, and the names of its two runs."""
    shell, names = Shell(forge, tmp_path_factory.mktemp("measured"), cache), []
    for _ in range(2):
        ended = shell("validate", "--model", tiny, "--target", "cpu", *ACCURACY)
        assert ended.code in (0, 1, 3, 4), ended.err
        names.append((shell.results / "latest").resolve().name)  # of one second: they have no order by name
    return shell.results, names


@pytest.fixture
def runs(measured: tuple[Path, list[str]], harness: Shell) -> list[Path]:
    """The two runs, in the test's own folder."""
    results, names = measured
    shutil.copytree(results, harness.results, symlinks=True)
    return [harness.results / name for name in names]


def test_two_runs_of_one_model_are_the_same(harness: Shell, runs: list[Path]) -> None:
    before, after = (run.name for run in runs)
    ended = harness("compare", before, "latest", "--csv", "rows.csv", "--markdown", "pr.md")
    assert "same" in ended.out, ended.err
    rows = pd.read_csv(harness.folder / "rows.csv")
    assert set(rows.loc[rows["suite"] == "accuracy", "class"]) == {"same"}
    assert set(rows["base_label"]) == {before}
    assert set(rows["new_label"]) == {after}
    assert (harness.folder / "pr.md").read_text().startswith(f"### {after} against {before}")


def test_tables_that_are_none(harness: Shell, runs: list[Path]) -> None:
    table = runs[0] / "measurements.csv"
    frame = pd.read_csv(table)
    other = harness.folder / "other.csv"
    for spoiled, says in (
        (frame.drop(columns=["metric"]), "lacks the columns metric"),
        (frame.assign(rating=5), "does not know: rating"),
        (pd.concat([frame, frame]), "rows share a key"),
        (frame.assign(value="fast"), "not a number: 'fast'"),
        (frame[:0], "holds no measurement"),
    ):
        spoiled.to_csv(other, index=False)
        check(harness("compare", table, other, "--csv", "out.csv"), 2, says)
        assert not (harness.folder / "out.csv").exists()
    text = table.read_text()
    other.write_text(text[: text.rindex(",OK,")])
    check(harness("compare", table, other), 2, "is cut")
    other.write_text("")
    check(harness("compare", table, other), 2, "it is empty")
    check(harness("compare", table, f"{table}:gpu"), 2, "has no rows of gpu")
    check(harness("compare", table, "nowhere"), 2, "there is no run")


def test_a_name_is_no_formula_and_no_html(harness: Shell, runs: list[Path]) -> None:
    frame = pd.read_csv(runs[0] / "measurements.csv")
    planted = frame.assign(variant="=1+1<script>|")
    planted.loc[planted["metric"] == "accuracy", ["value", "ci_low", "ci_high"]] = [0.5, 0.49, 0.51]
    one, two = harness.folder / "one.csv", harness.folder / "two.csv"
    frame.assign(variant="=1+1<script>|").to_csv(one, index=False)
    planted.to_csv(two, index=False)
    ended = harness("compare", one, two, "--csv", "rows.csv", "--markdown", "pr.md")
    assert ended.code == 0, ended.err
    assert pd.read_csv(harness.folder / "rows.csv")["variant"].eq("'=1+1<script>|").all()
    summary = (harness.folder / "pr.md").read_text()
    assert "<script>" not in summary
    assert "&lt;script>\\|" in summary


def test_a_run_that_is_being_written(harness: Shell, runs: list[Path]) -> None:
    locked = ["flock", str(runs[1] / "journal.jsonl"), "cat"]
    with subprocess.Popen(locked, stdin=subprocess.PIPE) as holder:
        try:
            while True:  # until the lock is taken
                probe = subprocess.run(["flock", "-n", str(runs[1] / "journal.jsonl"), "true"], check=False)
                if probe.returncode:
                    break
            check(harness("compare", runs[0].name, runs[1].name), 2, "is being written")
        finally:
            assert holder.stdin is not None
            holder.stdin.close()


def test_a_matrix_of_runs_and_tables(harness: Shell, runs: list[Path]) -> None:
    table = runs[0] / "measurements.csv"
    ended = harness("compare", table, runs[1].name, "--matrix", "accuracy", "--csv", "matrix.csv")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("model tiny\ndevice")
    assert set(pd.read_csv(harness.folder / "matrix.csv")["source"]) == {str(table), runs[1].name}
    assert harness("compare", "latest", "--matrix", "accuracy").code == 0
    check(harness("compare", "latest"), 2, "nothing to compare with")
    check(
        harness("compare", "latest", "--matrix", "accuracy", "--devices"),
        2,
        "--devices cannot be used with --matrix",
    )
    check(harness("compare", "latest", "--matrix"), 2, "no side has a row of latency_p50")


def test_runs_without_a_common_target_are_devices_of_one_report(harness: Shell, model: MakeModel) -> None:
    folder = model()
    for target in ("cpu", "openvino"):
        ended = harness("validate", "--model", folder, "--target", target, *ACCURACY)
        assert ended.code in (0, 1, 3, 4), ended.err
    one, other = sorted(path for path in harness.results.iterdir() if not path.is_symlink())
    runs = {
        next(iter(json.loads((run / "run.json").read_text())["targets"])): run.name for run in (one, other)
    }
    ended = harness("compare", runs["cpu"], runs["openvino"])
    assert f"new   {runs['openvino']}   (as devices)" in ended.out, ended.err
    ended = harness("report", runs["cpu"], runs["openvino"], "-o", "both.html")
    assert ended.code == 0, ended.err
    page = (harness.folder / "both.html").read_text()
    assert f"{runs['cpu']}, {runs['openvino']}</title>" in page
    assert "Same class, and below it same bits: float32, clean" in page
    assert re.search(r"cpu/onnxruntime and openvino/openvino: same class (\d+\.\d\d|100) %", page)
