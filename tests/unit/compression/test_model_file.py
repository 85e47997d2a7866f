"""External data are found wherever a tensor can stand, and never outside the model's folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.compression import model_file
from harness.core.artifact import TensorSpec, sha256_file
from harness.core.errors import ModelError

VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


def outside(location: str, folder: Path) -> TensorProto:
    """A tensor whose values lie in a file."""
    tensor = numpy_helper.from_array(VALUES, "values")
    (folder / "weights.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(VALUES.nbytes))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def save(folder: Path, where: str, location: str = "weights.bin") -> Path:
    """A model that adds the values, which stand in an initializer, a Constant or a branch's Constant."""
    tensor = outside(location, folder)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])
    constant = helper.make_node("Constant", [], ["values"], value=tensor)
    nodes = [helper.make_node("Add", ["x", "values"], ["y"])]
    stored = []
    if where == "initializer":
        stored = [tensor]
    elif where == "attribute":
        nodes = [constant, *nodes]
    else:
        out = helper.make_tensor_value_info("values", TensorProto.FLOAT, [2, 3])
        branch = helper.make_graph([constant], "branch", [], [out])
        always = helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True)))
        chosen = helper.make_node("If", ["yes"], ["values"], then_branch=branch, else_branch=branch)
        nodes = [always, chosen, *nodes]
    graph = helper.make_graph(nodes, "g", [x], [y], stored)
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.mark.parametrize("where", ["initializer", "attribute", "subgraph"])
def test_external_data_are_found_everywhere(tmp_path: Path, where: str) -> None:
    path = save(tmp_path, where)
    files = model_file.onnx_files(path)
    assert [file.name for file in files] == ["model.onnx", "weights.bin"]
    assert files[1].sha256 == sha256_file(tmp_path / "weights.bin")
    model_file.load_onnx(path)


@pytest.mark.parametrize("where", ["initializer", "attribute", "subgraph"])
@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname"])
def test_external_data_elsewhere_are_refused(tmp_path: Path, where: str, location: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    path = save(inner, where, location)
    (tmp_path / "weights.bin").write_bytes(VALUES.tobytes())
    with pytest.raises(ModelError, match="outside the model's folder"):
        model_file.load_onnx(path)


def test_what_the_checker_refuses_and_the_runtime_opens_is_accepted(tmp_path: Path) -> None:
    path = save(tmp_path, "initializer")
    model = onnx.load(path)
    del model.graph.node[:]
    # Not in topological order: ONNX Runtime sorts by itself.
    model.graph.node.extend([
        helper.make_node("Relu", ["s"], ["y"]), helper.make_node("Add", ["x", "values"], ["s"]),
    ])  # fmt: skip
    onnx.save(model, path)
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(model)
    assert len(model_file.load_onnx(path).graph.node) == 2
    model.graph.node.append(helper.make_node("NoSuchOperator", ["y"], ["z"]))
    onnx.save(model, path)
    with pytest.raises(ModelError, match="not a valid ONNX model"):
        model_file.load_onnx(path)


def test_the_data_of_a_model_that_protobuf_cannot_hold_stay_in_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path, "initializer")
    assert model_file.has_weights(model_file.load_onnx(path))
    monkeypatch.setattr(model_file, "MOST_BYTE", VALUES.nbytes)
    large = model_file.load_onnx(path)
    assert not model_file.has_weights(large)
    assert [spec.name for spec in model_file.inspect_onnx(large).inputs] == ["x"]


def test_the_maps_of_zipmap_are_scores_and_other_sequences_are_refused() -> None:
    scores = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    maps = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, scores))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])

    def model(output: onnx.TypeProto) -> onnx.ModelProto:
        return helper.make_model(helper.make_graph([], "g", [x], [helper.make_value_info("p", output)]))

    assert model_file.inspect_onnx(model(maps)).outputs == (TensorSpec("p", (None, None), "float32"),)
    with pytest.raises(ModelError, match="p is not a tensor"):
        model_file.inspect_onnx(model(helper.make_sequence_type_proto(scores)))


def test_inputs_that_are_rows_of_tables() -> None:
    nodes = [
        helper.make_node("Gather", ["words", "ids"], ["a"]),
        helper.make_node("Cast", ["places"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Gather", ["positions", "whole"], ["b"], axis=0),
        helper.make_node("Gather", ["words", "other"], ["c"], axis=1),
    ]
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["n"]) for n in ("ids", "places", "other")]
    tables = {"words": (7, 2), "positions": (5, 2)}
    graph = helper.make_graph(
        nodes, "tables", inputs, [],
        [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in tables.items()],
    )  # fmt: skip
    assert model_file.table_rows(helper.make_model(graph)) == {"ids": 7, "places": 5}
