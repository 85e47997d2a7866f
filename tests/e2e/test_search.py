"""``harness search`` on a small model: a planted sensitive layer is kept, the answer is within the budget."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.e2e.shell import Shell

CLASSES, WIDE, SAMPLES = 32, 48, 600
VALIDATION = """
schema = 1
[model]
name = "wide"
file = "model.onnx"
[data]
path = "data.npz"
calibration_samples = 100
[search]
max_loss = "{loss}"
steps = [{{ pass = "cluster", k = 16 }}, {{ pass = "cluster", k = 2 }}]
"""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers: ``robust`` has two values anyway, ``sensitive`` reads classes from small differences."""
    folder = tmp_path_factory.mktemp("wide")
    rng = np.random.default_rng(0)
    robust = np.sign(rng.normal(size=(WIDE, WIDE))).astype(np.float32)
    sensitive = rng.normal(size=(WIDE, CLASSES)).astype(np.float32)
    values = {"robust": robust, "sensitive": sensitive}
    nodes = [
        helper.make_node("MatMul", ["x", "robust"], ["h"], name="robust"),
        helper.make_node("MatMul", ["h", "sensitive"], ["y"], name="sensitive"),
    ]
    graph = helper.make_graph(
        nodes, "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    x = rng.normal(size=(SAMPLES, WIDE)).astype(np.float32)
    np.savez(folder / "data.npz", x=x, labels=(x @ robust @ sensitive).argmax(axis=1))
    return folder


def test_search(harness: Shell, wide: Path) -> None:
    (wide / "validation.toml").write_text(VALIDATION.format(loss="20 pt"))
    ended = harness("search", wide, "-o", "found")
    assert ended.code == 0, ended.err
    assert "PASS" in ended.out
    folder = harness.folder / "found"
    sensitivity = pd.read_csv(folder / "sensitivity.csv").set_index(["layer", "step"])["sqnr_db"]
    assert sensitivity["robust", "cluster k=2"] > sensitivity["sensitive", "cluster k=2"] + 10
    pareto = pd.read_csv(folder / "pareto.csv").set_index("name")
    assert pareto.loc["all cluster k=2", "loss_pt"] > 20
    recipe = tomllib.loads((folder / "recipe.toml").read_text())["recipe"]
    lowered = {layer: step["k"] for step in recipe for layer in step["layers"]}
    assert "robust" in lowered
    assert lowered.get("sensitive") != 2
    assert (folder / "pareto.png").read_bytes().startswith(b"\x89PNG")
    again = harness("search", wide, "-o", "found")
    assert again.out == ended.out  # recalled, speeds included


def test_a_budget_that_cannot_be_met(harness: Shell, wide: Path) -> None:
    (wide / "validation.toml").write_text(
        VALIDATION.format(loss="0.001 pt").replace('{ pass = "cluster", k = 16 }, ', "")
    )
    ended = harness("search", wide, "-o", "found")
    assert ended.code in (1, 4), ended.err
    assert "the layers that lose most" in ended.out
    assert not (harness.folder / "found" / "recipe.toml").exists()


def test_a_folder_with_other_files(harness: Shell, wide: Path) -> None:
    (wide / "validation.toml").write_text(VALIDATION.format(loss="1 pt"))
    (harness.folder / "found").mkdir()
    (harness.folder / "found" / "thesis.txt").write_text("mine")
    ended = harness("search", wide, "-o", "found")
    assert ended.code == 2
    assert "contains other files" in ended.err


def test_without_calibration_data(harness: Shell, wide: Path) -> None:
    text = VALIDATION.format(loss="1 pt").replace("calibration_samples = 100", 'split = "none"')
    (wide / "validation.toml").write_text(text)
    ended = harness("search", wide, "-o", "found")
    assert ended.code == 2, ended.err
    assert "cannot be split" in ended.err
    assert not (harness.folder / "found").exists()


def test_integers_with_a_method_for_each_activation(harness: Shell, wide: Path, tmp_path: Path) -> None:
    """What no weight reads reaches far and costs minmax its resolution; the search finds another method."""
    data, model = np.load(wide / "data.npz"), onnx.load(wide / "model.onnx")
    x, (robust, sensitive) = data["x"].copy(), map(numpy_helper.to_array, model.graph.initializer)
    robust = np.where(np.arange(WIDE)[:, None] == 0, 0.0, robust).astype(np.float32)
    x[::7, 0] *= 10
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(robust, "robust"))
    onnx.save(model, tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", x=x, labels=(x @ robust @ sensitive).argmax(axis=1))
    toml = VALIDATION.format(loss="60 pt")
    (tmp_path / "validation.toml").write_text(
        toml[: toml.index("steps")] + 'steps = [{ pass = "quantize" }]\n'
    )
    ended = harness("search", tmp_path, "-o", "found")
    assert ended.code == 0, ended.err
    (step,) = tomllib.loads((harness.folder / "found/recipe.toml").read_text())["recipe"]
    assert "x" in step["calibration_by_tensor"]
    assert set(step["layers"]) <= {"robust", "sensitive"}
    made = harness("compress", tmp_path, "--recipe", "found/recipe.toml", "-o", "made")
    assert made.code == 0, made.err
