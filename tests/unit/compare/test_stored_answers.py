"""Stored predictions are scored like those of a run: against labels, and in pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from harness.cli import main
from harness.compare.stored_answers import score
from harness.core.errors import DataError, UsageError
from harness.core.measurement import Measurement
from harness.stats import intervals, paired

N, CLASSES = 200, 4
RNG = np.random.default_rng(3)
LABELS = RNG.integers(0, CLASSES, N)
#: Right but for the first 20, and right but for the first 30 and the last 5.
GOOD, WORSE = (np.eye(CLASSES)[np.where(wrong, (LABELS + 1) % CLASSES, LABELS)] for wrong in (
    np.arange(N) < 20, (np.arange(N) < 30) | (np.arange(N) >= N - 5),
))  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "labels.npy", LABELS)
    np.savez(tmp_path / "good.npz", scores=GOOD)
    (tmp_path / "worse.json").write_text(json.dumps(WORSE.tolist()))
    return tmp_path


def test_every_metric_is_that_of_the_statistics(folder: Path) -> None:
    scored = score([Path("good.npz"), Path("worse.json")], Path("labels.npy"))
    good, worse = ({row.metric: row for row in rows if row.case != "x"} for rows in scored.rows.values())
    share = intervals.wilson(180, N)
    accuracy = good["accuracy"]
    assert (accuracy.value, accuracy.ci_low, accuracy.ci_high, accuracy.n) == (0.9, share.low, share.high, N)
    assert "accuracy_loss" not in good
    loss = paired.flips(GOOD.argmax(axis=1) == LABELS, WORSE.argmax(axis=1) == LABELS).loss
    assert worse["accuracy_loss"].value == pytest.approx(100 * loss.value) == pytest.approx(7.5)
    assert worse["accuracy_loss"].ci_high == pytest.approx(100 * loss.high)
    assert worse["accuracy_loss"].reference == "good.npz"
    assert worse["flips_harmful"].value == pytest.approx(15 / N)


def test_forms_of_files(folder: Path) -> None:
    columns = ",".join(f"c{i}" for i in range(CLASSES))
    np.savetxt(folder / "good.csv", GOOD, delimiter=",", header=columns, comments="", fmt="%g")
    (folder / "labels.csv").write_text("\n".join(map(str, LABELS)))
    np.save(folder / "index.npy", GOOD.argmax(axis=1))
    (folder / "one-hot.json").write_text(json.dumps(np.eye(CLASSES)[LABELS].tolist()))
    for file, labels in (
        ("good.csv", "labels.csv"), ("index.npy", "labels.npy"), ("good.npz", "one-hot.json"),
    ):  # fmt: skip
        ((name, rows),) = score([Path(file)], Path(labels)).rows.items()
        assert (name, next(row.value for row in rows if row.metric == "accuracy")) == (file, 0.9)


def test_one_score_and_a_threshold(folder: Path) -> None:
    truth = LABELS % 2
    np.save(folder / "truth.npy", truth)
    np.save(folder / "p.npy", np.where(truth == 1, 0.4, 0.1))
    by_default, lower = (score([Path("p.npy")], Path("truth.npy"), threshold=at) for at in (None, 0.3))
    assert next(iter(by_default.rows.values()))[0].value == pytest.approx(1 - truth.mean())
    assert next(iter(lower.rows.values()))[0].value == 1


def test_a_regression(folder: Path) -> None:
    targets = RNG.normal(size=N)
    np.save(folder / "targets.npy", targets)
    np.save(folder / "y.npy", targets + 0.5)
    np.save(folder / "z.npy", targets - 1.0)
    scored = score([Path("y.npy"), Path("z.npy")], Path("targets.npy"))
    first, second = ({row.metric: row.value for row in rows} for rows in scored.rows.values())
    assert first["mae"] == pytest.approx(0.5, rel=1e-5)
    assert second["error_increase"] == pytest.approx(1.0, rel=1e-5)


def metrics_of(*files: str, **options: Any) -> list[dict[str, Measurement]]:
    scored = score([Path(file) for file in files], Path("truth.npy"), **options)
    return [{row.metric: row for row in rows} for rows in scored.rows.values()]


def test_several_labels(folder: Path) -> None:
    truth = RNG.integers(0, 2, (N, 3))
    worse = np.where(RNG.random((N, 3)) < 0.2, 1 - truth, truth)
    np.save(folder / "truth.npy", truth)
    np.savetxt(folder / "truth.csv", truth, delimiter=",", header="a,b,c", comments="", fmt="%d")
    np.save(folder / "one.npy", 0.1 + 0.8 * truth)
    np.save(folder / "two.npy", 0.1 + 0.8 * worse)
    first, second = metrics_of("one.npy", "two.npy")
    assert first["f1_micro"].value == first["label_accuracy"].value == 1
    assert second["f1_micro_loss"].value == pytest.approx(1 - f1_score(truth, worse, average="micro"))
    assert second["f1_micro_loss"].ci_high > second["f1_micro_loss"].value
    columns = score([Path("one.npy")], Path("truth.csv"))
    assert (columns.reading.task, columns.samples) == ("multi-label", N)
    assert metrics_of("two.npy", threshold=0.95)[0]["f1_micro"].value == 0


def test_anomaly_scores(folder: Path) -> None:
    truth = (np.arange(N) % 5 == 0).astype(np.int64)
    errors = 4 + RNG.random(N) + 0.5 * truth
    np.save(folder / "truth.npy", truth)
    np.save(folder / "one.npy", errors)
    np.save(folder / "two.npy", errors + RNG.normal(size=N))
    first, second = metrics_of("one.npy", "two.npy")
    area = roc_auc_score(truth, errors.astype(np.float32))
    assert first["auc"].value == pytest.approx(area)
    assert first["auc"].ci_low < area < first["auc"].ci_high
    assert second["auc_loss"].reference == "one.npy"
    assert metrics_of("one.npy", task="classification")[0]["accuracy"].value == pytest.approx(truth.mean())


def test_embeddings(folder: Path) -> None:
    vectors = RNG.normal(size=(CLASSES, 6))[LABELS] + RNG.normal(scale=0.3, size=(N, 6))
    np.save(folder / "truth.npy", LABELS)
    np.save(folder / "one.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    (metrics,) = metrics_of("one.npy")
    assert metrics["recall_at_1"].value > 0.9
    assert metrics["recall_at_5"].ci_low <= metrics["recall_at_5"].value


def test_bad_files_are_refused(folder: Path) -> None:
    np.save(folder / "short.npy", GOOD[:10])
    with pytest.raises(DataError, match="has 10 predictions"):
        score([Path("short.npy")], Path("labels.npy"))
    with pytest.raises(UsageError, match="named twice"):
        score([Path("good.npz"), Path("good.npz")], Path("labels.npy"))
    (folder / "bad.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        score([Path("bad.json")], Path("labels.npy"))


def test_the_command_prints_a_table_or_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["score", "good.npz", "worse.json", "labels.npy"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("classification, 200 samples\n")
    assert any(line.split()[:3] == ["worse.json", "accuracy_loss", "7.5"] for line in out.splitlines())
    assert main.main(["score", "good.npz", "labels.npy", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows[0]["metric"] == "accuracy"
