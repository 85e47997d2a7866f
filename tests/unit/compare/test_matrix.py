"""Best and worst of a matrix, what is within noise of them, and what has no say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.compare.matrix import matrix, text
from harness.core.errors import UsageError
from harness.core.measurement import COLUMNS


def record(target: str, variant: str, metric: str, value: float, half: float, **more: Any) -> dict[str, Any]:
    latency = metric.startswith("latency")
    fields = {
        "run_id": "r", "target": target, "backend": "b", "setting": "deploy", "model": "m",
        "variant": variant,
        "suite": "performance" if latency else "accuracy", "case": "single_stream" if latency else "clean",
        "severity": 0, "metric": metric, "unit": "ns" if latency else "1", "value": value,
        "ci_low": value - half, "ci_high": value + half, "n": 100, "status": "OK", "model_sha256": "a",
    }  # fmt: skip
    return {**dict.fromkeys(COLUMNS, ""), **fields, **more}


def table(folder: Path, name: str, *rows: dict[str, Any]) -> str:
    path = folder / name
    pd.DataFrame(list(rows), columns=list(COLUMNS)).to_csv(path, index=False)
    return str(path)


ROWS = (
    record("cpu", "float32", "accuracy", 0.99, 0.005), record("cpu", "int8", "accuracy", 0.80, 0.02),
    record("pi", "float32", "accuracy", 0.985, 0.005), record("pi", "int8", "accuracy", 0.90, 0.02),
    record("cpu", "float32", "latency_p50", 200.0, 1), record("cpu", "int8", "latency_p50", 100.0, 1),
    record("pi", "float32", "latency_p50", 9e3, 1, status="INVALID"),
)  # fmt: skip


@pytest.mark.parametrize("order", [1, -1])
def test_best_worst_and_what_is_within_noise_of_them(tmp_path: Path, order: int) -> None:
    name = table(tmp_path, "a.csv", *ROWS[::order])
    ranked = matrix([name], tmp_path, ["accuracy", "latency_p50"])
    ranks = {(r["metric"], r["target"], r["variant"]): r["rank"] for r in ranked.to_dict("records")}
    assert ranks == {
        ("accuracy", "cpu", "float32"): "best", ("accuracy", "cpu", "int8"): "worst",
        ("accuracy", "pi", "float32"): "as best", ("accuracy", "pi", "int8"): "",
        ("latency_p50", "cpu", "float32"): "worst", ("latency_p50", "cpu", "int8"): "best",
        ("latency_p50", "pi", "float32"): "",
    }  # fmt: skip
    lines = text(ranked).splitlines()
    assert lines[0] == "model m"
    assert lines[1].split() == ["device", "variant", "accuracy", "latency_p50"]
    assert lines[2].split() == ["cpu/b", "float32", "0.99", "best", "200", "ns", "worst"]
    assert lines[4].split() == ["pi/b", "float32", "0.985", "as", "best", "invalid"]
    assert lines[5].split() == ["pi/b", "int8", "0.9", "-"]


def test_where_best_and_worst_are_within_noise_neither_is_named(tmp_path: Path) -> None:
    name = table(
        tmp_path, "a.csv", *(record("cpu", v, "accuracy", x, 0.01) for v, x in (("a", 0.9), ("b", 0.905)))
    )
    assert set(matrix([name], tmp_path, ["accuracy"])["rank"]) == {""}


def test_of_many_equal_entries_none_is_the_best(tmp_path: Path) -> None:
    """Each pair by itself at 10 % would mark two of twelve equal entries in most tables."""
    rng, marked = np.random.default_rng(20261127), 0
    for number in range(40):
        rows = [
            record("cpu", f"v{entry}", "accuracy", rng.normal(0.9, 0.01), 1.645 * 0.01) for entry in range(12)
        ]
        ranked = matrix([table(tmp_path, f"{number}.csv", *rows)], tmp_path, ["accuracy"])
        marked += set(ranked["rank"]) != {""}
    assert marked <= 2


def test_several_sides_and_models_are_labelled_apart(tmp_path: Path) -> None:
    one = table(tmp_path, "a.csv", *ROWS[:2])
    two = table(tmp_path, "b.csv", *({**row, "model": "other\x1b"} for row in ROWS[:2]))
    three = table(tmp_path, "c.csv", ROWS[0])
    ranked = matrix([one, two, three], tmp_path, ["accuracy"])
    assert ranked.groupby("model")["rank"].apply(sorted).to_dict() == {
        "m": ["best", "best", "worst"], "other\x1b": ["best", "worst"],
    }  # fmt: skip
    screen = text(ranked)
    assert "\x1b" not in screen
    assert one in screen
    assert two in screen
    assert three in screen


def test_metrics_that_are_not_there_or_have_no_direction(tmp_path: Path) -> None:
    name = table(tmp_path, "a.csv", *ROWS)
    with pytest.raises(UsageError, match="no side has a row of throughput"):
        matrix([name], tmp_path, ["accuracy", "throughput"])
    strange = table(tmp_path, "b.csv", record("cpu", "int8", "strange", 1.0, 0.1))
    with pytest.raises(UsageError, match="metric strange has no declared direction"):
        matrix([strange], tmp_path, ["strange"])
