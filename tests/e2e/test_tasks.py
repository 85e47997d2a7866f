"""Several labels, anomaly scores and embeddings: init proposes the task, its gates block a broken int8."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from harness.init import init
from tests.e2e.shell import Shell

N, FEATURES = 300, 8
RNG = np.random.default_rng(4)
X = RNG.normal(size=(N, FEATURES)).astype(np.float32)
Make = Callable[[Path, bool], NDArray[Any]]


def save(path: Path, nodes: list[onnx.NodeProto], weights: dict[str, NDArray[Any]], width: int) -> None:
    def value(name: str, size: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])

    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "planted", [value("x", FEATURES)], [value("y", width)], constants)
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)


def several_labels(path: Path, broken: bool) -> NDArray[Any]:
    """Four rare labels; broken, none is ever answered."""
    weights = np.random.default_rng(0).normal(size=(FEATURES, 4)).astype(np.float32)
    bias = np.full(4, -60.0 if broken else -3.0, np.float32)
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["z"]), helper.make_node("Sigmoid", ["z"], ["y"])]
    save(path, nodes, {"w": weights, "b": bias}, 4)
    return (X @ weights - 3 > 0).astype(np.int64)


def anomaly(path: Path, broken: bool) -> NDArray[Any]:
    """The sum of squares of the first features; broken, of the others."""
    weights = np.zeros((FEATURES, 1), np.float32)
    weights[4:] = broken
    weights[:4] = not broken
    nodes = [helper.make_node("Mul", ["x", "x"], ["q"]), helper.make_node("MatMul", ["q", "w"], ["y"])]
    save(path, nodes, {"w": weights}, 1)
    return (np.square(X[:, :4]).sum(axis=1) > 5).astype(np.int64)


def embedding(path: Path, broken: bool) -> NDArray[Any]:
    """The direction of the first features; broken, one direction for all."""
    weights = np.eye(FEATURES, 3, dtype=np.float32)
    bias = np.full(3, 1e6 if broken else 0.0, np.float32)
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["z"]),
        helper.make_node("LpNormalization", ["z"], ["y"], axis=1, p=2),
    ]
    save(path, nodes, {"w": weights, "b": bias}, 3)
    return (X[:, :3] > 0).astype(np.int64) @ [1, 2, 4]


CASES: dict[str, tuple[Make, str, set[str]]] = {
    "multi-label": (several_labels, "F1 %", {"int8 F1, clean"}),
    "anomaly": (anomaly, "AUC", {"int8 AUC, clean", "int8 order of scores, clean"}),
    "embedding": (embedding, "recall@1 %", {"int8 recall@1, clean", "int8 nearest neighbours, clean"}),
}


@pytest.mark.parametrize("task", CASES)
def test_a_broken_variant_is_blocked(harness: Shell, task: str) -> None:
    make, column, blocking = CASES[task]
    folder = harness.folder
    labels = make(folder / "model.onnx", False)
    np.savez(folder / "data.npz", x=X, labels=labels)
    report = init(folder / "model.onnx", str(folder / "data.npz"))
    assert report.findings.task == task
    assert report.proof is not None
    assert report.proof.beats_chance
    file = folder / "validation.toml"
    lines = file.read_text().splitlines(keepends=True)
    assert any(line.startswith("recipe = ") for line in lines)
    make(folder / "broken.onnx", True)
    changed = {"recipe": 'files = { onnx = "broken.onnx" }\n', "families": "", "severities": ""}
    text = "".join(changed.get(line.partition(" = ")[0], line) for line in lines)
    file.write_text(text.replace('kind = "features"', 'kind = "none"'))
    ended = harness("validate", "--model", ".", "--suite", "accuracy")
    assert ended.code == 1, ended.out + ended.err
    assert column in ended.out
    failed = {gate for gate in blocking if gate in ended.out}
    assert failed == blocking, ended.out


@pytest.mark.parametrize("first", [True, False])
def test_several_columns_of_labels_in_the_table_of_the_samples(harness: Shell, first: bool) -> None:
    labels = several_labels(harness.folder / "model.onnx", broken=False)
    parts = {**{f"l{i}": column for i, column in enumerate(labels.T)}} if first else {}
    parts |= {f"x{i}": column for i, column in enumerate(X.T)}
    parts |= {f"l{i}": column for i, column in enumerate(labels.T)}
    rows = zip(*parts.values(), strict=True)
    lines = [",".join(parts), *(",".join(map(repr, map(float, row))) for row in rows)]
    (harness.folder / "data.csv").write_text("\n".join(lines) + "\n")
    report = init(harness.folder / "model.onnx", str(harness.folder / "data.csv"))
    assert report.findings.task == "multi-label"
    assert report.findings.table.label_column == ("l0", "l1", "l2", "l3")
    ended = harness("validate", "--model", ".", "--suite", "accuracy", "--variant", "float32")
    assert ended.code == 0, ended.out + ended.err
    frame = pd.read_csv(harness.run() / "measurements.csv")
    rows_ = frame[(frame.metric == "label_accuracy") & (frame.case == "clean") & (frame.setting == "deploy")]
    assert rows_.value.max() > 0.999
