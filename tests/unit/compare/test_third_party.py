"""A third-party suite declares its metric, and every comparison reads the declaration."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.compare import compare_text, history, history_text, matrix, pairs
from harness.compare.history import HistoryFilter
from harness.core.measurement import COLUMNS
from harness.core.metric import Declared, Metric
from harness.core.verdict import State
from harness.report.html import trends
from harness.report.html.data import ReportData
from harness.report.html.sections.comparison import comparison
from harness.run import declared
from harness.stats.table_changes import Change
from harness.store.run_folder import SCHEMA_VERSION
from harness.testing.fakes import register

SUITE = """
from harness.core.metric import Metric

class TopFive:
    name = "theirs"
    metrics = {"accuracy_top5": Metric("1", "higher", case="clean")}

    def cases(self, context):
        return ()

    def check(self, settings):
        return []

    def summarise(self, job, result, context):
        return []
"""
CASES = ("clean", *(f"fog{number}" for number in range(15)))
UNDECLARED = "metric accuracy_top5 has no declared direction"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite as ``pip install`` would leave it."""
    site = tmp_path / "site"
    register(site, {"harness.suites": {"theirs": "their_suite:TopFive"}}, distribution="theirs")
    (site / "their_suite.py").write_text(SUITE)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "their_suite", raising=False)


def rows(value: float, variants: Sequence[str] = ("float32", "int8")) -> pd.DataFrame:
    fields = {
        **dict.fromkeys(COLUMNS, ""), "run_id": "r", "target": "cpu", "backend": "b", "setting": "deploy",
        "model": "m", "model_sha256": "a", "suite": "theirs", "severity": 0, "metric": "accuracy_top5",
        "unit": "1", "value": value, "ci_low": float("nan"), "ci_high": float("nan"), "n": 100,
        "status": "OK",
    }  # fmt: skip
    made = [{**fields, "variant": variant, "case": case} for variant in variants for case in CASES]
    return pd.DataFrame(made, columns=list(COLUMNS))


def table(folder: Path, name: str, *frames: pd.DataFrame) -> str:
    path = folder / name
    pd.concat(frames).to_csv(path, index=False)
    return str(path)


def fallen(folder: Path) -> tuple[pairs.Pair, ...]:
    return pairs.compare(table(folder, "a.csv", rows(1.0)), [table(folder, "b.csv", rows(0.5))], folder)


@pytest.mark.usefixtures("installed")
def test_compare_calls_every_row_worse(tmp_path: Path) -> None:
    fallen_pair = fallen(tmp_path)
    assert fallen_pair[0].rows["class"].tolist() == [Change.WORSE] * 32
    assert "32 worse" in compare_text.text(fallen_pair)


@pytest.mark.usefixtures("installed")
def test_the_report_calls_it_worse(tmp_path: Path) -> None:
    section = comparison(ReportData((), (), (), State.PASS, (), fallen(tmp_path)))
    assert section is not None
    assert "32 rows got worse" in section.intro
    assert "accuracy_top5" in section.intro


def test_without_the_suite_the_direction_is_reported_as_unknown(tmp_path: Path) -> None:
    fallen_pair = fallen(tmp_path)
    assert set(fallen_pair[0].rows["class"]) == {Change.CHANGED}
    assert set(fallen_pair[0].rows["why"]) == {UNDECLARED}
    assert f"\n{UNDECLARED} (32 rows changed)\n" in compare_text.text(fallen_pair)
    assert f"\n- {UNDECLARED} (32 rows changed)\n" in compare_text.markdown(fallen_pair)


@pytest.mark.usefixtures("installed")
def test_matrix_names_the_best_and_the_worst(tmp_path: Path) -> None:
    name = table(tmp_path, "a.csv", rows(1.0, ["float32"]), rows(0.5, ["int8"]))
    ranked = matrix.matrix([name], tmp_path, ["accuracy_top5"])
    assert dict(zip(ranked["variant"], ranked["rank"], strict=True)) == {"float32": "best", "int8": "worst"}


def runs(results: Path, metrics: dict[str, Any] | None = None) -> Path:
    for number, value in enumerate([1.0, 1.0, 1.0, 0.5, 0.5]):
        folder = results / f"run-{number}"
        folder.mkdir(parents=True)
        created = f"2026-01-0{number + 1}T00:00:00+00:00"
        validation = {"schema": 1, "model": {"name": "m", "file": "m.onnx"}, "data": {"path": "d"}}
        run = {"schema_version": SCHEMA_VERSION, "created_utc": created, "validation": validation}
        if metrics is not None:
            run[declared.KEY] = metrics
        (folder / "run.json").write_text(json.dumps(run))
        rows(value, ["int8"]).to_csv(folder / "measurements.csv", index=False)
    return results


def turns(loaded: history.History) -> set[tuple[str, str]]:
    return {
        (loaded.runs[turn.level.at].run_id, str(turn.change)) for one in loaded.trends for turn in one.turns
    }


@pytest.mark.usefixtures("installed")
def test_history_and_its_page_call_it_worse(tmp_path: Path) -> None:
    loaded = history.history(runs(tmp_path / "results"), HistoryFilter(metrics=("accuracy_top5",)))
    assert len(loaded.trends) == len(CASES)
    assert turns(loaded) == {("run-3", "worse")}
    assert "worse  1 -> 0.5" in history_text.text(loaded)
    changes, *_ = trends.sections(loaded)
    assert {
        dict(zip(changes.tables[0].columns, line, strict=True))["class"] for line in changes.tables[0].rows
    } == {"worse"}


def test_what_a_run_stored_counts_where_its_suite_is_not_installed(tmp_path: Path) -> None:
    stored = Declared({"theirs": {"accuracy_top5": Metric("1", "higher")}}).to_json()
    results = runs(tmp_path / "stored", stored)
    assert turns(history.history(results, HistoryFilter(metrics=("accuracy_top5",)))) == {("run-3", "worse")}
    # Runs of before have no declarations.
    loaded = history.history(runs(tmp_path / "bare"), HistoryFilter(metrics=("accuracy_top5",)))
    assert turns(loaded) == {("run-3", "changed")}
    assert UNDECLARED in history_text.text(loaded)
