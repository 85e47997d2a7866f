"""A variant that is wrong at one site is caught by a gate that names the site, in one run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
from onnx import TensorProto, helper, numpy_helper

import harness as api
from tests.e2e.shell import Shell

ROWS = 400
VALIDATION = """\
schema = 1
[model]
name = "sites"
file = "model.onnx"
[data]
path = "data.csv"
label_column = "label"
group = "site"
time = "date"
windows = 4
[variants.broken]
files = { onnx = "broken.onnx" }
[suites.accuracy]
[[gate]]
name = "every site"
suite = "accuracy"
metric = "worst_group_accuracy_loss"
variant = "broken"
max = "5 pt"
[[gate]]
name = "float32 at every date"
suite = "accuracy"
metric = "worst_window_accuracy"
variant = "float32"
min = 0.8
"""


def linear(path: Path, weights: list[list[float]]) -> None:
    specs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", w]) for n, w in (("x", 3), ("y", 2))]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    stored = [numpy_helper.from_array(np.array(weights, np.float32), "w")]
    graph = helper.make_graph([node], "g", specs[:1], specs[1:], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def plant(folder: Path) -> pd.DataFrame:
    """The last feature is large at Ost alone, where the broken file is misled by it."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, ROWS)
    site = rng.choice(["Nord", "Ost", "Süd"], ROWS, p=[0.4, 0.4, 0.2])
    table = pd.DataFrame(
        {
            "site": site,
            "a": np.where(labels, 2.0, -2.0) + rng.normal(size=ROWS),
            "b": rng.normal(size=ROWS),
            "label": np.where(labels, "yes", "no"),
            "c": np.where((site == "Ost") & (rng.random(ROWS) < 0.4), 5.0, 0.0),
            "date": pd.date_range("2024-01-01", periods=ROWS).strftime("%Y-%m-%d"),
        }
    )
    table.to_csv(folder / "data.csv", index=False)
    linear(folder / "model.onnx", [[-1, 1], [0, 0], [0, 0]])
    linear(folder / "broken.onnx", [[-1, 1], [0, 0], [3, -3]])
    (folder / "validation.toml").write_text(VALIDATION)
    return table


def test_one_run_has_every_group_and_the_gate_names_the_worst(harness: Shell) -> None:
    table = plant(harness.folder)
    ended = harness("validate", "--model", ".", "--target", "cpu")
    assert ended.code == 1, ended.out + ended.err
    rows = api.load("latest", results=harness.folder / "results")
    lost = rows[(rows.target == "cpu") & (rows.variant == "broken") & (rows.metric == "group_accuracy_loss")]
    by_site = lost.set_index("case").value
    assert set(by_site.index) == {f"clean/site={name}" for name in ("Nord", "Ost", "Süd")}
    assert f"; site Ost lost {by_site['clean/site=Ost']:.3g} pt, the worst of 3" in ended.out
    run = json.loads((harness.folder / "results" / "latest" / "run.json").read_text())
    counts = run["groups"]["site"]["samples"]
    assert sum(counts.values()) == run["data"]["clean"]["samples"]
    assert all(count <= (table.site == name).sum() for name, count in counts.items())

    judged = harness("judge", "latest")
    assert (judged.code, "site Ost lost" in judged.out) == (1, True), judged.out
    compared = harness("compare", "latest", "latest")
    assert "same\n" in compared.out, compared.out + compared.err
    asked = harness("query", "SELECT reason FROM measurements WHERE metric = 'worst_group_accuracy_loss'")
    assert "site Ost lost" in asked.out


def test_a_column_that_is_not_there_ends_before_anything_is_measured(harness: Shell) -> None:
    plant(harness.folder)
    path = harness.folder / "validation.toml"
    path.write_text(VALIDATION.replace('"site"', '"clinic"'))
    ended = harness("validate", "--model", ".", "--target", "cpu")
    assert (ended.code, (harness.folder / "results").exists()) == (2, False)
    assert "data.csv has no column 'clinic'" in ended.err
    path.write_text(VALIDATION.replace('group = "site"\n', ""))
    ended = harness("validate", "--model", ".", "--target", "cpu")
    assert ended.code == 2
    assert "worst_group_accuracy_loss is by group: name the column with [data] group" in ended.err
