"""A format that the writer refuses is refused again without opening a runtime: another process asks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from harness.compression import model_file, runtime
from harness.compression.recipe import VariantBuilder
from harness.config.load import check
from harness.config.validation import Validation
from harness.data import sets
from harness.store.cache import Cache


def test_a_refusal_is_remembered(tmp_path: Path) -> None:
    nodes = [helper.make_node("Det", ["x"], ["y"], "det")]
    graph = helper.make_graph(
        nodes, "det", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "model.onnx")
    np.savez(
        tmp_path / "data.npz",
        x=np.random.default_rng(0).random((4, 2, 2)).astype(np.float32),
        labels=np.arange(4.0),
    )
    table = {
        "model": {"name": "det", "file": "model.onnx", "task": "regression"}, "data": {"path": "data.npz"},
    }  # fmt: skip
    validation = check(table, Validation, where="test")
    cache = Cache(tmp_path / "cache")
    inputs = model_file.inspect_onnx(onnx.load(tmp_path / "model.onnx")).inputs
    data = sets.prepare(validation, tmp_path, cache, inputs)
    (made,) = VariantBuilder(validation, tmp_path, cache).build(["float32"], ("onnx", "tflite"), data)
    assert "does not support Det" in made.refused["tflite"]
    with runtime.forbidden():
        (again,) = VariantBuilder(validation, tmp_path, cache).build(["float32"], ("onnx", "tflite"), data)
    assert again.refused == made.refused
