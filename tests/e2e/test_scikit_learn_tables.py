"""Three tables of scikit-learn, and models as skl2onnx writes them: scikit-learn's own figures come out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from sklearn import datasets
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from harness.config.load import load_validation
from harness.data.splits import split_of
from harness.store import tables
from tests.e2e.shell import Shell

ML = "ai.onnx.ml"
LABEL = {"breast_cancer": "diagnosis", "diabetes": "progression", "wine": "cultivar"}
Tensors = tuple[list[onnx.NodeProto], list[onnx.ValueInfoProto]]


def _table(name: str) -> tuple[NDArray[np.float32], NDArray[Any], list[str]]:
    """Return features, labels and names of the features; labels of text, whole numbers, and real numbers."""
    bunch = getattr(datasets, f"load_{name}")()
    labels = np.asarray(bunch.target)
    if name == "breast_cancer":
        labels = np.asarray(bunch.target_names)[labels].astype(str)
    if name == "diabetes":
        labels = labels + 0.5 * (np.arange(len(labels)) % 2)
    return bunch.data.astype(np.float32), labels, list(bunch.feature_names)


def _csv(folder: Path, name: str, place: str) -> None:
    features, labels, names = _table(name)
    frame = pd.DataFrame(features, columns=names)
    position = {"first": 0, "middle": len(names) // 2, "last": len(names)}[place]
    frame.insert(position, LABEL[name], labels)
    frame.to_csv(folder / "data.csv", index=False)


def _classifier(node: onnx.NodeProto, labels: NDArray[Any], *, zipmap: bool) -> Tensors:
    """Return the node with the outputs of skl2onnx: the class, and scores as a tensor or as maps."""
    text = labels.dtype.kind == "U"
    kind, width = (TensorProto.STRING if text else TensorProto.INT64), len(np.unique(labels))
    names = "classlabels_strings" if text else "classlabels_int64s"
    class_attribute = "classlabels_ints" if node.op_type == "LinearClassifier" and not text else names
    node.attribute.append(helper.make_attribute(class_attribute, np.unique(labels).tolist()))
    outputs = [helper.make_tensor_value_info("output_label", kind, [None])]
    if not zipmap:
        return [node], [*outputs, helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, width])]
    maps = helper.make_node("ZipMap", ["scores"], ["output_probability"], domain=ML)
    maps.attribute.append(helper.make_attribute(names, np.unique(labels).tolist()))
    value = helper.make_map_type_proto(kind, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    outputs.append(helper.make_value_info("output_probability", helper.make_sequence_type_proto(value)))
    return [node, maps], outputs


def _logistic(model: LogisticRegression, labels: NDArray[Any], *, zipmap: bool) -> Tensors:
    weights, bias = model.coef_, model.intercept_
    if len(weights) == 1:
        weights, bias = np.concatenate([-weights, weights]), np.concatenate([-bias, bias])
    node = helper.make_node(
        "LinearClassifier", ["scaled"], ["output_label", "scores"], domain=ML,
        coefficients=weights.reshape(-1).tolist(), intercepts=bias.tolist(),
        post_transform="LOGISTIC" if len(model.coef_) == 1 else "SOFTMAX",
    )  # fmt: skip
    return _classifier(node, labels, zipmap=zipmap)


def _tree(model: DecisionTreeClassifier, labels: NDArray[Any], *, zipmap: bool) -> Tensors:
    tree, count = model.tree_, model.tree_.node_count
    leaves = np.flatnonzero(tree.children_left < 0)
    width = len(model.classes_)
    shares = tree.value[leaves, 0] / tree.value[leaves, 0].sum(axis=1, keepdims=True)
    node = helper.make_node(
        "TreeEnsembleClassifier", ["scaled"], ["output_label", "scores"], domain=ML,
        nodes_treeids=[0] * count, nodes_nodeids=list(range(count)),
        nodes_featureids=np.maximum(tree.feature, 0).tolist(), nodes_values=tree.threshold.tolist(),
        nodes_modes=["LEAF" if left < 0 else "BRANCH_LEQ" for left in tree.children_left],
        nodes_truenodeids=np.maximum(tree.children_left, 0).tolist(),
        nodes_falsenodeids=np.maximum(tree.children_right, 0).tolist(),
        class_treeids=[0] * len(leaves) * width, class_nodeids=np.repeat(leaves, width).tolist(),
        class_ids=list(range(width)) * len(leaves), class_weights=shares.reshape(-1).tolist(),
        post_transform="NONE",
    )  # fmt: skip
    return _classifier(node, labels, zipmap=zipmap)


def _save(folder: Path, scaler: StandardScaler, rest: Tensors, width: int) -> None:
    scale = helper.make_node(
        "Scaler", ["X"], ["scaled"], domain=ML,
        offset=scaler.mean_.tolist(), scale=(1 / scaler.scale_).tolist(),
    )  # fmt: skip
    source = helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, width])
    graph = helper.make_graph([scale, *rest[0]], "pipeline", [source], rest[1])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(ML, 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), folder / "model.onnx")


def _answers(folder: Path, name: str, kind: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Train on every other row and write the model; return scikit-learn's answers and the labels."""
    features, labels, _ = _table(name)
    scaler = StandardScaler().fit(features)
    scaled = scaler.transform(features).astype(np.float32)
    model, zipmap = kind.partition("-")[0], kind.endswith("zipmap")
    trained: Any
    if model == "linear":
        trained = LinearRegression().fit(scaled[::2], labels[::2])
        node = helper.make_node(
            "LinearRegressor", ["scaled"], ["variable"], domain=ML,
            coefficients=trained.coef_.tolist(), intercepts=[float(trained.intercept_)],
        )  # fmt: skip
        rest: Tensors = [node], [helper.make_tensor_value_info("variable", TensorProto.FLOAT, [None, 1])]
    elif model == "logistic":
        trained = LogisticRegression().fit(scaled[::2], labels[::2])
        rest = _logistic(trained, labels, zipmap=zipmap)
    else:
        trained = DecisionTreeClassifier(max_depth=4, random_state=0).fit(scaled[::2], labels[::2])
        rest = _tree(trained, labels, zipmap=zipmap)
    _save(folder, scaler, rest, features.shape[1])
    return trained.predict(scaled), labels


def _figures(answers: NDArray[Any], labels: NDArray[Any]) -> dict[str, float]:
    if labels.dtype.kind != "f":
        return {"accuracy": float((answers == labels).mean())}
    errors, spread = answers - labels, labels - labels.mean()
    return {
        "mae": float(np.abs(errors).mean()), "rmse": float(np.sqrt((errors**2).mean())),
        "r2": float(1 - (errors**2).sum() / (spread**2).sum()),
    }  # fmt: skip


def _same_figures(harness: Shell, name: str, kind: str, place: str) -> None:
    answers, labels = _answers(harness.folder, name, kind)
    _csv(harness.folder, name, place)
    ended = harness("init", "model.onnx", "--data", "data.csv", "--force")
    assert ended.code == 0, ended.err
    validation, _ = load_validation(harness.folder / "validation.toml")
    assert validation.data.label_column == LABEL[name]
    assert validation.model.task == ("regression" if name == "diabetes" else "classification")
    ended = harness("validate", "--model", ".", "--target", "cpu", "--suite", "accuracy")
    assert ended.code in (0, 4), ended.err + ended.out
    ids = split_of(validation.data, harness.folder, ("X",)).test.ids
    frame = tables.read(harness.run() / "measurements.csv")
    rows = frame.query("target == 'cpu' and case == 'clean' and setting == 'deploy' and variant == 'float32'")
    measured = rows.set_index("metric")["value"]
    for metric, value in _figures(answers[ids], labels[ids]).items():
        # The model computes in float32, scikit-learn in float64.
        assert measured[metric] == pytest.approx(value, rel=1e-5), metric


@pytest.mark.parametrize(
    ("name", "kind", "place"),
    [("wine", "tree-zipmap", "first"), ("diabetes", "linear", "last")],
)
def test_figures_are_those_of_scikit_learn(harness: Shell, name: str, kind: str, place: str) -> None:
    _same_figures(harness, name, kind, place)


@pytest.mark.full
@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("diabetes", "linear"),
        *((name, kind)
          for name in ("breast_cancer", "wine")
          for kind in ("logistic", "logistic-zipmap", "tree", "tree-zipmap")),
    ],
)  # fmt: skip
def test_figures_of_every_export(harness: Shell, name: str, kind: str, place: str) -> None:
    _same_figures(harness, name, kind, place)
